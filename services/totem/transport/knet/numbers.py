"""Data numbers: a sender numbers its frames, and a receiver recognises copies by the number.

A sender counts 1..65535 without 0, in one sequence for all receivers: one that is sent only some frames sees gaps.
Frames never get the numbers from `KEPT_FROM` on. These are for packets that are sealed in advance, so no receiver has
seen them.

A receiver remembers which of the last `WINDOW` numbers it has seen. A number further away, in either direction, starts
a new window: the sender has sent much to others, or has restarted. With 16 bits no more can be known about a packet;
docs/SECURITY.md describes the consequences.
"""

from __future__ import annotations

from typing import Final

from services.totem.transport.knet.format import NUMBER_MAX

WINDOW: Final = 4096
"""How many numbers behind the newest one are remembered."""

KEPT_FROM: Final = 65_000
"""Numbers from here on are for packets that are kept, and sent later or never."""

FADE_NS: Final = 2_000_000_000
"""A receiver forgets a number after this time, at the latest after twice this time. Copies on other links come much
sooner. Otherwise a replayed packet would block its sender until the sender has used all these numbers again."""

PING_EVERY: Final = 8191
"""After so many numbers a sender pings all hosts, for those that were sent nothing."""

_FULL: Final = (1 << (WINDOW + 1)) - 1
_MODULUS: Final = NUMBER_MAX + 1
_HALF: Final = _MODULUS // 2


class SendNumbers:
    """The number of the next frame."""

    __slots__ = ("_kept", "_since_ping", "last", "ping_is_due")

    def __init__(self) -> None:
        self.last = 0
        """The last number that was assigned; 0: none."""
        self.ping_is_due = False
        """Set by the first number and then by each `PING_EVERY`th. The sender of the pings clears it."""
        self._kept = KEPT_FROM - 1
        self._since_ping = PING_EVERY - 1

    def next(self) -> int:
        """A number for a frame."""
        self.last = self.last + 1 if self.last < KEPT_FROM - 1 else 1
        self._since_ping += 1
        if self._since_ping >= PING_EVERY:
            self._since_ping = 0
            self.ping_is_due = True
        return self.last

    def next_kept(self) -> int:
        """A number for a packet that is kept. The numbers repeat after 536 packets; the first one was thrown away long
        before."""
        self._kept = self._kept + 1 if self._kept < NUMBER_MAX else KEPT_FROM
        return self._kept


class ReceiveWindow:
    """The numbers seen from one host."""

    __slots__ = ("_aged_ns", "_had", "_old", "_old_newest", "newest", "passed_over", "restarts")

    def __init__(self) -> None:
        self.newest = 0
        """The newest number; 0: none seen yet."""
        self.restarts = 0
        """How often a number far away started a new window."""
        self.passed_over = 0
        """Pings that told of numbers that had not come."""
        self._had = 0
        """Bit i: whether number newest - i was seen."""
        self._aged_ns = self._old = self._old_newest = 0
        """The time of the last `fade`, and `_had` and `newest` as they were then."""

    @property
    def bits(self) -> int:
        """How many numbers are remembered."""
        return self._had.bit_length()

    def forget(self) -> None:
        """The sender has restarted, or may have: forget its numbers."""
        self.newest = self._had = 0

    def fade(self, now_ns: int) -> None:
        """Forget numbers that were seen `FADE_NS` ago, at the latest after twice that time. Call this now and then."""
        if now_ns - self._aged_ns < FADE_NS:
            return
        self._aged_ns = now_ns
        moved = self._behind(self._old_newest)
        if 0 <= moved <= WINDOW:
            self._had &= ~(self._old << moved)
        self._old, self._old_newest = self._had, self.newest

    def has(self, number: int) -> bool:
        """Whether this number was seen."""
        behind = self._behind(number)
        return self.newest != 0 and 0 <= behind <= WINDOW and (self._had >> behind) & 1 == 1

    def take(self, number: int) -> bool:
        """Mark this number as seen. False: it was seen before."""
        if self.newest == 0:
            self.newest, self._had = number, 1
            return True
        behind = self._behind(number)
        if abs(behind) > WINDOW:
            self.restarts += 1
            self.newest, self._had = number, 1
        elif behind < 0:
            self._had = ((self._had << -behind) | 1) & _FULL
            self.newest = number
        else:
            bit = 1 << behind
            if self._had & bit:
                return False
            self._had |= bit
        return True

    def reached(self, number: int) -> None:
        """A ping says that the sender has reached this number. Frames in flight with lower numbers are still
        accepted."""
        behind = self._behind(number)
        if number == 0 or self.newest == 0 or behind >= 0:
            return
        self._had = (self._had << -behind) & _FULL if -behind <= WINDOW else 0
        self.newest = number
        self.passed_over += 1

    def _behind(self, number: int) -> int:
        return (self.newest - number + _HALF) % _MODULUS - _HALF


class LastFrames:
    """The last urgent frame to each target, and how often in a row it has been sent again."""

    def __init__(self) -> None:
        self._last: dict[int, tuple[bytes, int]] = {}

    def resent(self, target: int, frame: bytes) -> int:
        """This frame is sent. How often that has happened since it was sent first."""
        last, count = self._last.get(target, (b"", 0))
        count = count + 1 if last == frame else 0
        self._last[target] = (frame, count)
        return count

    def forget(self, target: int) -> None:
        """It is no target any more."""
        self._last.pop(target, None)
