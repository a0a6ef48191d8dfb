"""Transport `udp`: multicast, or broadcast, for frames to everybody; unicast for tokens.

| socket | bound to | for |
|---|---|---|
| data in | group:port, a member of the group on the interface of the own address | what is for everybody |
| out | own address:port-1, multicast loop off | all that is sent, tokens too |
| token in | own address:port | tokens |

Data and tokens arrive on different sockets, so the order between them is lost. This module restores it: a token is
handed in only after the data that was there when the token came.

With a nodelist and `block_unlisted_ips` the kernel drops datagrams from other addresses, as soon as the addresses of
all nodes are known. Without a nodelist a node's address is learned from its joins.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from services.totem.transport.base import DATAGRAM_SIZE_MAX, Datagram, Transport, TransportSettings
from services.totem.transport.interfaces import interface_index
from services.totem.transport.sockets import AddressNotAvailable, bind_error, family_of, socket_address
from services.totem.wire.frames import PROCESSORS_MAX, Kind

DATA_BEFORE_TOKEN_MAX: Final = 8192
"""Most datagrams that are handed in before a waiting token: more than a receive buffer of `SOCKET_BUFFER_BYTES` can
have held when the token came. So a flood of data cannot keep the token out for ever."""

TOKEN_READS: Final = 64
"""Most datagrams that are read from the token's socket at once to find a token."""

_SENDER: Final = struct.Struct("<I")
_SENDER_AT: Final = 13
"""Offset of a join's sender (system_from)."""


class UdpTransport(Transport):
    """Multicast or broadcast. The constructor raises `AddressNotAvailable` or `CannotBind`."""

    def __init__(self, settings: TransportSettings, address: str, counters: Counter[str]) -> None:
        super().__init__(settings, address, counters)
        self._learns = True
        self._data_since_token = 0
        self._interface = interface_index(address) if family_of(address) == socket.AF_INET6 else 0
        group = settings.group
        if self._interface and "%" not in group:
            # A group of link-local scope (ff02, ff12) is a different one on each link.
            group = f"{group}%{self._interface}"
        try:
            # The token socket first: it is the only unshared one, so binding it detects another node with this address.
            self._token = self._socket(address, settings.port, token=True)
            self._out = self._socket(address, settings.port - 1, shared=True, broadcast=settings.broadcast)
            self._data = self._socket(group, settings.port, shared=True, broadcast=settings.broadcast)
            if not settings.broadcast:
                self._join_group()
        except (AddressNotAvailable, OSError) as error:
            self.close()
            if isinstance(error, OSError):
                raise _group_error(error, settings.group, address, settings.port) from None
            raise
        self._deafen()
        self._group = socket_address(group, settings.port)
        self._own_ip = address.partition("%")[0]

    def _join_group(self) -> None:
        """Join the group on the interface with this node's address, and send to it from there."""
        ttl, group = self.settings.ttl, self.settings.group
        if family_of(group) == socket.AF_INET6:
            index = self._interface
            request = socket.inet_pton(socket.AF_INET6, group.partition("%")[0]) + struct.pack("@I", index)
            self._data.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, request)
            self._out.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
            self._out.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
            self._out.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, ttl)
            return
        interface = socket.inet_aton(self.address)
        self._data.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(group) + interface)
        self._data.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)
        self._out.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)
        self._out.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
        self._out.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, ttl)

    def set_members(self, addresses: Mapping[int, tuple[str, ...]]) -> None:
        """Set the addresses for tokens. Without any members the addresses are learned."""
        self._learns = not addresses
        reachable = self._of_our_family(addresses)
        if self.settings.block_unlisted_ips and addresses and len(reachable) == len(addresses):
            listed = frozenset(each.partition("%")[0] for known in reachable.values() for each in known)
            self.listed = listed
            self.admission.admit([self._data, self._token], listed)
        else:
            self.listed = frozenset()
            self.admission.admit_all([self._data, self._token])
        if self._learns:
            return
        found = {node: self._destination(known[0]) for node, known in reachable.items()}
        self._addresses = {node: address for node, address in found.items() if address is not None}

    def heard(self, frame: bytes, source: str) -> None:
        """Learn the address of a join's sender. The newest address wins: a node may have moved."""
        if not self._learns or len(frame) < _SENDER_AT + _SENDER.size or frame[3] != Kind.JOIN:
            return
        (node,) = _SENDER.unpack_from(frame, _SENDER_AT)
        if node == self.settings.node_id:
            return
        self._addresses.pop(node, None)
        if len(self._addresses) >= PROCESSORS_MAX:
            del self._addresses[next(iter(self._addresses))]
        self._addresses[node] = self._destination(source)

    def peers(self) -> list[int]:
        """The other nodes that have an address."""
        return [node for node in self._addresses if node != self.settings.node_id]

    def filenos(self) -> list[int]:
        """The sockets for data and tokens."""
        return [self._data.fileno(), self._token.fileno()]

    def multicast(
        self, datagrams: Sequence[bytes], once_up_to: int = DATAGRAM_SIZE_MAX, *, parity: bool = False
    ) -> None:
        """Send each datagram once, to the group."""
        self._send_calls(self._out, self._calls(datagrams, once_up_to, parity), self._group)

    def unicast(self, node: int, datagram: bytes) -> None:
        """Send a token. A node whose address is not known (yet) does not get it."""
        if address := self._addresses.get(node):
            self._send_whole(self._out, datagram, address)
        else:
            self.counters["tx_no_address"] += 1

    def reply(self, node: int, source: str, datagram: bytes) -> None:
        """Send to the source address if addresses are learned, because a learned one may be out of date."""
        if self._learns:
            self._send_whole(self._out, datagram, self._destination(source))
        else:
            self.unicast(node, datagram)

    def receive_token(self) -> list[Datagram]:
        """The token socket's next datagram, if any."""
        taken: list[Datagram] = []
        self._data_since_token = 0
        self.ended_by_token = False
        self._read(self._token, taken, TOKEN_READS)
        return taken

    def _data_socket(self) -> socket.socket:
        return self._data

    def receive(self, readable: Collection[int], datagrams_max: int) -> list[Datagram]:
        """Data and, if none is left, a token.

        `readable` describes both sockets at one moment. So if a token was there then, all data that came before it is
        read here first. A token that is not read now is reported again by the next poll.
        """
        taken: list[Datagram] = []
        self.ended_by_token = False
        empty = True
        if self._data.fileno() in readable:
            empty = self._read(self._data, taken, datagrams_max)
            # Reads that completed no datagram count, too: otherwise endless incomplete segments would keep the token
            # out.
            self._data_since_token += len(taken) if empty else max(len(taken), datagrams_max)
            own = self._own_ip
            # This node's own datagrams come back on loopback and with broadcast. The link has already handed them in.
            taken = [each for each in taken if each[1][0] != own]
        token_waits = self._token.fileno() in readable
        if token_waits and (empty or self._data_since_token >= DATA_BEFORE_TOKEN_MAX):
            self._data_since_token = 0
            self._read(self._token, taken, TOKEN_READS)
        self.drained = empty and not token_waits
        return taken


def _group_error(error: OSError, group: str, address: str, port: int) -> Exception:
    """Joining a group fails if there is no interface (then wait for one), or if the address is no group."""
    if error.errno in (errno.EINVAL, errno.EADDRINUSE):
        return bind_error(error, group, port)
    return AddressNotAvailable(f"cannot join {group} on {address}: {error.strerror}")
