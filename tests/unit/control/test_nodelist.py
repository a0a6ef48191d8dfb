"""Joined and left, as clients of the quorum service are told, add up from event to event."""

from __future__ import annotations

from services.control.quorum.events import Nodelist, Ring
from services.control.quorum.nodelist import NodelistTracker


def _ring(tracker: NodelistTracker, sequence: int, *members: int) -> Nodelist:
    tracker.sync_init(Ring(members[0], sequence), members)
    return tracker.sync_activate()


def test_a_node_joins_and_leaves() -> None:
    tracker = NodelistTracker()
    assert _ring(tracker, 4, 1) == Nodelist(Ring(1, 4), (1,), (1,), ())
    tracker.transitional([1])
    assert _ring(tracker, 8, 1, 2) == Nodelist(Ring(1, 8), (1, 2), (2,), ())
    tracker.transitional([1])
    assert _ring(tracker, 12, 1) == Nodelist(Ring(1, 12), (1,), (), (2,))
    assert tracker.current() == Nodelist(Ring(1, 12), (1,), (), ())


def test_a_node_that_was_away_between_has_left_and_joined() -> None:
    tracker = NodelistTracker()
    _ring(tracker, 4, 1, 2)
    tracker.transitional([1])
    assert _ring(tracker, 8, 1, 2) == Nodelist(Ring(1, 8), (1, 2), (2,), (2,))


def test_a_ring_that_was_cut_off_is_told_with_the_next() -> None:
    tracker = NodelistTracker()
    _ring(tracker, 4, 1, 2, 3)
    tracker.transitional([1, 2])
    tracker.sync_init(Ring(1, 8), (1, 2))
    tracker.transitional([1, 2])
    assert _ring(tracker, 12, 1, 2, 3) == Nodelist(Ring(1, 12), (1, 2, 3), (3,), (3,))


def test_a_snapshot_in_the_middle_of_a_sync_is_whole() -> None:
    tracker = NodelistTracker()
    _ring(tracker, 4, 1, 2, 3)
    tracker.transitional([1, 2])
    tracker.sync_init(Ring(1, 8), (1, 2))
    restored = NodelistTracker.restore(tracker.snapshot())
    assert restored.snapshot() == tracker.snapshot()
    assert restored.sync_activate() == Nodelist(Ring(1, 8), (1, 2), (), (3,))
