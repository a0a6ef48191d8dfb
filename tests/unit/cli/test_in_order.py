"""Quorum's events in their place among those of a group."""

import pytest

import rondo
from rondo.cli._in_order import WAIT_S_MAX, InOrder
from rondo.quorum import Quorate

MESSAGE = rondo.Message("g", rondo.Member(1, 7), b"x", rondo.Configuration.REGULAR, None)


def quorate(sequence: int, now: bool = True) -> Quorate:
    return Quorate(now, rondo.Ring(1, sequence), (1,))


def ring(sequence: int) -> rondo.RingChange:
    return rondo.RingChange(rondo.Ring(1, sequence), (1,))


@pytest.fixture
def order() -> InOrder:
    return InOrder(quorate(4))


def test_messages_of_a_ring_wait_for_its_quorum(order: InOrder) -> None:
    assert order.group(MESSAGE, 0) == [("group", MESSAGE)]
    assert order.group(ring(8), 0) == [("group", ring(8))]
    assert order.group(MESSAGE, 0) == []
    assert order.is_waiting
    assert order.quorum(quorate(8, False), 0) == [("quorum", quorate(8, False)), ("group", MESSAGE)]
    assert not order.is_waiting


def test_quorum_waits_for_the_ring(order: InOrder) -> None:
    assert order.quorum(quorate(8), 0) == []
    assert order.group(MESSAGE, 0) == [("group", MESSAGE)]
    assert order.group(ring(8), 0) == [("group", ring(8)), ("quorum", quorate(8))]


def test_a_change_within_a_ring_is_told_at_once(order: InOrder) -> None:
    assert order.quorum(quorate(4, False), 0) == [("quorum", quorate(4, False))]
    assert order.group(ring(4), 0) == [("group", ring(4))], "its quorum was told already"
    assert not order.is_waiting


def test_neither_waits_for_ever(order: InOrder) -> None:
    order.group(ring(8), 0)
    order.group(MESSAGE, 1)
    assert order.tick(WAIT_S_MAX - 0.1) == []
    assert order.tick(WAIT_S_MAX) == [("group", MESSAGE)]
    assert order.quorum(quorate(12), 10) == []
    assert order.tick(10 + WAIT_S_MAX) == [("quorum", quorate(12))]


def test_at_the_end_nothing_is_left_out(order: InOrder) -> None:
    order.group(ring(8), 0)
    order.group(MESSAGE, 0)
    assert order.rest() == [("group", MESSAGE)]
