"""What every transport does: frames to one node or to all, datagrams in, no waiting and no exception on either way.

A transport is made for one local address that is up, and closed when that address is gone; the `Link` (link.py) makes
and closes them. All sockets are non-blocking. What cannot be sent is counted by its reason and is lost: the protocol
repairs that, and waiting for a full socket buffer would hold up the token.
"""

from __future__ import annotations

import errno
import os
import socket
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from services.totem.wire.frames import Kind

DATAGRAM_SIZE_MAX = 65536
"""More than a UDP datagram can carry, so that nothing is cut."""

SOCKET_BUFFER_BYTES = 16 * 65536
"""What is asked for, for each direction of each socket."""

TOKEN_PRIORITY = 6
"""SO_PRIORITY of what carries tokens: the highest that needs no privilege (socket(7))."""

Datagram = tuple[bytes, Any]
"""Bytes, and the address of the sender as `recvfrom` gives it: its first element is the IP address."""

_KIND_AT = 3
"""Where the kind stands in a frame, and in the envelope of a sealed one, as far as tokens are concerned."""


class AddressNotAvailable(Exception):  # noqa: N818 - a state of the machine, not a fault of the program
    """The local address is not there (yet, or any more); trying again later may help."""


class CannotBind(Exception):  # noqa: N818 - names what happened
    """A socket cannot be bound for a reason that waiting does not mend. Its text is one line with the mend."""


@dataclass(slots=True, frozen=True)
class TransportSettings:
    """How frames travel (corosync.conf(5), section totem and its interface)."""

    node_id: int
    port: int = 5405
    """mcastport: where everything arrives; udp sends from port - 1."""
    group: str = ""
    """udp: the multicast group, or 255.255.255.255 for broadcast."""
    broadcast: bool = False
    ttl: int = 1
    ip_dscp: int = 0
    """Differentiated services code point of what is sent, 0..63."""
    block_unlisted_ips: bool = True
    """udpu: take datagrams only from the addresses of members."""


class Transport(ABC):
    """The sockets of one local address."""

    def __init__(self, settings: TransportSettings, address: str, counters: Counter[str]) -> None:
        self.settings = settings
        self.address = address
        self.counters = counters
        self.drained = True
        """Whether the last `receive` left nothing behind that was there when it looked."""
        self._sockets: list[socket.socket] = []

    @abstractmethod
    def multicast(self, frame: bytes) -> None:
        """Send to all other nodes."""

    @abstractmethod
    def unicast(self, node: int, frame: bytes) -> None:
        """Send to one other node."""

    def reply(self, node: int, source: str, datagram: bytes) -> None:
        """Send to one other node at its configured address; to `source`, an IP address, if none is configured."""
        self.unicast(node, datagram)

    @abstractmethod
    def receive(self, readable: Collection[int], datagrams_max: int) -> list[Datagram]:
        """Datagrams in the order in which they are to be handed in; `readable` is what poll() said of `filenos`."""

    @abstractmethod
    def set_members(self, addresses: Mapping[int, tuple[str, ...]]) -> None:
        """The addresses of the nodes, by node id; one without an address cannot be reached for now."""

    @abstractmethod
    def filenos(self) -> list[int]:
        """The sockets to poll for input."""

    def heard(self, frame: bytes, source: str) -> None:  # noqa: B027 - only one transport learns
        """An accepted frame came from `source`: learn from it where its sender is, if nobody said so before."""

    def close(self) -> None:
        """Close all sockets."""
        for each in self._sockets:
            each.close()
        self._sockets.clear()

    def _socket(self, address: str, port: int, **options: bool) -> socket.socket:
        made = bound_socket(address, port, self.settings.ip_dscp, **options)
        self._sockets.append(made)
        return made

    def _of_our_family(self, addresses: Mapping[int, tuple[str, ...]]) -> dict[int, list[str]]:
        """The nodes that have an address of the same IP version as ours, with those addresses."""
        family = family_of(self.address)
        usable = {node: [each for each in known if family_of(each) == family] for node, known in addresses.items()}
        return {node: known for node, known in usable.items() if known}

    def _send(self, sendto: Callable[[bytes, Any], int], frame: bytes, address: Any) -> None:
        try:
            sendto(frame, address)
        except OSError as error:
            self.counters["tx_" + reason_of(error)] += 1

    def _read(self, source: socket.socket, into: list[Datagram], datagrams_max: int) -> bool:
        """Append what `source` holds, up to and with a token, at most `datagrams_max`. True: it is empty now.

        To read past a token before that was handled would only delay it, and to ask an empty socket costs as much as
        to send a datagram.
        """
        recvfrom, append = source.recvfrom, into.append
        try:
            for _ in range(datagrams_max):
                datagram = recvfrom(DATAGRAM_SIZE_MAX)
                append(datagram)
                if len(datagram[0]) > _KIND_AT and datagram[0][_KIND_AT] == Kind.TOKEN:
                    return False
        except BlockingIOError:
            return True
        except OSError as error:
            # For example ENETDOWN once after the interface went; the next poll says whether there is more.
            self.counters["rx_" + reason_of(error)] += 1
            return True
        return False


