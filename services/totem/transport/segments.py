"""Large datagrams: the sender cuts them into segments, the receiver joins them.

The kernel would fragment a datagram beyond the MTU. That has two drawbacks. A receiver's kernel keeps incomplete
datagrams for 30 s, and accepts nothing more once they fill 4 MiB: a few seconds of heavy loss can keep a ring's large
packets out for half a minute. And every fragment passes through the whole network stack by itself. Segments of one size
instead leave with one system call (UDP_SEGMENT), stay together up to the network card, and arrive together if the
receiver's kernel joins them (UDP_GRO). Incomplete datagrams wait here; their number is bounded, and newer ones push out
the oldest.

A segment: 24 bytes of header, and its share of the datagram. All shares but the last are of one size.

| offset | bytes | field |
|---|---|---|
| 0 | 1 | magic 0x53; no other datagram begins so |
| 1 | 1 | 3: a share; 4: parity (1 and 2 were those of versions without marks, which nobody accepts any more) |
| 2 | 1 | index: 0 .. count - 1 |
| 3 | 1 | count: 2 .. 64 (never 0, which would mean a token here) |
| 4 | 4 | sender: its node id, big-endian |
| 8 | 8 | number of the datagram among those of this boot of its sender, big-endian |
| 16 | 8 | mark (services/totem/security/marks.py) |

If one segment is lost, the datagram is lost. If that happens too often, parity segments follow, one for six shares:
ceil(count / 6) in total. Parity segment i is the exclusive or of all shares whose index modulo the number of parity
segments is i. Each one restores one lost share of its six, and a burst of losses is spread over several. With 1 % of
all segments lost, one in seventy datagrams of 60,000 bytes is lost instead of one in three. A parity segment has two
more bytes of header, the size of the last share (big-endian), and as many bytes as a share; shorter shares count as
padded with zeros. A receiver that does not know parity ignores it.

If so many segments are lost that a size is given up, datagrams of that size that are sent again go out several times.
With three copies a fifth of all segments may be lost, and most datagrams still arrive.

A segment counts only with a genuine mark, under the confirmed boot of its sender, and only among the newest datagrams
of that sender. So an attacker without the key cannot make a genuine segment count as a copy, push out waiting
datagrams, or advance the numbers, whatever he sends or has recorded. The content of a segment is authentic once the
datagram is whole and opened.
"""

from __future__ import annotations

import functools
import struct
from array import array
from collections import Counter
from collections.abc import Callable
from typing import Final

from services.totem.security.marks import MARK_SIZE, SegmentMarks, marks
from services.totem.transport.batch import GROUP_BYTES_MAX, SEGMENTS_MAX

MAGIC: Final = b"\x53"
SHARE: Final = 3
PARITY: Final = 4
HEADER_SIZE: Final = 24
PARITY_HEADER_SIZE: Final = 26
SHARES_OF_PARITY: Final = 6

INCOMPLETE_MAX: Final = 128
"""Most incomplete datagrams, of all senders together: some 10 MB. The oldest gives way."""

INCOMPLETE_OF_SENDER_MAX: Final = 32
"""Most incomplete datagrams of one sender."""

RECENT: Final = 1024
"""How many datagrams a segment may be behind the newest one of its sender. Also: how many complete datagrams are
remembered, so that more copies of their segments are ignored."""

SENDERS_MAX: Final = 384

WAITING_BYTES_MAX: Final = 80_000
"""Most bytes of one incomplete datagram, parity included."""

_HEADER: Final = struct.Struct(">cBBBIQ8s")
_MARK_AT: Final = 16
_FIRST: Final = MAGIC + bytes((SHARE,))
_LAST: Final = struct.Struct(">H")
_INDEXES: Final = bytes(range(SEGMENTS_MAX))


