"""A clock that stands still while SAM does not run.

An application is hung if it was silent for its interval *while SAM was listening*. If SAM or the whole machine was
stopped, health checks may wait to be read, or the application could not send any. So when the loop wakes later than it
planned, the extra time does not count.
"""

SLACK_S = 0.04
"""Waking later than this counts as a pause; less is the ordinary delay of a scheduler."""


class AwakeClock:
    """Seconds during which SAM was awake. `now_s` is valid in the turn of the loop that called `advance`."""

    def __init__(self, monotonic_s: float) -> None:
        self.now_s = 0.0
        self.paused_s = 0.0
        """How much time did not count, in all."""
        self.pauses = 0
        self._at_s = monotonic_s
        self._meant_s = 0.0

    def plan(self, wait_s: float) -> None:
        """The loop plans to wake at the latest this long after its last turn began."""
        self._meant_s = wait_s

    def advance(self, monotonic_s: float) -> float:
        """Begin a turn of the loop. Returns how long SAM was paused before it (usually 0)."""
        gap_s = monotonic_s - self._at_s
        self._at_s = monotonic_s
        late_s = gap_s - self._meant_s
        if late_s <= SLACK_S:
            self.now_s += gap_s
            return 0.0
        self.now_s += gap_s - late_s
        self.paused_s += late_s
        self.pauses += 1
        return late_s