def reason_of(error: OSError) -> str:
    """The name of an errno in lower case (`enobufs`), for a counter."""
    return errno.errorcode.get(error.errno or 0, "error").lower()


def family_of(address: str) -> socket.AddressFamily:
    """AF_INET or AF_INET6."""
    return socket.AF_INET6 if ip_address(address).version == 6 else socket.AF_INET


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach `address`."""
    return ip_address(address).is_loopback


def socket_address(address: str, port: int) -> Any:
    """What sendto() and bind() want: IPv6 addresses may carry a scope (`fe80::1%eth0`)."""
    if ":" not in address:
        return (address, port)
    host, _, scope = address.partition("%")
    return (host, port, 0, int(scope) if scope.isdigit() else socket.if_nametoindex(scope) if scope else 0)


def bound_socket(
    address: str, port: int, ip_dscp: int, *, shared: bool = False, token: bool = False, broadcast: bool = False
) -> socket.socket:
    """A non-blocking UDP socket. Raises `AddressNotAvailable` or `CannotBind`.

    `shared`: SO_REUSEADDR, so that several nodes of this machine can have it; `token`: SO_PRIORITY for tokens.
    """
    try:
        made = socket.socket(family_of(address), socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    except OSError as error:
        raise CannotBind(f"cannot make a UDP socket: {os.strerror(error.errno or 0)}; {_MEND_LIMIT}") from None
    try:
        _set_options(made, ip_dscp, shared=shared, token=token, broadcast=broadcast)
        made.bind(socket_address(address, port))
    except OSError as error:
        made.close()
        raise bind_error(error, address, port) from None
    return made


def _set_options(made: socket.socket, ip_dscp: int, *, shared: bool, token: bool, broadcast: bool) -> None:
    if shared:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if broadcast:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    for plain, forced in ((socket.SO_RCVBUF, _SO_RCVBUFFORCE), (socket.SO_SNDBUF, _SO_SNDBUFFORCE)):
        try:
            made.setsockopt(socket.SOL_SOCKET, forced, SOCKET_BUFFER_BYTES)
        except PermissionError:
            made.setsockopt(socket.SOL_SOCKET, plain, SOCKET_BUFFER_BYTES)  # the kernel cuts it to its limit
    if ip_dscp:
        if made.family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, ip_dscp << 2)
        else:
            made.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, ip_dscp << 2)
    if token:
        # After IP_TOS, which would overwrite it.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, TOKEN_PRIORITY)


def bind_error(error: OSError, address: str, port: int) -> AddressNotAvailable | CannotBind:
    """What to raise when `address`, `port` could not be bound."""
    place = f"UDP {address}:{port}" if ":" not in address else f"UDP [{address}]:{port}"
    if error.errno in (errno.EADDRNOTAVAIL, errno.ENODEV, errno.ENETDOWN, errno.ENETUNREACH):
        return AddressNotAvailable(f"{place}: {error.strerror}")
    if error.errno == errno.EADDRINUSE:
        return CannotBind(
            f"{place} is in use by another program; stop it, or set totem.interface.mcastport to a free port"
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return CannotBind(f"{place}: permission denied; run as root, or set totem.interface.mcastport above 1024")
    return CannotBind(f"{place}: {error.strerror}; {_MEND_LIMIT}")


_MEND_LIMIT = "see socket(7) and ip(7), and the limits of this process"
_SO_SNDBUFFORCE = 32
_SO_RCVBUFFORCE = 33
