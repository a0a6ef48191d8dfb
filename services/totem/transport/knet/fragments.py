"""Frames that do not fit one datagram: the sender cuts them, the receiver joins them.

All fragments of a frame but the last have one size, so that they can leave with one system call, even encrypted. A
receiver keeps incomplete frames, bounded in number, bytes and time. A frame that is pushed out is lost, as if the
network had lost it.
"""

from __future__ import annotations

from typing import Final

from services.totem.transport.knet.format import FRAGMENTS_MAX, FRAME_BYTES_MAX

INCOMPLETE_MAX: Final = 32
"""Most incomplete frames of one host. The oldest gives way."""

AGE_NS_MAX: Final = 1_000_000_000
"""How long an incomplete frame waits."""

BYTES_MAX: Final = FRAME_BYTES_MAX
"""Most bytes of one frame; 2 MiB for one host."""


class Refused(Exception):  # noqa: N818 - named for what happens to the fragment
    """A malformed fragment. The text is the reason to count."""


def cut(frame: bytes, piece_bytes: int) -> list[bytes]:
    """The pieces of a frame, never more than 255: that would need pieces below 257 bytes."""
    piece_bytes = max(piece_bytes, -(-len(frame) // FRAGMENTS_MAX))
    if len(frame) <= piece_bytes:
        return [frame]
    return [frame[at : at + piece_bytes] for at in range(0, len(frame), piece_bytes)]


class _Incomplete:
    __slots__ = ("begun_ns", "bytes", "left", "piece_bytes", "pieces")

    def __init__(self, count: int, now_ns: int) -> None:
        self.pieces: list[bytes] = [b""] * count
        self.left = count
        self.bytes = 0
        self.piece_bytes = 0
        """Size of all pieces but the last; 0: not known yet."""
        self.begun_ns = now_ns


class Joiner:
    """Joins the fragments of one host."""

    __slots__ = ("_waiting", "dropped")

    def __init__(self) -> None:
        self._waiting: dict[int, _Incomplete] = {}
        """By number, oldest first."""
        self.dropped = 0
        """Frames that stayed incomplete."""

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def waiting_bytes(self) -> int:
        """Bytes of the waiting pieces."""
        return sum(each.bytes for each in self._waiting.values())

    def join(self, number: int, count: int, which: int, piece: bytes, now_ns: int) -> bytes | None:
        """The frame, if this piece completes it. `which`: 1..count. Raises `Refused`."""
        if not 1 <= which <= count:
            raise Refused("fragment_number")
        if not piece:
            raise Refused("fragment_empty")
        waiting = self._waiting.get(number)
        if waiting is None:
            self._make_room(now_ns)
            waiting = self._waiting[number] = _Incomplete(count, now_ns)
        elif len(waiting.pieces) != count:
            raise Refused("fragment_count")
        if waiting.pieces[which - 1]:
            return None  # a copy
        size = len(piece)
        if which < count:
            if waiting.piece_bytes not in (0, size):
                raise Refused("fragment_size")
            waiting.piece_bytes = size
        if waiting.bytes + size > BYTES_MAX:
            raise Refused("fragment_bytes")
        waiting.bytes += size
        waiting.pieces[which - 1] = piece
        waiting.left -= 1
        if waiting.left:
            return None
        del self._waiting[number]
        return b"".join(waiting.pieces)

    def expire(self, now_ns: int) -> None:
        """Drop frames that have waited too long."""
        for number, waiting in list(self._waiting.items()):
            if now_ns - waiting.begun_ns < AGE_NS_MAX:
                return
            del self._waiting[number]
            self.dropped += 1

    def forget(self) -> None:
        """The sender has restarted: drop its incomplete frames."""
        self.dropped += len(self._waiting)
        self._waiting.clear()

    def _make_room(self, now_ns: int) -> None:
        self.expire(now_ns)
        if len(self._waiting) >= INCOMPLETE_MAX:
            del self._waiting[next(iter(self._waiting))]
            self.dropped += 1
