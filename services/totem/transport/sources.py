"""Source filters: the kernel drops datagrams from unlisted addresses, at a small part of what a program would spend.

A classic BPF program (SO_ATTACH_FILTER, socket(7)) compares the source address of each datagram with those of the
nodes. It proves nothing, because source addresses can be forged. But a flood from other addresses costs the ring hardly
anything. Dropped datagrams appear in the socket's own count (`dropped`), together with those that did not fit its
buffer.

During a flood from a node's address (sieve.py) the program also compares the first bytes with those of this ring's
packets. The kernel then hands in datagrams one by one: of a group it would look at the first one only.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from array import array
from collections import Counter
from collections.abc import Iterable

from services.totem.transport.batch import ask_for_groups, refuse_groups

Head = tuple[tuple[int, int], ...]
"""How packets of one kind begin: offsets in the datagram, and the 16 bits (big-endian) there."""

_SO_ATTACH_FILTER, _SO_DETACH_FILTER, _SO_MEMINFO = 26, 27, 55
_MEMINFO = struct.Struct("=9I")
_MEMINFO_DROPS = 8
_INSTRUCTION = struct.Struct("=HBBI")
_PROGRAM = struct.Struct("@HP")
_NETWORK_HEADER = 0xFFF0_0000
"""SKF_NET_OFF: offsets from here on count from the IP header."""
_SOURCE_AT = {socket.AF_INET: 12, socket.AF_INET6: 8}
_UDP_HEADER_BYTES = 8
"""A program for a UDP socket sees this header in front of the datagram."""
_LOAD_WORD, _LOAD_HALF, _JUMP, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x28, 0x05, 0x15, 0x06
_ALL, _NOTHING = _INSTRUCTION.pack(_RETURN, 0, 0, 0xFFFF_FFFF), _INSTRUCTION.pack(_RETURN, 0, 0, 0)


def program(family: socket.AddressFamily, addresses: Iterable[str] | None, heads: Iterable[Head] = ()) -> bytes:
    """A BPF program that accepts datagrams from these addresses of one family (IPv6 scopes do not count), or from all
    (None). If there are heads, only datagrams that begin with one of them are accepted."""
    listed = [_ALL] if addresses is None else _program_of_addresses(family, addresses)
    return b"".join([*_program_of_heads(tuple(heads)), *listed])


def _program_of_addresses(family: socket.AddressFamily, addresses: Iterable[str]) -> list[bytes]:
    found = []
    for address in sorted({socket.inet_pton(family, each.partition("%")[0]) for each in addresses}):
        words = struct.unpack(f">{len(address) // 4}I", address)
        for index, word in enumerate(words):
            # A word that differs jumps to the next address: past the remaining pairs and the return.
            rest = 2 * (len(words) - index - 1) + 1
            found.append(_INSTRUCTION.pack(_LOAD_WORD, 0, 0, _NETWORK_HEADER + _SOURCE_AT[family] + 4 * index))
            found.append(_INSTRUCTION.pack(_JUMP_IF_EQUAL, 0, rest, word))
        found.append(_ALL)
    return [*found, _NOTHING]


def _program_of_heads(heads: tuple[Head, ...]) -> list[bytes]:
    """Goes on behind itself with a datagram that has one of these heads, and drops the others."""
    found: list[bytes] = []
    left = sum(2 * len(head) + 1 for head in heads)
    for head in heads:
        left -= 2 * len(head) + 1
        for index, (at, value) in enumerate(head):
            # A value that differs jumps to the next head: past the remaining pairs and the jump.
            rest = 2 * (len(head) - index - 1) + 1
            found.append(_INSTRUCTION.pack(_LOAD_HALF, 0, 0, _UDP_HEADER_BYTES + at))
            found.append(_INSTRUCTION.pack(_JUMP_IF_EQUAL, 0, rest, value))
        found.append(_INSTRUCTION.pack(_JUMP, 0, 0, left + 1))
    return [*found, _NOTHING] if heads else []


def take_only(receiver: socket.socket, addresses: Iterable[str] | None, heads: Iterable[Head] = ()) -> bool:
    """Let the kernel drop other datagrams than `program` says. False: it refuses the filter, and nothing changes."""
    return _attach(receiver, program(receiver.family, addresses, heads))


def take_nothing(sender: socket.socket) -> bool:
    """Let the kernel drop all datagrams, for a socket that only sends: nobody can fill its buffer."""
    return _attach(sender, _NOTHING)


def take_all(receiver: socket.socket) -> None:
    """Accept datagrams from all addresses again."""
    with contextlib.suppress(FileNotFoundError):  # there was none
        receiver.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)


def dropped(receiver: socket.socket) -> int:
    """Datagrams that the kernel has dropped: from other addresses, or because the buffer was full. Modulo 2^32; 0 if
    unknown."""
    try:
        told = receiver.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
        return int(_MEMINFO.unpack_from(told)[_MEMINFO_DROPS])
    except (OSError, struct.error):
        return 0


def _attach(made: socket.socket, code: bytes) -> bool:
    instructions = array("B", code)
    place, size = instructions.buffer_info()
    try:
        made.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, _PROGRAM.pack(size // _INSTRUCTION.size, place))
    except OSError:
        return False  # more instructions than net.core.optmem_max allows
    return True


class Admission:
    """The addresses from which some sockets accept datagrams, and how these begin. Tells the kernel of changes."""

    def __init__(self, counters: Counter[str]) -> None:
        """`counters["filter_refused"]`: the kernel refused a filter, so every datagram has to be examined here."""
        self._counters = counters
        self._told: tuple[list[socket.socket], frozenset[str] | None] | None = None
        self._heads: tuple[Head, ...] = ()

    def admit(self, receivers: list[socket.socket], addresses: frozenset[str] | None) -> None:
        """Accept datagrams from these addresses only (None: from all), as far as the kernel can tell."""
        if (receivers, addresses) != self._told:
            self._told = (receivers, addresses)
            self._tell()

    def admit_all(self, receivers: list[socket.socket]) -> None:
        """Accept datagrams from all addresses."""
        if self._told is not None:
            self.admit(receivers, None)

    def only(self, receivers: list[socket.socket], heads: tuple[Head, ...]) -> None:
        """Accept only datagrams that begin so, one by one; with no heads, all from the admitted addresses again."""
        self._heads = heads
        self._told = self._told or (receivers, None)
        for each in self._told[0]:
            (refuse_groups if heads else ask_for_groups)(each)
        self._tell()

    def open_for_a_look(self) -> None:
        """Accept datagrams from all addresses, until `close_again`."""
        if self._told is not None:
            for each in self._told[0]:
                take_all(each)

    def close_again(self) -> None:
        """Accept datagrams only from the addresses that were set last."""
        if self._told is not None:
            self._tell()

    def _tell(self) -> None:
        assert self._told is not None, "it was set just now"
        receivers, addresses = self._told
        for each in receivers:
            if addresses is None and not self._heads:
                take_all(each)
            elif not take_only(each, addresses, self._heads):
                self._counters["filter_refused"] += 1
                if not self._heads:
                    take_all(each)
