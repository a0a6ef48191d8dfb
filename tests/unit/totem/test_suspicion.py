"""A hint makes a member watched, silence makes it dead, and nothing else does."""

from __future__ import annotations

from services.totem.suspicion import HINT_INTERVAL_NS, PROBE_NS, Suspicion


def test_who_is_not_heard_is_dead() -> None:
    suspicion = Suspicion()
    assert suspicion.hint(2, 10, 0)
    assert suspicion.dead(11, PROBE_NS - 1) == []
    assert suspicion.next_deadline_ns == PROBE_NS
    assert suspicion.dead(11, PROBE_NS) == [2]
    assert suspicion.dead(11, 2 * PROBE_NS) == []


def test_a_token_that_came_twice_proves_life() -> None:
    suspicion = Suspicion()
    suspicion.hint(2, 10, 0)
    assert suspicion.dead(12, PROBE_NS) == []
    assert suspicion.next_deadline_ns is None


def test_a_frame_proves_life_only_if_it_came_after_the_hint() -> None:
    suspicion = Suspicion()
    suspicion.hint(2, 10, 0)
    suspicion.hint(3, 10, 0)
    suspicion.heard(2)
    suspicion.drained()
    suspicion.heard(3)
    assert suspicion.dead(10, PROBE_NS) == [2]


def test_hints_are_taken_once_a_second() -> None:
    suspicion = Suspicion()
    assert suspicion.hint(2, 0, 0)
    assert not suspicion.hint(2, 0, HINT_INTERVAL_NS - 1)
    assert suspicion.hint(3, 0, HINT_INTERVAL_NS - 1)
    assert suspicion.hint(2, 0, HINT_INTERVAL_NS)
    assert suspicion.hints == 3


def test_another_ring_settles_all() -> None:
    suspicion = Suspicion()
    suspicion.hint(2, 0, 0)
    suspicion.clear()
    assert suspicion.next_deadline_ns is None
    assert suspicion.dead(0, PROBE_NS) == []


def test_while_members_move_nobody_is_suspected() -> None:
    """One that has moved already takes no packets at its old address; it was given up for that."""
    suspicion = Suspicion()
    suspicion.hint(2, 0, 0)
    suspicion.members_move(until_ns=PROBE_NS)
    assert suspicion.dead(0, PROBE_NS) == []
    assert not suspicion.hint(3, 0, PROBE_NS - 1)
    assert suspicion.hints == 1
    assert suspicion.hint(3, 0, PROBE_NS)
    assert suspicion.dead(0, 2 * PROBE_NS) == [3]
