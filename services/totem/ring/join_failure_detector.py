"""Detects members that stay silent while a ring is being formed, before the consensus time-out.

The consensus time-out is longer than the token time-out, and without this detector both pass when a link is cut. But a
live node answers a join at once, and repeats its own. So a member of the installed ring counts as failed if it left
JOINS_MIN joins unanswered over at least `consensus_early_ms`, and all others agree. That time doubles with each such
failure of the same node that follows the last one closely, up to the consensus time-out. So a node that is only short
of processor time is not thrown out again and again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from services.totem.ring.timers import MS

JOINS_MIN: Final = 10
"""Joins that must have gone unanswered."""

SILENT_JOINS: Final = 3
"""After so many unanswered joins this node believes others that a node outside its ring has failed."""

FORGIVEN_AFTER: Final = 20
"""Consensus time-outs after which an early failure is forgotten."""

_GAP_JOINS: Final = 3
"""If this node sent no join for so many join intervals, it was paused and did not listen."""


class JoinFailureDetector:
    """One node's record of joins sent, answers, and members that it gave up early."""

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
        """Joins are sent again. None was sent for a while, because a ring was being formed."""
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
        """Whether this node has left several joins unanswered since it was heard last."""
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
        """A ring is installed without this member. That was early if it had many joins to answer, but less than the
        consensus time-out to do so."""
        count, since_ns = self._asked.get(node, (0, now_ns))
        if count < JOINS_MIN or now_ns - since_ns >= consensus_ms * MS:
            return
        failures, failed_ns = self._failures.get(node, (0, now_ns))
        if now_ns - failed_ns > FORGIVEN_AFTER * consensus_ms * MS:
            failures = 0
        self._failures[node] = failures + 1, now_ns
