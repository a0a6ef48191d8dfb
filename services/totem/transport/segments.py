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
| 1 | 1 | 1: a share; 2: parity |
| 2 | 1 | which of them: 0 .. count - 1 |
| 3 | 1 | count: 2 .. 64 (never 0, which would mean a token here) |
| 4 | 4 | number of the datagram among those of its sender, big-endian |

The loss of any segment is the loss of the datagram. Where that happens too often segments of parity follow, one for six
shares: ceil(count / 6) of them. Number i is the exclusive or of all shares whose number leaves i, divided by how many
segments of parity there are. Each makes up for one lost share among its six, and a run of losses is shared among them:
with 1 % of all segments lost one in seventy datagrams of 60,000 bytes is lost, and not one in three. A segment of
parity has two more bytes of header, the size of the last share (big-endian), and as many bytes as a share; what is
shorter counts as if zeros followed. Who does not know parity takes it for nonsense, and does without.

And where so many get lost that datagrams of a size are given up, what has to be sent again of that size is sent several
times: with three copies a fifth of all segments may be lost, and still most datagrams arrive.

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
SHARE, PARITY = 1, 2
HEADER_SIZE = 8
PARITY_HEADER_SIZE = 10
SHARES_OF_PARITY = 6
IP_HEADERS_SIZE = 48
"""IPv6 and UDP."""

INCOMPLETE_MAX = 128
"""Datagrams that wait for more of their segments, of all senders together: some 10 MB. The oldest gives way."""

INCOMPLETE_OF_SOURCE_MAX = 32
"""Of them, those of one sender."""

REMEMBERED_MAX = 256
"""Datagrams that became whole, kept in mind so that further copies of their segments are passed over."""

WAITING_BYTES_MAX = 80_000
"""Of one datagram, parity included."""

_HEADER = struct.Struct(">cBBBI")
_PARITY_HEADER = struct.Struct(">cBBBIH")
_LAST = struct.Struct(">H")
_INDEXES = bytes(range(SEGMENTS_MAX))
_U32 = 0xFFFF_FFFF


def parities(count: int) -> int:
    """How many segments of parity belong to so many shares."""
    return -(-count // SHARES_OF_PARITY)


class Cutter:
    """Cuts what one transport sends."""

    def __init__(self, netmtu: int) -> None:
        """`netmtu`: larger datagrams are cut; a segment fits an MTU of this size with the headers of either version."""
        self.netmtu = netmtu
        self._share = netmtu - IP_HEADERS_SIZE - PARITY_HEADER_SIZE
        self.segment_bytes = self._share + HEADER_SIZE
        """Of a whole segment, its header included. (One of parity is a little larger.)"""
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
            buffers.append(_HEADER.pack(MAGIC, SHARE, index, count, number))
            buffers.append(view[index * share : (index + 1) * share])
        return buffers

    def parity(self, datagram: bytes) -> list[bytes]:
        """The segments of parity of the datagram that was cut last, one size."""
        share, number = self._share, (self._number - 1) & _U32
        view = memoryview(datagram)
        count = -(-len(datagram) // share)
        rows = parities(count)
        width = rows * share
        mixed = 0
        for at in range(0, len(datagram), width):
            mixed ^= int.from_bytes(view[at : at + width], "little")
        whole = mixed.to_bytes(width, "little")
        last = len(datagram) - (count - 1) * share
        return [
            _PARITY_HEADER.pack(MAGIC, PARITY, row, count, number, last) + whole[row * share : (row + 1) * share]
            for row in range(rows)
        ]


class _Incomplete:
    __slots__ = ("bytes", "last", "left", "parity", "parts")

    def __init__(self, count: int) -> None:
        self.parts: list[bytes] = [b""] * count
        self.left = count
        self.bytes = 0
        self.parity: dict[int, bytes] = {}
        self.last = 0
        """Size of the last share, if there is parity."""

    def mend(self, row: int) -> None:
        """Make up for the one share that is missing among those of this segment of parity, if it is one."""
        parity = self.parity.get(row)
        if parity is None:
            return
        parts = self.parts
        of_row = range(row, len(parts), parities(len(parts)))
        missing = [index for index in of_row if not parts[index]]
        if len(missing) != 1:
            return
        found = int.from_bytes(parity, "little")
        for index in of_row:
            found ^= int.from_bytes(parts[index], "little")
        size = self.last if missing[0] == len(parts) - 1 else len(parity)
        if found.bit_length() <= 8 * size:  # else somebody has put false ones among them
            parts[missing[0]] = found.to_bytes(size, "little")
            self.left -= 1


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
        magic, kind, index, count, number = _HEADER.unpack_from(segment)
        is_share = kind == SHARE
        if (
            magic != MAGIC
            or not 2 <= count <= SEGMENTS_MAX
            or not (index < count if is_share else kind == PARITY and _is_parity(segment, index, count))
        ):
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
        if is_share:
            if waiting.parts[index]:
                return None  # a copy
            waiting.parts[index] = segment[HEADER_SIZE:]
            waiting.left -= 1
            if waiting.left and waiting.parity:
                waiting.mend(index % parities(count))
        else:
            if index in waiting.parity:
                return None
            (waiting.last,) = _LAST.unpack_from(segment, HEADER_SIZE)
            waiting.parity[index] = segment[PARITY_HEADER_SIZE:]
            waiting.mend(index)
        waiting.bytes += len(segment)
        if waiting.left and waiting.bytes <= WAITING_BYTES_MAX:
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


def _is_parity(segment: bytes, index: int, count: int) -> bool:
    """Whether a segment of parity makes sense."""
    share = len(segment) - PARITY_HEADER_SIZE
    return index < parities(count) and share > 0 and 0 < _LAST.unpack_from(segment, HEADER_SIZE)[0] <= share


def _whole(data: bytes, size: int) -> bytes | None:
    """The datagram, if these segments are all of one, in their order: what nearly always comes. None: look closer."""
    count = -(-len(data) // size)
    if not 2 <= count <= SEGMENTS_MAX or len(data) - (count - 1) * size <= HEADER_SIZE:
        return None
    head = data[:HEADER_SIZE]
    if head[:4] != MAGIC + bytes((SHARE, 0, count)) or data[2::size] != _INDEXES[:count]:
        return None
    for offset in (0, 1, 3, 4, 5, 6, 7):
        if data[offset::size] != head[offset : offset + 1] * count:
            return None
    view = memoryview(data)
    share = size - HEADER_SIZE
    return b"".join([view[at : at + share] for at in range(HEADER_SIZE, len(data), size)])
