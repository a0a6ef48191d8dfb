"""The token retransmit interval, from the measured rotation time instead of a fixed timer.

If a token that was passed on is lost, its sender sends it again; a member that has it already drops the copy. Corosync
waits for token_retransmit (714 ms by default), though a rotation takes less than 1 ms. Here the wait is the smoothed
rotation time plus four deviations, at least 5 ms, doubled with each repetition up to Corosync's timer. Each node
decides this alone, and others cannot tell the difference from Corosync.

A rotation in which this node sent the token again is no valid sample (Karn's rule). But if several in a row are like
that, the ring has become slower, and the fastest of them becomes the new estimate. A rotation of less than half of the
estimate shows at once that the ring is that fast. So the wait is rather too short than too long: a needless copy costs
next to nothing. A rotation in which the representative held the token of an idle ring is not measured.

A member whose token may be held waits as long as Corosync does. So it must be told when that token is lost. Its
predecessor, which misses the token too, sends its own token again: a copy of a token that was handled long ago is the
sign.

Source: Jacobson, "Congestion avoidance and control", 1988; Karn and Partridge, 1987, for the estimate.
"""

from __future__ import annotations

from typing import Final

from services.totem.ring.rotation_times import RotationTimes

INTERVAL_NS_MIN: Final = 5_000_000
"""The shortest wait: delays of a few ms in scheduling a process are usual."""

INTERVAL_NS_FIRST: Final = 20_000_000
"""The wait before the first rotation was measured."""

DOUBT_NS: Final = INTERVAL_NS_MIN // 2
"""A node waits at least `INTERVAL_NS_MIN` before it sends the token again. A copy that comes sooner is no sign of a
loss: it was sent beside the token, or the network duplicated it."""

LATE_IN_A_ROW: Final = 8
"""After so many rotations in a row in which the token was sent again the ring counts as slower."""


REPEATED_IF_HELD: Final = 3
"""A token that may be held or lost is sent again this often at the ring's pace. If all copies are lost, the next one
takes as long as in an idle ring."""


class Pace:
    """One node's measure of a ring's rotation, and the interval of its retransmit timer. Times in nanoseconds."""

    __slots__ = (
        "_copies", "_deviation_ns", "_fastest_ns", "_interval_ns", "_late", "_mean_ns", "_repeated", "_sent_ns",
        "_times", "interval_ns_max",
    )  # fmt: skip

    def __init__(self, interval_ns_max: int, *, fixed: bool = False, times: RotationTimes | None = None) -> None:
        """`interval_ns_max`: Corosync's timer; `fixed`: always use that timer; `times` records each rotation."""
        self._times = RotationTimes() if times is None else times
        self.interval_ns_max = interval_ns_max
        self._mean_ns = -1 if fixed else 0
        """0 = not measured yet, -1 = not to be measured."""
        self._deviation_ns = 0
        self._interval_ns = interval_ns_max
        self._sent_ns = 0
        """When the token was passed on; 0 = the rotation is not to be measured."""
        self._repeated = False
        self._copies = -1
        """How often the token is still sent again before it counts as held; negative: it cannot be held."""
        self._late = 0
        self._fastest_ns = 0
        """The shortest of the latest rotations in a row in which the token was sent again."""

    def limit(self, interval_ns_max: int) -> None:
        """Change Corosync's timer, from the next token that is passed on."""
        self.interval_ns_max = interval_ns_max

    @property
    def rotation_ns(self) -> int:
        """The smoothed time of a rotation; 0 = not known."""
        return max(0, self._mean_ns)

    def came(self, now_ns: int) -> None:
        """A new token has come: a rotation is over."""
        if self._sent_ns == 0:
            return
        sample_ns = now_ns - self._sent_ns
        self._times.add(sample_ns)
        if self._mean_ns < 0:
            return
        self._sent_ns = 0
        if self._repeated:
            self._fastest_ns = min(self._fastest_ns, sample_ns) if self._late else sample_ns
            self._late += 1
            if self._late == LATE_IN_A_ROW:
                self._late = 0
                self._begin(self._fastest_ns)
            return
        self._late = 0
        if sample_ns * 2 < self._mean_ns or self._mean_ns == 0:
            self._begin(sample_ns)
            return
        error_ns = sample_ns - self._mean_ns
        self._mean_ns += error_ns // 8
        self._deviation_ns += (abs(error_ns) - self._deviation_ns) // 4

    def _begin(self, sample_ns: int) -> None:
        """Estimate anew, from one rotation."""
        self._mean_ns = max(1, sample_ns)
        self._deviation_ns = sample_ns // 4

    def passed_on(self, now_ns: int, *, may_be_held: bool, idle: bool = True) -> int:
        """The token was passed on. Returns how long to wait before it is sent again. `idle`: whether a token that may
        be held probably is."""
        self._sent_ns = 0 if may_be_held else now_ns
        self._repeated = False
        self._copies = REPEATED_IF_HELD if may_be_held else -1
        self._interval_ns = self.interval_ns_max if may_be_held and idle else self._base_ns()
        return self._interval_ns

    def hurried(self) -> int:
        """The token is wanted although it may be held. Returns how long to wait for it."""
        self._sent_ns = 0
        self._copies = -1
        self._interval_ns = self._base_ns()
        return self._interval_ns

    def is_doubtful(self, waited_ns: int) -> bool:
        """Whether to send a token again that was passed on `waited_ns` ago, when the predecessor misses it. No if it
        will be sent again soon anyway."""
        return self._mean_ns >= 0 and self._interval_ns == self.interval_ns_max and waited_ns >= DOUBT_NS

    def repeated(self) -> int:
        """The token was sent again. Returns how long to wait before the next repetition."""
        self._repeated = True
        self._copies -= 1
        if self._copies == 0:
            self._interval_ns = self.interval_ns_max
            return self._interval_ns
        self._interval_ns = min(self.interval_ns_max, 2 * self._interval_ns)
        return self._interval_ns

    def _base_ns(self) -> int:
        """The wait before the first repetition."""
        if self._mean_ns < 0:
            return self.interval_ns_max
        if self._mean_ns == 0:
            return min(self.interval_ns_max, INTERVAL_NS_FIRST)
        return min(self.interval_ns_max, max(INTERVAL_NS_MIN, self._mean_ns + 4 * self._deviation_ns))
