"""Source filters: the kernel drops datagrams from unlisted addresses, at a small part of what a program would spend.

A classic BPF program (SO_ATTACH_FILTER, socket(7)) compares the source address of each datagram with those of the
nodes. It proves nothing, because source addresses can be forged. But a flood from other addresses costs the ring hardly
anything. Dropped datagrams appear in the socket's own count (`dropped`), together with those that did not fit its
buffer.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from array import array
from collections import Counter
from collections.abc import Iterable

_SO_ATTACH_FILTER, _SO_DETACH_FILTER, _SO_MEMINFO = 26, 27, 55
_MEMINFO = struct.Struct("=9I")
_MEMINFO_DROPS = 8
_INSTRUCTION = struct.Struct("=HBBI")
_PROGRAM = struct.Struct("@HP")
_NETWORK_HEADER = 0xFFF0_0000
"""SKF_NET_OFF: offsets from here on count from the IP header."""
_SOURCE_AT = {socket.AF_INET: 12, socket.AF_INET6: 8}
_LOAD_WORD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALL, _NOTHING = _INSTRUCTION.pack(_RETURN, 0, 0, 0xFFFF_FFFF), _INSTRUCTION.pack(_RETURN, 0, 0, 0)


def program(family: socket.AddressFamily, addresses: Iterable[str]) -> bytes:
    """A BPF program that accepts datagrams from these addresses of one family. IPv6 scopes do not count."""
    found = []
    for address in sorted({socket.inet_pton(family, each.partition("%")[0]) for each in addresses}):
        words = struct.unpack(f">{len(address) // 4}I", address)
        for index, word in enumerate(words):
            # A word that differs jumps to the next address: past the remaining pairs and the return.
            rest = 2 * (len(words) - index - 1) + 1
            found.append(_INSTRUCTION.pack(_LOAD_WORD, 0, 0, _NETWORK_HEADER + _SOURCE_AT[family] + 4 * index))
            found.append(_INSTRUCTION.pack(_JUMP_IF_EQUAL, 0, rest, word))
        found.append(_ALL)
    return b"".join([*found, _NOTHING])


def take_only(receiver: socket.socket, addresses: Iterable[str]) -> bool:
    """Let the kernel drop datagrams from other addresses. False: it refuses the filter, and nothing changes."""
    return _attach(receiver, program(receiver.family, addresses))


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
    """The addresses from which some sockets accept datagrams. Tells the kernel when they change."""

    def __init__(self, counters: Counter[str]) -> None:
        """`counters["filter_refused"]`: the kernel refused a filter, so every datagram has to be examined here."""
        self._counters = counters
        self._told: tuple[list[socket.socket], frozenset[str]] | None = None

    def admit(self, receivers: list[socket.socket], addresses: frozenset[str]) -> None:
        """Accept datagrams from these addresses only, as far as the kernel can tell."""
        if (receivers, addresses) == self._told:
            return
        self._told = (receivers, addresses)
        for each in receivers:
            if not take_only(each, addresses):
                take_all(each)
                self._counters["filter_refused"] += 1

    def open_for_a_look(self) -> None:
        """Accept datagrams from all addresses, until `close_again`."""
        if self._told is not None:
            for each in self._told[0]:
                take_all(each)

    def close_again(self) -> None:
        """Accept datagrams only from the addresses that were set last."""
        told, self._told = self._told, None
        if told is not None:
            self.admit(*told)

    def admit_all(self, receivers: list[socket.socket]) -> None:
        """Accept datagrams from all addresses."""
        if self._told is not None:
            self._told = None
            for each in receivers:
                take_all(each)
