"""Large datagrams, cut into segments by their sender and put together by their receiver.

A datagram beyond the MTU would be fragmented by the kernel. That has two ills: a receiver's kernel keeps what it has of
incomplete ones for 30 s and takes nothing more once they fill 4 MiB, so that a few seconds of heavy loss can shut a
ring out of its large packets for half a minute; and every fragment goes through the whole stack by itself. Segments of
one size instead leave with one system call (UDP_SEGMENT), are carried as one up to the network card, and arrive as one
where the kernel puts them together again (UDP_GRO). What is incomplete waits here, bounded, and goes when newer ones
come.

A segment: 8 bytes of header, and its share of the datagram. All shares but the last are of one size.

| offset | bytes | field |
|---|---|---|
| 0 | 1 | magic 0x53; no other datagram begins so |
| 1 | 1 | version 1 |
| 2 | 1 | which of them: 0 .. count - 1 |
| 3 | 1 | count: 2 .. 64 (never 0, which would mean a token here) |
| 4 | 4 | number of the datagram among those of its sender, big-endian |

The loss of any segment is the loss of the datagram. So where so many get lost that datagrams of a size are given up,
what has to be sent again of that size is sent several times: with three copies a fifth of all segments may be lost, and
still most datagrams arrive.

Nothing of this is authenticated: the datagram is, once it is whole. Who can put false segments among true ones can
spoil the datagram, as with fragments of IP.
"""

from __future__ import annotations

import os
import struct
from collections import Counter
from typing import Any

from services.totem.transport.batch import GROUP_BYTES_MAX, SEGMENTS_MAX

MAGIC = b"\x53"
VERSION = 1
HEADER_SIZE = 8
IP_HEADERS_SIZE = 48
"""IPv6 and UDP."""

INCOMPLETE_MAX = 128
"""Datagrams that wait for more of their segments, of all senders together: some 8 MB. The oldest gives way."""

INCOMPLETE_OF_SOURCE_MAX = 32
"""Of them, those of one sender."""

REMEMBERED_MAX = 256
"""Datagrams that became whole, kept in mind so that further copies of their segments are passed over."""

_HEADER = struct.Struct(">cBBBI")
_INDEXES = bytes(range(SEGMENTS_MAX))
_U32 = 0xFFFF_FFFF


class Cutter:
    """Cuts what one transport sends."""

    def __init__(self, netmtu: int) -> None:
        """`netmtu`: larger datagrams are cut; a segment fits an MTU of this size with the headers of either version."""
        self.netmtu = netmtu
        self.segment_bytes = netmtu - IP_HEADERS_SIZE
        """Of a whole segment, its header included."""
        self._share = self.segment_bytes - HEADER_SIZE
        segments = min(SEGMENTS_MAX, GROUP_BYTES_MAX // self.segment_bytes)
        self._size_max = segments * self._share
        # Not where an earlier life of this node began: others remember the numbers that they have had.
        self._number = int.from_bytes(os.urandom(4))

    def cuts(self, size: int) -> bool:
        """Whether a datagram of so many bytes is cut. What does not fit one group of segments is not."""
        return self.netmtu < size <= self._size_max

    def cut(self, datagram: bytes) -> list[bytes | memoryview]:
        """The segments in their order, each as two buffers: header, share."""
        share, number = self._share, self._number
        self._number = (number + 1) & _U32
        view = memoryview(datagram)
        count = -(-len(datagram) // share)
        buffers: list[bytes | memoryview] = []
        for index in range(count):
            buffers.append(_HEADER.pack(MAGIC, VERSION, index, count, number))
            buffers.append(view[index * share : (index + 1) * share])
        return buffers


class _Incomplete:
    __slots__ = ("bytes", "left", "parts")

    def __init__(self, count: int) -> None:
        self.parts: list[bytes] = [b""] * count
        self.left = count
        self.bytes = 0


class Joiner:
    """Puts together what one transport receives."""

    def __init__(self, counters: Counter[str]) -> None:
        """`counters["rx_incomplete"]`: datagrams that were given up, and segments that made no sense."""
        self._counters = counters
        self._waiting: dict[tuple[Any, int], _Incomplete] = {}
        """By sender and number, oldest first."""
        self._had: dict[tuple[Any, int], None] = {}
        """What became whole lately, oldest first."""

    def join_all(self, data: bytes, size: int, source: Any) -> bytes | None:
        """The datagram of which `data` are all segments, of `size` bytes each but the last, in their order: what nearly
        always comes from `source`. None: look at each of them."""
        whole = _whole(data, size)
        if whole is None:
            return None
        key = (source, _HEADER.unpack_from(data)[4])
        if key in self._had:
            return None
        self._waiting.pop(key, None)
        self._remember(key)
        return whole

    def join(self, segment: bytes, source: Any) -> bytes | None:
        """The datagram that is whole with this segment, if one is."""
        if len(segment) <= HEADER_SIZE:
            self._refuse()
            return None
        magic, version, index, count, number = _HEADER.unpack_from(segment)
        if magic != MAGIC or version != VERSION or not index < count <= SEGMENTS_MAX:
            self._refuse()
            return None
        key = (source, number)
        if key in self._had:
            return None
        waiting = self._waiting.get(key)
        if waiting is None or len(waiting.parts) != count:
            self._waiting.pop(key, None)
            self._make_room(source)
            waiting = self._waiting[key] = _Incomplete(count)
        if waiting.parts[index]:
            return None  # a copy
        waiting.parts[index] = segment[HEADER_SIZE:]
        waiting.bytes += len(segment)
        waiting.left -= 1
        if waiting.left and waiting.bytes <= GROUP_BYTES_MAX:
            return None
        del self._waiting[key]
        if waiting.left:
            self._refuse()
            return None
        self._remember(key)
        return b"".join(waiting.parts)

    def _refuse(self) -> None:
        self._counters["rx_incomplete"] += 1

    def _remember(self, key: tuple[Any, int]) -> None:
        if len(self._had) >= REMEMBERED_MAX:
            del self._had[next(iter(self._had))]
        self._had[key] = None

    def _make_room(self, source: Any) -> None:
        own = [key for key in self._waiting if key[0] == source]
        gone = own[0] if len(own) >= INCOMPLETE_OF_SOURCE_MAX else None
        if gone is None and len(self._waiting) >= INCOMPLETE_MAX:
            gone = next(iter(self._waiting))
        if gone is not None:
            del self._waiting[gone]
            self._refuse()


def _whole(data: bytes, size: int) -> bytes | None:
    """The datagram, if these segments are all of one, in their order: what nearly always comes. None: look closer."""
    count = -(-len(data) // size)
    if not 2 <= count <= SEGMENTS_MAX or len(data) - (count - 1) * size <= HEADER_SIZE:
        return None
    head = data[:HEADER_SIZE]
    if head[:4] != MAGIC + bytes((VERSION, 0, count)) or data[2::size] != _INDEXES[:count]:
        return None
    for offset in (0, 1, 3, 4, 5, 6, 7):
        if data[offset::size] != head[offset : offset + 1] * count:
            return None
    view = memoryview(data)
    share = size - HEADER_SIZE
    return b"".join([view[at : at + share] for at in range(HEADER_SIZE, len(data), size)])
