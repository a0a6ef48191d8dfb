"""A clock that stands still while SAM does not run.

An application is hung if it was silent for its interval *while SAM was there to hear it*. If SAM was stopped, or the
whole machine, what it has sent may wait to be read, or it may not have had its chance to send. So time that passed
between two turns of SAM's loop beyond what the loop meant to wait does not count.
"""

SLACK_S = 0.04
"""Being woken later than this counts as a pause; less is the ordinary delay of a scheduler."""


class AwakeClock:
    """Seconds during which SAM was awake. `now_s` is right for the turn of the loop in which `advance` was called."""

    def __init__(self, monotonic_s: float) -> None:
        self.now_s = 0.0
        self.paused_s = 0.0
        """What did not count, in all."""
        self.pauses = 0
        self._at_s = monotonic_s
        self._meant_s = 0.0

    def plan(self, wait_s: float) -> None:
        """The loop means to come back this long after its last turn began, or earlier."""
        self._meant_s = wait_s

    def advance(self, monotonic_s: float) -> float:
        """A turn of the loop begins; returns how long SAM was paused before it (0 as a rule)."""
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
