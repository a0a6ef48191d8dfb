"""The window that takes every counter once.

A counter that is further ahead than any before moves the window; one inside of it is taken unless it was taken before;
one behind it is refused, because nobody can say any more. Each counter has the slot of its lower bits, and the slot
remembers the whole counter: nothing needs clearing when the window moves, by however much.
"""

from __future__ import annotations

from array import array

WINDOW = 8192
"""How many counters back packets may come. A token that waits behind a full receive buffer of data is late by up to
half of that. A power of two."""

_MASK = WINDOW - 1


class ReplayWindow:
    """Which counters of a sender were taken. 64 KiB."""

    __slots__ = ("_highest", "_slots", "floor", "since_ns")

    def __init__(self, floor: int, since_ns: int) -> None:
        self.floor = floor
        """Nothing up to here is ever taken."""
        self.since_ns = since_ns
        """When the window began."""
        self._highest = floor
        self._slots = array("Q", bytes(8 * WINDOW))

    def take(self, counter: int) -> bool:
        """Whether this authentic counter is new; if so it is taken."""
        slot = counter & _MASK
        if counter > self._highest:
            self._highest = counter
        elif counter <= self.floor or counter <= self._highest - WINDOW or self._slots[slot] == counter:
            return False
        self._slots[slot] = counter
        return True
