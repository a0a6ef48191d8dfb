"""A rate limit, with a burst, for work that others can ask for."""

from __future__ import annotations

_SECOND_NS = 1_000_000_000


class Allowance:
    """`burst` times at once, and `per_second` in the long run."""

    __slots__ = ("_at_ns", "_burst_ns", "_each_ns", "_saved_ns")

    def __init__(self, per_second: int, burst: int) -> None:
        self._each_ns = _SECOND_NS // per_second
        self._burst_ns = self._saved_ns = burst * self._each_ns
        self._at_ns = -(1 << 62)

    def take(self, now_ns: int) -> bool:
        """Whether it may be done now. If so, counts it."""
        saved_ns = min(self._burst_ns, self._saved_ns + now_ns - self._at_ns)
        self._at_ns = now_ns
        if allowed := saved_ns >= self._each_ns:
            saved_ns -= self._each_ns
        self._saved_ns = saved_ns
        return allowed
