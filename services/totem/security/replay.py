"""The window that takes every counter once.

A counter that is further ahead than any before moves the window; one inside of it is taken unless it was taken before;
one behind it is refused, because nobody can say any more. Each counter has the slot of its lower bits, and the slot
remembers the whole counter: nothing needs clearing when the window moves, by however much.

What is sealed long before it is sent (last words) has counters of its own, from `KEPT_COUNTERS` on: they would be far
behind the window by then. Each of them must be higher than the one before.
"""

from __future__ import annotations

from array import array

WINDOW = 16384
"""How many counters back packets may come. A token that waits behind a full receive buffer of data is late by up to
half of that. A power of two."""

KEPT_COUNTERS = 1 << 63
"""The first counter of the packets that are kept before they are sent."""

MASK = WINDOW - 1


class ReplayWindow:
    """Which counters of a sender were taken. 128 KiB."""

    __slots__ = ("_kept", "floor", "highest", "since_ns", "slots")

    def __init__(self, floor: int, since_ns: int) -> None:
        self.floor = floor
        """Nothing up to here is ever taken."""
        self.since_ns = since_ns
        """When the window began."""
        self.highest = floor
        """The highest counter that was taken, those of kept packets apart."""
        self._kept = KEPT_COUNTERS
        self.slots = array("Q", bytes(8 * WINDOW))
        """By the lower bits of a counter: the last one that was taken."""

    def take(self, counter: int) -> bool:
        """Whether this authentic counter is new; if so it is taken."""
        slot = counter & MASK
        if counter > self.highest:
            if counter > KEPT_COUNTERS:
                return self._take_kept(counter)
            self.highest = counter
        elif counter <= self.floor or counter <= self.highest - WINDOW or self.slots[slot] == counter:
            return False
        self.slots[slot] = counter
        return True

    def _take_kept(self, counter: int) -> bool:
        if counter <= self._kept:
            return False
        self._kept = counter
        return True
