"""Data numbers: what a sender gives its frames, and by what a receiver knows those that it has had.

A sender counts 1..65535 and leaves 0 out, for everybody together: a receiver that is sent only some frames sees gaps.
The numbers from `KEPT_FROM` on are not given to frames: packets that are sealed in advance have them, so that no
receiver has had them.

A receiver remembers which of the last `WINDOW` numbers it has had. A number that is further away than that, in either
direction, begins a new window: the sender has sent much to others, or has begun anew. With 16 bits that is all that can
be known of a packet; docs/SECURITY.md says what follows.
"""

from __future__ import annotations

from services.totem.transport.knet.format import NUMBER_MAX

WINDOW = 4096
"""Numbers behind the newest that are told apart."""

KEPT_FROM = 65_000
"""From here on: packets that are kept, and sent later or never."""

FADE_NS = 2_000_000_000
"""After this time, and before twice this time, a receiver forgets a number. Copies of other links come much sooner.
What is played back would else keep its sender from being heard until that has used all these numbers again."""

PING_EVERY = 8191
"""After so many numbers a sender pings everybody, for those that were sent nothing."""

_FULL = (1 << (WINDOW + 1)) - 1
_MODULUS = NUMBER_MAX + 1
_HALF = _MODULUS // 2


class SendNumbers:
    """What the next frame is called."""

    __slots__ = ("_kept", "_since_ping", "last", "ping_is_due")

    def __init__(self) -> None:
        self.last = 0
        """The number that was given last; 0: none."""
        self.ping_is_due = False
        """Set by the first number and then by each `PING_EVERY`th; whoever pings clears it."""
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
        """A number for a packet that is kept; after 536 of them they repeat, long after the first was thrown away."""
        self._kept = self._kept + 1 if self._kept < NUMBER_MAX else KEPT_FROM
        return self._kept


class ReceiveWindow:
    """What one host's numbers were."""

    __slots__ = ("_aged_ns", "_had", "_old", "_old_newest", "newest", "passed_over", "restarts")

    def __init__(self) -> None:
        self.newest = 0
        """0: none was seen yet."""
        self.restarts = 0
        """New windows because of a number far away."""
        self.passed_over = 0
        """Pings that told of numbers which had not come."""
        self._had = 0
        """Bit i: whether number newest - i was taken."""
        self._aged_ns = self._old = self._old_newest = 0
        """When numbers were looked through for their age, and those that had been taken before: as `_had` was then."""

    @property
    def bits(self) -> int:
        """How much is remembered."""
        return self._had.bit_length()

    def forget(self) -> None:
        """The sender begins anew, or may have meanwhile."""
        self.newest = self._had = 0

    def fade(self, now_ns: int) -> None:
        """Forget what was taken `FADE_NS` ago, at the latest twice that ago. Call it now and then."""
        if now_ns - self._aged_ns < FADE_NS:
            return
        self._aged_ns = now_ns
        moved = self._behind(self._old_newest)
        if 0 <= moved <= WINDOW:
            self._had &= ~(self._old << moved)
        self._old, self._old_newest = self._had, self.newest

    def has(self, number: int) -> bool:
        """Whether this one was taken."""
        behind = self._behind(number)
        return self.newest != 0 and 0 <= behind <= WINDOW and (self._had >> behind) & 1 == 1

    def take(self, number: int) -> bool:
        """Take this one. False: it was taken before."""
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
        """The sender is at this number, says its ping. What is on its way, up to that, is taken all the same."""
        behind = self._behind(number)
        if number == 0 or self.newest == 0 or behind >= 0:
            return
        self._had = (self._had << -behind) & _FULL if -behind <= WINDOW else 0
        self.newest = number
        self.passed_over += 1

    def _behind(self, number: int) -> int:
        return (self.newest - number + _HALF) % _MODULUS - _HALF
