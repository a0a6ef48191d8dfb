"""Which refused packets are worth a line in the log: at most one a second per source, and a few a second in all.

Memory is bounded by the few lines of the last second, whatever an attacker sends, and from how many addresses.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

INTERVAL_NS = 1_000_000_000
LINES_PER_INTERVAL = 3


class Complaint(NamedTuple):
    """The facts for one log line: `Received message has invalid digest... ignoring.`"""

    reason: str
    source: str
    """IP address."""
    left_out: int
    """Refusals without a line since the previous line."""


class Complaints:
    """Decides which refusals get a line. The host takes `lines` and logs them."""

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
