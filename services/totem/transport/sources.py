"""Who may send to a socket: the kernel drops all others, for a small part of what a program would spend on it.

A classic BPF program (SO_ATTACH_FILTER, socket(7)) compares the source address of each datagram with those of the
nodes. It proves nothing, source addresses can be forged; but a flood from anywhere else costs the ring hardly anything
any more. What was dropped is in the socket's own count (`dropped`), together with what did not fit its buffer.
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
    """A program that takes what comes from these addresses of one family; scopes of IPv6 do not count."""
    found = []
    for address in sorted({socket.inet_pton(family, each.partition("%")[0]) for each in addresses}):
        words = struct.unpack(f">{len(address) // 4}I", address)
        for index, word in enumerate(words):
            # Each word that differs leads to the next address: over the pairs that are left, and the end.
            rest = 2 * (len(words) - index - 1) + 1
            found.append(_INSTRUCTION.pack(_LOAD_WORD, 0, 0, _NETWORK_HEADER + _SOURCE_AT[family] + 4 * index))
            found.append(_INSTRUCTION.pack(_JUMP_IF_EQUAL, 0, rest, word))
        found.append(_ALL)
    return b"".join([*found, _NOTHING])


def take_only(receiver: socket.socket, addresses: Iterable[str]) -> bool:
    """Let the kernel drop what comes from anywhere else. False: it refuses, and goes on as before."""
    return _attach(receiver, program(receiver.family, addresses))


def take_nothing(sender: socket.socket) -> bool:
    """For a socket that only sends: nobody fills its buffer."""
    return _attach(sender, _NOTHING)


def take_all(receiver: socket.socket) -> None:
    """No address is refused any more."""
    with contextlib.suppress(FileNotFoundError):  # there was none
        receiver.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)


def dropped(receiver: socket.socket) -> int:
    """Datagrams that the kernel has dropped: of other addresses, or for want of room. Modulo 2^32; 0 if not told."""
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
        return False  # more of them than net.core.optmem_max admits
    return True


class Admission:
    """Which addresses some sockets take datagrams from; the kernel is told when that changes."""

    def __init__(self, counters: Counter[str]) -> None:
        """`counters["filter_refused"]`: the kernel did not take a filter, so all that comes has to be looked at."""
        self._counters = counters
        self._told: tuple[list[socket.socket], frozenset[str]] | None = None

    def admit(self, receivers: list[socket.socket], addresses: frozenset[str]) -> None:
        """Take what these addresses send, and nothing else as far as the kernel can tell."""
        if (receivers, addresses) == self._told:
            return
        self._told = (receivers, addresses)
        for each in receivers:
            if not take_only(each, addresses):
                take_all(each)
                self._counters["filter_refused"] += 1

    def open_for_a_look(self) -> None:
        """Take what anybody sends, until `close_again`."""
        if self._told is not None:
            for each in self._told[0]:
                take_all(each)

    def close_again(self) -> None:
        """Take what was last told, and nothing else."""
        told, self._told = self._told, None
        if told is not None:
            self.admit(*told)

    def admit_all(self, receivers: list[socket.socket]) -> None:
        """Take what anybody sends."""
        if self._told is not None:
            self._told = None
            for each in receivers:
                take_all(each)
