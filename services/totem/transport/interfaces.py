"""The network interfaces of this machine and their addresses, from the kernel over rtnetlink(7).

Nothing here waits: the kernel answers before `send` returns. `InterfaceWatch` reports changes.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface

_RTM_NEWLINK, _RTM_GETLINK, _RTM_NEWADDR, _RTM_GETADDR = 16, 18, 20, 22
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLM_F_REQUEST, _NLM_F_DUMP = 1, 0x300
_RTMGRP_LINK, _RTMGRP_IPV4_IFADDR, _RTMGRP_IPV6_IFADDR = 1, 0x10, 0x100
_IFLA_IFNAME, _IFLA_MTU, _IFA_ADDRESS, _IFA_LOCAL = 3, 4, 1, 2
_IFF_UP = 1

_HEADER = struct.Struct("=IHHII")
"""nlmsghdr: length, type, flags, sequence, port."""
_LINK = struct.Struct("=BxHiII")
"""ifinfomsg: family, type, index, flags, change."""
_ADDRESS = struct.Struct("=BBBBI")
"""ifaddrmsg: family, prefix length, flags, scope, index."""
_ATTRIBUTE = struct.Struct("=HH")
_ANSWER_BYTES = 1 << 17


@dataclass(slots=True, frozen=True)
class LocalAddress:
    """One address of one interface."""

    address: str
    """IPv6 link-local addresses with their scope (`fe80::1%eth0`)."""
    interface: str
    network: IPv4Interface | IPv6Interface
    """The address with its prefix length."""
    up: bool
    """Whether the interface was switched on."""
    mtu: int = 0
    """The interface's MTU, bytes; 0: unknown."""


def local_addresses() -> list[LocalAddress]:
    """All addresses of all interfaces. Raises OSError if the kernel cannot be asked."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as kernel:
        kernel.bind((0, 0))
        links = dict(_links(_dump(kernel, _RTM_GETLINK)))
        return list(_addresses(_dump(kernel, _RTM_GETADDR), links))


class InterfaceWatch:
    """A socket that becomes readable when an interface or an address comes or goes. The constructor raises OSError."""

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
        )
        try:
            self._socket.bind((0, _RTMGRP_LINK | _RTMGRP_IPV4_IFADDR | _RTMGRP_IPV6_IFADDR))
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """The descriptor to poll."""
        return self._socket.fileno()

    def clear(self) -> None:
        """Discard the kernel's messages. It only matters that something changed."""
        while True:
            try:
                self._socket.recv(_ANSWER_BYTES)
            except BlockingIOError:
                return
            except OSError:
                continue  # ENOBUFS: messages were lost, which does not matter

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def find_address(known: list[LocalAddress], wanted: str) -> LocalAddress | None:
    """The interface that has this address. Every address in a loopback interface's network counts, though only one is
    listed."""
    exact = ip_address(wanted)
    for each in known:
        if each.network.ip == exact or each.address == wanted:
            return each
        if exact.is_loopback and exact in each.network.network and exact != each.network.network.network_address:
            return LocalAddress(wanted, each.interface, each.network, each.up, each.mtu)
    return None


def interface_index(address: str) -> int:
    """The number of the interface that has this address; 0 if it is unknown."""
    scope = address.partition("%")[2]
    try:
        found = None if scope else find_address(local_addresses(), address)
        return socket.if_nametoindex(scope or (found.interface if found is not None else ""))
    except OSError:
        return 0


def interface_of(address: str) -> LocalAddress | None:
    """The interface that has this address; None if it is unknown."""
    try:
        return find_address(local_addresses(), address)
    except OSError:
        return None


def is_local(address: str) -> bool:
    """Whether the kernel counts `address` as local: a datagram to it would have it as its source.

    Nothing is sent. A bind() would prove nothing if net.ipv4.ip_nonlocal_bind is set, or if there is no route.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as probe:
        try:
            probe.connect((address, 9))
        except OSError:
            return False
        return str(probe.getsockname()[0]) == address.partition("%")[0]


def select_address(known: list[LocalAddress], bindnetaddr: str) -> LocalAddress | None:
    """The address that `bindnetaddr` selects: that address, or the first one in that network."""
    wanted = ip_address(bindnetaddr)
    exact = find_address(known, bindnetaddr)
    return exact or next((each for each in known if wanted in each.network.network), None)


def _dump(kernel: socket.socket, question: int) -> Iterator[tuple[int, bytes]]:
    """Ask for all objects of a kind; yield (type, body) of each message of the answer."""
    body = _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
    kernel.send(_HEADER.pack(_HEADER.size + len(body), question, _NLM_F_REQUEST | _NLM_F_DUMP, 1, 0) + body)
    while True:
        answer = kernel.recv(_ANSWER_BYTES)
        at = 0
        while at + _HEADER.size <= len(answer):
            length, kind, _, _, _ = _HEADER.unpack_from(answer, at)
            if kind == _NLMSG_DONE:
                return
            if kind == _NLMSG_ERROR:
                (number,) = struct.unpack_from("=i", answer, at + _HEADER.size)
                raise OSError(-number, os.strerror(-number))
            yield kind, answer[at + _HEADER.size : at + length]
            at += (max(length, _HEADER.size) + 3) & ~3


def _attributes(body: bytes, at: int) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while at + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, at)
        found[kind] = body[at + _ATTRIBUTE.size : at + length]
        at += (max(length, _ATTRIBUTE.size) + 3) & ~3
    return found


def _links(messages: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, tuple[str, bool, int]]]:
    for kind, body in messages:
        if kind == _RTM_NEWLINK:
            _, _, index, flags, _ = _LINK.unpack_from(body)
            found = _attributes(body, _LINK.size)
            name = found.get(_IFLA_IFNAME, b"").rstrip(b"\0").decode(errors="replace")
            yield index, (name, bool(flags & _IFF_UP), int.from_bytes(found.get(_IFLA_MTU, b""), sys.byteorder))


def _addresses(
    messages: Iterator[tuple[int, bytes]], links: dict[int, tuple[str, bool, int]]
) -> Iterator[LocalAddress]:
    for kind, body in messages:
        if kind != _RTM_NEWADDR:
            continue
        family, prefix, _, _, index = _ADDRESS.unpack_from(body)
        attributes = _attributes(body, _ADDRESS.size)
        raw = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS)
        if raw is None or family not in (socket.AF_INET, socket.AF_INET6):
            continue
        interface, up, mtu = links.get(index, ("", False, 0))
        text = socket.inet_ntop(family, raw)
        scope = f"%{interface}" if ip_address(text).is_link_local and family == socket.AF_INET6 else ""
        yield LocalAddress(text + scope, interface, ip_interface(f"{text}/{prefix}"), up, mtu)
