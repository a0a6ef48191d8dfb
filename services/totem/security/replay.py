"""The replay window: accepts every counter once.

A counter above all earlier ones moves the window. A counter inside the window is accepted unless it was seen before. A
counter behind it is refused, because it may have been seen. A counter's lower bits select its slot, and the slot holds
the whole counter. So nothing needs clearing when the window moves, however far.

Packets that are sealed long before they are sent (last words) have their own counters, from `KEPT_COUNTERS` on:
ordinary ones would be far behind the window by then. Each of them must be higher than the previous one.
"""

from __future__ import annotations

from array import array
from typing import Final

WINDOW: Final = 16384
"""How many counters a packet may be late. A token that waits behind a full receive buffer of data is late by up to half
of that. A power of two."""

KEPT_COUNTERS: Final = 1 << 63
"""The first counter of the packets that are kept before they are sent."""

MASK: Final = WINDOW - 1


class ReplayWindow:
    """The counters of a sender that were seen. 128 KiB."""

    __slots__ = ("_kept", "floor", "highest", "since_ns", "slots")

    def __init__(self, floor: int, since_ns: int) -> None:
        self.floor = floor
        """Counters up to here are refused."""
        self.since_ns = since_ns
        """When the window began."""
        self.highest = floor
        """The highest counter seen, without those of kept packets."""
        self._kept = KEPT_COUNTERS
        self.slots = array("Q", bytes(8 * WINDOW))
        """The last counter seen, by its lower bits."""

    def take(self, counter: int) -> bool:
        """Whether this authentic counter is new. If so, marks it as seen."""
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