def parities(count: int) -> int:
    """The number of parity segments for so many shares."""
    return -(-count // SHARES_OF_PARITY)


class Cutter:
    """Cuts the datagrams that one transport sends."""

    def __init__(self, payload_max: int, source: SegmentMarks) -> None:
        """`payload_max`: larger datagrams are cut, bytes. `source`: the marks and numbers."""
        self.payload_max = payload_max
        self._share = payload_max - PARITY_HEADER_SIZE
        self.segment_bytes = self._share + HEADER_SIZE
        """Size of a full segment with its header. (A parity segment is a little larger.)"""
        segments = min(SEGMENTS_MAX, GROUP_BYTES_MAX // self.segment_bytes)
        self._size_max = segments * self._share
        self._source = source
        self._headers: dict[int, tuple[array[int], Callable[[bytes], tuple[bytes, ...]]]] = {}
        """By the number of shares: the constant part of the headers of such datagrams."""
        self._number = 0
        """Number of the datagram that was cut last."""

    def cuts(self, size: int) -> bool:
        """Whether a datagram of so many bytes is cut. One that does not fit one group of segments is not."""
        return self.payload_max < size <= self._size_max

    def cut(self, datagram: bytes) -> list[bytes | memoryview]:
        """The segments in order, each as two buffers: header, share."""
        share = self._share
        count = -(-len(datagram) // share)
        self._number = number = self._source.next_number()
        known = self._headers.get(count)
        if known is None:
            known = self._headers[count] = self._headers_of(count)
        fixed, take_apart = known
        headers = fixed[:]
        headers[1::3] = array("Q", number.to_bytes(8, "big")) * count
        headers[2::3] = array("Q", marks(self._source.own_key(), number, count))
        view = memoryview(datagram)
        buffers: list[bytes | memoryview] = [b""] * (2 * count)
        buffers[::2] = take_apart(headers.tobytes())
        buffers[1::2] = [view[at : at + share] for at in range(0, len(datagram), share)]
        return buffers

    def _headers_of(self, count: int) -> tuple[array[int], Callable[[bytes], tuple[bytes, ...]]]:
        """The headers without the fields of one datagram, and a function that splits them."""
        sender = self._source.sender
        headers = [_HEADER.pack(MAGIC, SHARE, index, count, sender, 0, bytes(MARK_SIZE)) for index in range(count)]
        return array("Q", b"".join(headers)), struct.Struct(f"{HEADER_SIZE}s" * count).unpack

    def parity(self, datagram: bytes) -> list[bytes]:
        """The parity segments of the datagram that was cut last. They have one size."""
        share, number, sender = self._share, self._number, self._source.sender
        view = memoryview(datagram)
        count = -(-len(datagram) // share)
        rows = parities(count)
        width = rows * share
        mixed = 0
        for at in range(0, len(datagram), width):
            mixed ^= int.from_bytes(view[at : at + width], "little")
        whole = mixed.to_bytes(width, "little")
        last = _LAST.pack(len(datagram) - (count - 1) * share)
        marked = marks(self._source.own_key(), number, count, rows)
        return [
            _HEADER.pack(MAGIC, PARITY, row, count, sender, number, _mark(marked, count + row))
            + last
            + whole[row * share : (row + 1) * share]
            for row in range(rows)
        ]


class _Incomplete:
    __slots__ = ("bytes", "last", "left", "marks", "parity", "parts")

    def __init__(self, count: int, marked: bytes) -> None:
        self.marks = marked
        """The marks of all its segments."""
        self.parts: list[bytes] = [b""] * count
        self.left = count
        self.bytes = 0
        self.parity: dict[int, bytes] = {}
        self.last = 0
        """Size of the last share, if there is parity."""

    def mend(self, row: int) -> None:
        """Restore the share that this parity segment covers, if exactly one of them is missing."""
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
        if found.bit_length() <= 8 * size:  # otherwise the sender breaks the rules
            parts[missing[0]] = found.to_bytes(size, "little")
            self.left -= 1


class _Sender:
    """One boot of a sender of genuine segments."""

    __slots__ = ("boot", "had", "newest", "waiting")

    def __init__(self, boot: bytes) -> None:
        self.boot = boot
        self.newest = 0
        """Highest number of a datagram with a genuine segment."""
        self.waiting: dict[int, _Incomplete] = {}
        """By number, oldest first."""
        self.had: dict[int, None] = {}
        """Numbers of datagrams that were completed lately, oldest first."""


class Joiner:
    """Joins the segments that one transport receives."""

    def __init__(self, counters: Counter[str], source: SegmentMarks) -> None:
        """`counters`: `rx_incomplete` counts datagrams that were given up, and malformed segments; `rx_segment_mark`
        counts segments with a forged mark, of no confirmed boot, or long past."""
        self._counters = counters
        self._source = source
        self.senders: dict[int, _Sender] = {}
        """By node id: the senders of genuine segments."""

    def join_all(self, data: bytes, size: int) -> bytes | None:
        """The datagram, if `data` holds all of its segments in order, each of `size` bytes but the last. That is the
        usual case. None: `join` each segment."""
        count = -(-len(data) // size)
        if not 2 <= count <= SEGMENTS_MAX or len(data) - (count - 1) * size <= HEADER_SIZE or size <= HEADER_SIZE:
            return None
        if data[:4] != _FIRST + bytes((0, count)) or data[2::size] != _INDEXES[:count]:
            return None
        _, _, _, _, node, number, _ = _HEADER.unpack_from(data)
        sender = self.senders.get(node)
        if sender is not None and number in sender.had:
            return None
        shown = b"".join(_shown_marks(count, size).unpack_from(data))
        sender, _ = self._marked(node, number, count, 0, lambda marked: marked.startswith(shown))
        if sender is None:
            return None
        sender.waiting.pop(number, None)
        _remember(sender, number)
        view = memoryview(data)
        share = size - HEADER_SIZE
        return b"".join([view[at : at + share] for at in range(HEADER_SIZE, len(data), size)])

    def join(self, segment: bytes) -> bytes | None:
        """The datagram that this segment completes, if it does."""
        if len(segment) <= HEADER_SIZE:
            self._counters["rx_incomplete"] += 1
            return None
        magic, kind, index, count, node, number, mark = _HEADER.unpack_from(segment)
        is_share = kind == SHARE
        if (
            magic != MAGIC
            or not 2 <= count <= SEGMENTS_MAX
            or not (index < count if is_share else kind == PARITY and _is_parity(segment, index, count))
        ):
            self._counters["rx_incomplete"] += 1
            return None
        sender = self.senders.get(node)
        if sender is not None and number in sender.had:
            return None
        waiting = sender.waiting.get(number) if sender is not None else None
        at = index if is_share else count + index
        if waiting is None or len(waiting.parts) != count:
            rows = parities(count)
            sender, marked = self._marked(node, number, count, rows, lambda each: mark == _mark(each, at))
            if sender is None:
                self._counters["rx_segment_mark"] += 1
                return None
            waiting = self._wait(sender, number, count, marked)
        elif mark != _mark(waiting.marks, at):
            self._counters["rx_segment_mark"] += 1
            return None
        assert sender is not None
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
        del sender.waiting[number]
        if waiting.left:
            self._counters["rx_incomplete"] += 1
            return None
        _remember(sender, number)
        return b"".join(waiting.parts)

    def _marked(
        self, node: int, number: int, count: int, rows: int, fits: Callable[[bytes], bool]
    ) -> tuple[_Sender | None, bytes]:
        """The sender, and the marks of its datagram with this number and of `rows` parity segments, if `fits` accepts
        the marks. Else (None, b""), and nothing is remembered."""
        known = self._source.keys_of(node)
        if known is None:
            return None, b""
        sender = self.senders.get(node)
        if sender is not None and sender.boot != known.boot:
            sender = None
        if sender is not None and number <= sender.newest - RECENT:
            return None, b""
        for key in known.keys:
            marked = marks(key, number, count, rows)
            if fits(marked):
                break
        else:
            return None, b""
        if sender is None:
            self.senders.pop(node, None)
            if len(self.senders) >= SENDERS_MAX:
                del self.senders[next(iter(self.senders))]
            sender = self.senders[node] = _Sender(known.boot)
        sender.newest = max(sender.newest, number)
        return sender, marked

    def _wait(self, sender: _Sender, number: int, count: int, marked: bytes) -> _Incomplete:
        """Let a datagram wait for the rest of its segments."""
        sender.waiting.pop(number, None)
        if len(sender.waiting) >= INCOMPLETE_OF_SENDER_MAX:
            del sender.waiting[next(iter(sender.waiting))]
            self._counters["rx_incomplete"] += 1
        elif sum(len(each.waiting) for each in self.senders.values()) >= INCOMPLETE_MAX:
            fullest = max(self.senders.values(), key=lambda each: len(each.waiting))
            del fullest.waiting[next(iter(fullest.waiting))]
            self._counters["rx_incomplete"] += 1
        made = sender.waiting[number] = _Incomplete(count, marked)
        return made


def _remember(sender: _Sender, number: int) -> None:
    if len(sender.had) >= RECENT:
        del sender.had[next(iter(sender.had))]
    sender.had[number] = None


def _is_parity(segment: bytes, index: int, count: int) -> bool:
    """Whether a parity segment is well-formed."""
    share = len(segment) - PARITY_HEADER_SIZE
    return index < parities(count) and share > 0 and 0 < _LAST.unpack_from(segment, HEADER_SIZE)[0] <= share


def _mark(marked: bytes, at: int) -> bytes:
    return marked[MARK_SIZE * at : MARK_SIZE * (at + 1)]


@functools.lru_cache(maxsize=256)
def _shown_marks(count: int, size: int) -> struct.Struct:
    """A struct that extracts the marks of so many segments of this size."""
    return struct.Struct(f"{_MARK_AT}x{MARK_SIZE}s{size - HEADER_SIZE}x" * (count - 1) + f"{_MARK_AT}x{MARK_SIZE}s")
