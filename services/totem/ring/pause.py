"""Detects pauses of this process: while it is not scheduled, joins in its sockets become stale.

A timer runs every fifth of the token time-out. If it comes half a time-out late, the process was not scheduled. Joins
that wait in its sockets are then out of date. They are thrown away until the sockets have been read empty.
"""

from __future__ import annotations

from services.totem.ring.timers import MS


class PauseDetector:
    """Whether this process has been paused."""

    __slots__ = ("_checked_ns", "_token_timeout_ms", "is_paused")

    def __init__(self, token_timeout_ms: int, now_ns: int) -> None:
        self._token_timeout_ms = token_timeout_ms
        self._checked_ns = now_ns
        self.is_paused = False
        """Joins in the sockets are stale."""

    def change_timeout(self, token_timeout_ms: int) -> None:
        """Change the token time-out."""
        self._token_timeout_ms = token_timeout_ms

    @property
    def interval_ms(self) -> int:
        """When to check again."""
        return max(1, self._token_timeout_ms // 5)

    def start(self, now_ns: int) -> None:
        """Checks begin."""
        self._checked_ns = now_ns

    def check(self, now_ns: int) -> int:
        """The timer has expired. Returns for how long this process was paused, ms; 0 = it was not."""
        gap_ms = (now_ns - self._checked_ns) // MS
        self._checked_ns = now_ns
        if gap_ms <= self._token_timeout_ms // 2:
            return 0
        self.is_paused = True
        return gap_ms

    def drained(self) -> None:
        """The sockets were read empty: joins that come from now on are fresh."""
        self.is_paused = False
