"""Ring sequences: which claims of others are believed, and which sequence the next ring gets.

Ring sequences must grow and never repeat, so every node follows the highest one that it hears of. A forger could use
that to drive all nodes to the end of the number space. So claims far above our own are believed only at a limited rate
(see RING_SEQUENCE_FREE and the constants after it in options.py).
"""

from __future__ import annotations

from services.totem.ring.options import (
    RING_SEQUENCE_BUDGET,
    RING_SEQUENCE_FREE,
    RING_SEQUENCE_RATE,
    RING_SEQUENCE_SLACK,
)
from services.totem.ring.timers import NS


class RingSequences:
    """The ring sequences that one node has heard of and believes. Times in nanoseconds of the host's clock."""

    __slots__ = ("_budget", "_budget_at_ns", "_claimed", "highest")

    def __init__(self, sequence: int, now_ns: int) -> None:
        self.highest = sequence
        """The highest that is believed."""
        self._claimed = 0
        """Highest claim that is near enough to form a ring ahead of it, believed or not (RING_SEQUENCE_SLACK)."""
        self._budget = RING_SEQUENCE_BUDGET
        self._budget_at_ns = now_ns

    def hear(self, sequence: int, now_ns: int) -> None:
        """A join names this ring sequence."""
        self.highest = max(self.highest, self._believe(sequence, now_ns))
        if sequence <= self.highest + RING_SEQUENCE_SLACK // 2:
            self._claimed = max(self._claimed, sequence)

    def admit(self, sequence: int, now_ns: int) -> bool:
        """Whether this node accepts a commit token with this ring sequence."""
        if sequence <= self.highest + RING_SEQUENCE_SLACK:
            return True
        believed = self._believe(sequence, now_ns)
        self.highest = max(self.highest, believed)
        return believed >= sequence

    def commit_to(self, sequence: int) -> None:
        """This node enters Commit for a ring of this sequence."""
        self.highest = max(self.highest, sequence)

    def next_sequence(self) -> int:
        """The sequence of a ring that this node forms."""
        return max(self.highest, self._claimed) + 4

    def _believe(self, sequence: int, now_ns: int) -> int:
        """The highest sequence that is believed when others claim this one."""
        floor = max(self.highest + 4, RING_SEQUENCE_FREE)
        if sequence <= floor:
            return sequence
        elapsed_ns = now_ns - self._budget_at_ns
        self._budget_at_ns = now_ns
        budget = min(RING_SEQUENCE_BUDGET, self._budget + elapsed_ns * RING_SEQUENCE_RATE // NS)
        granted = min(sequence - floor, budget)
        self._budget = budget - granted
        return floor + granted
