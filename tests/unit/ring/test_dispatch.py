"""Every pair of a state and an event is answered, and the documentation's table is the one that runs."""

from __future__ import annotations

from itertools import product

import pytest

from services.totem.ring import dispatch
from services.totem.ring.dispatch import FRAME_HANDLERS, HANDLERS, TABLE, Call, Row, ignored
from services.totem.ring.events import State
from services.totem.ring.options import RingOptions
from services.totem.ring.ring import Ring
from services.totem.ring.state import RingState
from services.totem.ring.timers import Timer
from services.totem.wire.frames import HoldCancel, Kind, encode_hold_cancel
from tests.unit.ring import table

EVENTS = (*Kind, *Timer, *Call)
SILENT = (State.STARTING, State.LEFT)


def _state(state: State = State.STARTING) -> RingState:
    s = RingState(RingOptions(), 1, 0, 0, lambda n: 0, None, FRAME_HANDLERS)
    s.enter(state)
    return s


def test_every_pair_of_a_state_and_an_event_is_answered() -> None:
    assert set(TABLE) == set(EVENTS)
    assert set(HANDLERS) == set(product(State, EVENTS))
    assert Row._fields == tuple(state.value for state in (State.STARTING, *_LIVE, State.LEFT))


_LIVE = (State.OPERATIONAL, State.GATHER, State.COMMIT, State.RECOVERY)


def test_every_handler_says_what_it_does_in_a_sentence() -> None:
    handlers = {handler for row in TABLE.values() for handler in row}
    assert [table.name(handler) for handler in handlers if not (handler.__doc__ or "").strip()] == []
    assert len({table.name(handler) for handler in handlers}) == len(handlers)


def test_frames_find_the_handler_of_their_kind_in_their_state() -> None:
    assert [kind.value for kind in sorted(Kind)] == list(range(len(Kind)))
    for state in _LIVE:
        assert FRAME_HANDLERS[state] == tuple(HANDLERS[state, kind] for kind in sorted(Kind))
        assert _state(state).handlers is FRAME_HANDLERS[state]
    assert [FRAME_HANDLERS[state] for state in SILENT] == [(), ()]


def test_outside_of_its_life_the_ring_answers_its_host_alone() -> None:
    answered = {(state, event) for state in SILENT for event in EVENTS if HANDLERS[state, event] is not ignored}
    assert answered == {(State.STARTING, Call.START), (State.STARTING, Call.LEAVE)}


@pytest.mark.parametrize("leave", [False, True])
def test_frames_are_not_even_counted_outside_of_its_life(leave: bool) -> None:
    ring = Ring(RingOptions(), 1, 0, 0, lambda n: 0)
    if leave:
        ring.start(0)
        ring.leave(0)
        ring.output.take_packets()
    for frame in (encode_hold_cancel(HoldCancel(2, ring.ring_id)), b"nonsense"):
        ring.receive(frame, 1)
    assert (ring.counters.token_hold_cancel_rx, ring.counters.rx_msg_dropped) == (0, 0)
    assert ring.output.packets == []


@pytest.mark.parametrize("event", [*Timer, Call.PROBE, Call.FLUSH, Call.START])
@pytest.mark.parametrize("state", State)
def test_what_is_ignored_leaves_nothing_behind(state: State, event: Timer | Call) -> None:
    """And what is not is left to its handler: here it only must be found."""
    s = _state(state)
    if HANDLERS[state, event] is ignored:
        dispatch.dispatch(s, event)
        assert s.state is state
        assert (s.output.packets, s.output.events, s.timers.deadlines_ns) == ([], [], {})
        return
    called: list[RingState] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(HANDLERS, (state, event), called.append)
        dispatch.dispatch(s, event)
    assert called == [s]


def test_a_timer_that_expires_goes_by_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[RingState] = []
    ring = Ring(RingOptions(), 1, 0, 0, lambda n: 0)
    ring.start(0)
    monkeypatch.setitem(HANDLERS, (State.GATHER, Timer.JOIN), called.append)
    ring.advance(RingOptions().join_timeout_ms * 1_000_000)
    assert len(called) == 1


def test_the_documented_table_is_the_one_that_runs() -> None:
    assert table.DOCUMENT.read_text() == table.PRINTED.document(), "python -m tests.unit.ring.table --write"
