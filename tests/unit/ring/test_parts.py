"""The small parts of the ring: packet store, flow control, timers, options."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.totem.ring.flow import FlowControl
from services.totem.ring.options import (
    SORT_QUEUE_SLOTS,
    RingOptions,
    consensus_ms,
    token_hold_ms,
    token_retransmit_ms,
)
from services.totem.ring.store import PacketStore
from services.totem.ring.timers import Timer, Timers
from services.totem.wire.base import U32_MASK, RingId

RING = RingId(1, 4)


@given(order=st.permutations(range(1, 30)))
def test_aru_is_the_end_of_what_has_no_hole(order: list[int]) -> None:
    store = PacketStore(RING, 0)
    have: set[int] = set()
    for seq in order:
        assert store.add(seq, b"x")
        assert not store.add(seq, b"x")
        have.add(seq)
        expected = next(n for n in range(31) if n + 1 not in have)
        assert store.aru == expected
        assert store.high == max(have)


def test_the_window_moves_with_what_is_released() -> None:
    store = PacketStore(RING, 0)
    assert store.in_window(1)
    assert not store.in_window(0)
    assert store.in_window(SORT_QUEUE_SLOTS)
    assert not store.in_window(SORT_QUEUE_SLOTS + 1)
    for seq in range(1, 11):
        store.add(seq, b"x")
        store.tags[seq] = (seq,)
    store.release(7)
    assert sorted(store.frames) == sorted(store.tags) == [8, 9, 10]
    assert not store.in_window(7)
    assert store.in_window(SORT_QUEUE_SLOTS + 7)


def test_a_hole_is_asked_for_at_the_fifth_visit_and_not_longer_than_it_is_there() -> None:
    store = PacketStore(RING, 0)
    store.add(1, b"x")
    store.add(4, b"x")
    for _ in range(4):
        assert store.missing(4, 5, 30) == []
    assert store.missing(4, 5, 30) == [2, 3]
    store.add(2, b"x")
    assert store.missing(4, 5, 30) == [3]
    store.add(3, b"x")
    assert store.missing(4, 5, 30) == []
    assert store.missed == {}


def test_no_more_is_asked_for_than_there_is_room() -> None:
    store = PacketStore(RING, 0)
    for _ in range(5):
        wanted = store.missing(100, 5, 30)
    assert wanted == list(range(1, 31))


def test_allowance_is_what_the_window_leaves() -> None:
    flow = FlowControl()
    assert flow.allowance(0, 0, 10, 50, 17) == 17
    assert flow.allowance(40, 0, 10, 50, 17) == 10
    assert flow.allowance(50, 0, 10, 50, 17) == 0
    assert flow.allowance(90, 0, 10, 50, 17) == 0


def test_a_backlog_is_shared_in_proportion() -> None:
    flow = FlowControl()
    flow.allowance(0, 0, 10, 50, 17)
    _, backlog = flow.settle(0, 0, 0)
    assert backlog == 10
    assert flow.allowance(0, 100, 10, 50, 17) == 50 * 10 // 100


@given(visits=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 17), st.integers(0, 3000)), max_size=60))
def test_the_tokens_books_are_the_sums_of_the_nodes_last_visits(visits: list[tuple[int, int, int]]) -> None:
    """fcc and backlog are kept by differences, in 32 bits: what wraps cancels."""
    flows = [FlowControl() for _ in range(3)]
    fcc = backlog = 0
    sent_last = [0, 0, 0]
    waiting = [0, 0, 0]
    for node, sent, waits in visits:
        flows[node].allowance(fcc, backlog, waits, 50, 17)
        fcc, backlog = flows[node].settle(fcc, backlog, sent)
        sent_last[node], waiting[node] = sent, waits
        assert fcc == sum(sent_last)
        assert backlog == sum(waiting)
        assert 0 <= fcc <= U32_MASK


def test_the_earliest_timer_expires_first_and_once() -> None:
    timers = Timers()
    assert timers.next_deadline_ns() is None
    timers.start(Timer.TOKEN, 300)
    timers.start(Timer.JOIN, 100)
    timers.start(Timer.JOIN, 200)
    assert timers.next_deadline_ns() == 200
    assert timers.take_due(199) is None
    assert timers.take_due(400) is Timer.JOIN
    assert timers.take_due(400) is Timer.TOKEN
    assert timers.take_due(400) is None
    timers.start(Timer.MERGE, 1)
    timers.stop(Timer.MERGE, Timer.JOIN)
    assert timers.take_due(400) is None


@pytest.mark.parametrize(
    ("token_ms", "retransmit_ms", "hold_ms", "consensus"), [(3000, 714, 561, 3600), (1000, 238, 180, 1200)]
)
def test_derived_timers_are_corosyncs(token_ms: int, retransmit_ms: int, hold_ms: int, consensus: int) -> None:
    assert token_retransmit_ms(token_ms) == retransmit_ms
    assert token_hold_ms(retransmit_ms) == hold_ms
    assert consensus_ms(token_ms) == consensus


def test_sizes_follow_the_netmtu() -> None:
    assert RingOptions().packet_size_max == 1410
    assert RingOptions().send_queue_packets == 2974
