"""Histogram of rotation times since the start of the process, with one bound per factor of two.

Adding a time is one shift and one increment, because each visit of the token adds one. pace.py leaves out rotations in
which the representative held the token of an idle ring. Rotations in which the token was sent again are included.
"""

from __future__ import annotations

from typing import Final

FIRST_SHIFT: Final = 16
"""The first bound is 2**16 ns, 66 us: less than any rotation between processes."""

BOUNDS: Final = 18
"""The last bound is 2**33 ns, 8.6 s. Longer times are counted in the bin after it."""


class RotationTimes:
    """Times in nanoseconds."""

    __slots__ = ("counts", "sum_ns", "worst_ns")

    def __init__(self) -> None:
        self.counts = [0] * (BOUNDS + 1)
        """How many took less than 2**(16 + i) ns and not less than the bound before."""
        self.sum_ns = 0
        self.worst_ns = 0

    def add(self, took_ns: int) -> None:
        """A rotation took so long."""
        self.counts[min((took_ns >> FIRST_SHIFT).bit_length(), BOUNDS)] += 1
        self.sum_ns += took_ns
        if took_ns > self.worst_ns:
            self.worst_ns = took_ns

    def status(self) -> dict[str, object]:
        """For the control socket: upper bounds, counts (one more than bounds), and the longest time."""
        return {
            "bounds_ns": [1 << (FIRST_SHIFT + index) for index in range(BOUNDS)],
            "counts": list(self.counts),
            "sum_ns": self.sum_ns,
            "worst_us": self.worst_ns // 1000,
        }
