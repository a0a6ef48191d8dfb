"""How long the token took to come round, since the start of the process: a histogram, a bound for each factor of two.

One add is a shift and an increment, for it is made at each visit of the token. Rotations in which the representative
held the token of an idle ring are left out by who measures (pace.py); those in which it had to be sent again are in.
"""

from __future__ import annotations

FIRST_SHIFT = 16
"""The first bound is 2**16 ns, 66 us: less than any rotation between processes."""

BOUNDS = 18
"""The last bound is 2**33 ns, 8.6 s; what took longer is counted behind it."""


class RotationTimes:
    """Times in nanoseconds."""

    __slots__ = ("counts", "sum_ns", "worst_ns")

    def __init__(self) -> None:
        self.counts = [0] * (BOUNDS + 1)
        """How many took less than 2**(16 + i) ns, and no less than the bound before."""
        self.sum_ns = 0
        self.worst_ns = 0

    def add(self, took_ns: int) -> None:
        """A rotation took so long."""
        self.counts[min((took_ns >> FIRST_SHIFT).bit_length(), BOUNDS)] += 1
        self.sum_ns += took_ns
        if took_ns > self.worst_ns:
            self.worst_ns = took_ns

    def status(self) -> dict[str, object]:
        """For the control socket: upper bounds and counts, one count more than bounds, and the worst of all."""
        return {
            "bounds_ns": [1 << (FIRST_SHIFT + index) for index in range(BOUNDS)],
            "counts": list(self.counts),
            "sum_ns": self.sum_ns,
            "worst_us": self.worst_ns // 1000,
        }
