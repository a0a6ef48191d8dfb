"""Who has fallen silent while a ring is being formed, and for how long silence is borne.

The consensus time-out is longer than the token time-out, and where a link is cut both are waited out. But a node that
lives answers a join at once and then repeats its own. So a member of the installed ring that has left JOINS_MIN joins
unanswered, over `consensus_early_ms` at least, is taken for failed when all others agree. The time doubles with each
failure of that kind that follows the one before closely, up to the consensus time-out: a node that is starved of
processor time, and no more than that, is not thrown out again and again.
"""

from __future__ import annotations

from collections.abc import Iterable

from services.totem.ring.timers import MS

JOINS_MIN = 10
"""Joins that must have gone unanswered."""

SILENT_JOINS = 3
"""Joins without an answer after which others are believed that a node that is in no ring of ours has failed."""

FORGIVEN_AFTER = 20
"""Consensus time-outs after which an early failure is forgotten."""

_GAP_JOINS = 3
"""Intervals between joins after which this node was not running itself, and has not listened."""


class JoinFailureDetector:
    """The books of one node: what it asked, who answered, whom it gave up early before."""

    __slots__ = ("_asked", "_asked_ns", "_failures", "_heard_ns")

    def __init__(self) -> None:
        self._asked: dict[int, tuple[int, int]] = {}
        """For each member that owes an answer: (joins sent, time of the first of them, ns)."""
        self._asked_ns = 0
        self._heard_ns: dict[int, int] = {}
        """When the last join of each node came."""
        self._failures: dict[int, tuple[int, int]] = {}
        """(early failures in a row, time of the last of them, ns)."""

    def ask(self, nodes: Iterable[int], now_ns: int, interval_ms: int) -> None:
        """A join has gone to these nodes."""
        if now_ns - self._asked_ns > _GAP_JOINS * interval_ms * MS:
            self._asked.clear()
        self._asked_ns = now_ns
        for node in nodes:
            count, since_ns = self._asked.get(node, (0, now_ns))
            self._asked[node] = count + 1, since_ns

    def resume(self, now_ns: int) -> None:
        """Joins are sent again after a while in which none was, because a ring was being formed."""
        self._asked_ns = now_ns

    def heard(self, node: int, now_ns: int) -> None:
        """A join of this node has come."""
        self._asked.pop(node, None)
        self._heard_ns[node] = now_ns

    def is_audible(self, node: int, now_ns: int, interval_ms: int) -> bool:
        """Whether this node sends joins at present."""
        heard_ns = self._heard_ns.get(node)
        return heard_ns is not None and now_ns - heard_ns <= _GAP_JOINS * interval_ms * MS

    def was_heard(self, node: int) -> bool:
        """Whether a join of this node has come since the last ring was installed."""
        return node in self._heard_ns

    def clear(self) -> None:
        """Nobody owes an answer any more."""
        self._asked.clear()
        self._heard_ns.clear()

    def is_silent(self, node: int) -> bool:
        """Whether this node has been asked several times since it was heard."""
        return self._asked.get(node, (0, 0))[0] >= SILENT_JOINS

    def is_overdue(self, node: int, now_ns: int, early_ms: int, consensus_ms: int) -> bool:
        """Whether this node has been silent for too long."""
        count, since_ns = self._asked.get(node, (0, now_ns))
        failures, failed_ns = self._failures.get(node, (0, 0))
        if now_ns - failed_ns > FORGIVEN_AFTER * consensus_ms * MS:
            failures = 0
        patience_ms = min(early_ms << failures, consensus_ms)
        return count >= JOINS_MIN and now_ns - since_ns >= patience_ms * MS

    def note_failed(self, node: int, now_ns: int, consensus_ms: int) -> None:
        """A ring is installed without this member. Counts as early if it was asked often, but not for so long."""
        count, since_ns = self._asked.get(node, (0, now_ns))
        if count < JOINS_MIN or now_ns - since_ns >= consensus_ms * MS:
            return
        failures, failed_ns = self._failures.get(node, (0, now_ns))
        if now_ns - failed_ns > FORGIVEN_AFTER * consensus_ms * MS:
            failures = 0
        self._failures[node] = failures + 1, now_ns
