"""Which refused packets are worth a line in the log: at most one a second per source, and a few a second in all.

Whatever an attacker sends, and from however many addresses, the memory that this takes is that of the few lines of the
last second.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

INTERVAL_NS = 1_000_000_000
LINES_PER_INTERVAL = 3


class Complaint(NamedTuple):
    """A line: `Received message has invalid digest... ignoring.`, with what is known."""

    reason: str
    source: str
    """IP address."""
    left_out: int
    """Refusals since the line before that got no line."""


class Complaints:
    """Decides; the host takes `lines` and logs them."""

    def __init__(self) -> None:
        self.lines: list[Complaint] = []
        self._told: deque[tuple[int, str]] = deque()
        self._left_out = 0

    def add(self, reason: str, source: str, now_ns: int) -> None:
        """A packet from `source` was refused."""
        told = self._told
        while told and now_ns - told[0][0] >= INTERVAL_NS:
            told.popleft()
        if len(told) >= LINES_PER_INTERVAL or any(source == each for _, each in told):
            self._left_out += 1
            return
        told.append((now_ns, source))
        self.lines.append(Complaint(reason, source, self._left_out))
        self._left_out = 0

    def take(self) -> list[Complaint]:
        """The lines since the last call."""
        taken, self.lines = self.lines, []
        return taken
