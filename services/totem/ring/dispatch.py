"""The table of the ring's state machine: one handler for each pair of a state and an event.

An event is a frame of some kind, an expired timer, or a call of the host. A handler is a function that does what the
first paragraph of its docstring says, or `ignored`. In the states "starting" and "left" frames are not even decoded.
Calls that touch neither state nor timers are no events: submitting messages, `input_drained`, `set_receive_bytes`.

docs/RING.md holds this table as text, printed from it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final, NamedTuple

from services.totem.ring import commit, expiry, foreign, gather, hold, mcast, sync, token
from services.totem.ring.events import State
from services.totem.ring.state import Handler, RingState
from services.totem.ring.timers import Timer
from services.totem.wire.frames import Kind


class Call(StrEnum):
    """Calls of the host."""

    START = "start"
    LEAVE = "leave"
    REGATHER = "regather"
    """The address was lost or is back, or a new ring of the same members is wanted."""
    MEMBER_DEAD = "member_dead"
    PROBE = "probe"
    SYNC_REPLY = "sync_reply"
    FLUSH = "flush"
    """Messages were submitted."""


Event = Kind | Timer | Call


class Row(NamedTuple):
    """The handlers of one event, by state."""

    starting: Handler
    operational: Handler
    gather: Handler
    commit: Handler
    recovery: Handler
    left: Handler


def ignored(s: RingState, *_: Any) -> None:
    """Nothing: the event cannot occur in this state, or means nothing in it."""


NO: Final = ignored

TABLE: Final[dict[Event, Row]] = {
    Kind.TOKEN: Row(NO, token.in_operational, NO, NO, token.in_recovery, NO),
    Kind.MCAST: Row(NO, mcast.in_operational, mcast.in_gather, mcast.in_commit, mcast.in_recovery, NO),
    Kind.MERGE: Row(
        NO, foreign.merge_in_operational, foreign.merge_in_gather, foreign.merge_counted, foreign.merge_counted, NO
    ),
    Kind.JOIN: Row(
        NO, gather.join_in_operational, gather.join_in_gather, gather.join_in_commit, gather.join_in_recovery, NO
    ),
    Kind.COMMIT: Row(NO, commit.counted, gather.on_commit, commit.in_commit, commit.in_recovery, NO),
    Kind.HOLD_CANCEL: Row(NO, hold.cancelled, hold.note_cancel, hold.note_cancel, hold.cancelled, NO),
    Timer.TOKEN: Row(
        NO,
        expiry.token_lost_in_operational,
        gather.commit_token_missed,
        expiry.token_lost_in_commit,
        expiry.token_lost_in_recovery,
        NO,
    ),
    Timer.TOKEN_RETRANSMIT: Row(NO, token.resend, NO, commit.resend, token.resend, NO),
    Timer.TOKEN_HOLD: Row(NO, hold.release, NO, NO, hold.release, NO),
    Timer.TOKEN_WARNING: Row(NO, expiry.token_late, NO, NO, NO, NO),
    Timer.JOIN: Row(NO, NO, gather.join_expired, NO, NO, NO),
    Timer.SEND_JOIN: Row(NO, NO, gather.send_join, NO, NO, NO),
    Timer.CONSENSUS: Row(NO, NO, gather.consensus_expired, NO, NO, NO),
    Timer.MERGE: Row(NO, foreign.announce, NO, NO, NO, NO),
    Timer.SYNC: Row(NO, expiry.out_of_step, NO, NO, NO, NO),
    Timer.STANDSTILL: Row(NO, expiry.stands_still, NO, expiry.stands_still, expiry.stands_still, NO),
    Timer.PAUSE: Row(NO, expiry.check_pause, expiry.check_pause, expiry.check_pause, expiry.check_pause, NO),
    Call.START: Row(gather.start, NO, NO, NO, NO, NO),
    Call.LEAVE: Row(gather.leave_unheard, gather.leave, gather.leave, gather.leave, gather.leave, NO),
    Call.REGATHER: Row(NO, gather.enter, gather.enter, gather.enter, gather.enter, NO),
    Call.MEMBER_DEAD: Row(NO, gather.fail_in_operational, gather.fail, gather.fail, gather.fail, NO),
    Call.PROBE: Row(NO, hold.probe, NO, NO, NO, NO),
    Call.SYNC_REPLY: Row(NO, sync.reply, sync.reply, sync.reply, sync.reply, NO),
    Call.FLUSH: Row(NO, token.flush, NO, NO, NO, NO),
}

HANDLERS: Final[dict[tuple[State, Event], Handler]] = {
    (state, event): getattr(row, state.value) for event, row in TABLE.items() for state in State
}
"""The table, by (state, event)."""


def _frame_handlers(state: State) -> tuple[Handler, ...]:
    """The handlers of frames in one state, indexed by kind; empty if all frames are ignored."""
    handlers = tuple(HANDLERS[state, kind] for kind in sorted(Kind))
    return () if all(handler is ignored for handler in handlers) else handlers


FRAME_HANDLERS: Final[dict[State, tuple[Handler, ...]]] = {state: _frame_handlers(state) for state in State}
"""The handlers of frames, by state. `RingState` keeps those of its current state at hand, because frames are the most
frequent events."""


def dispatch(s: RingState, event: Timer | Call, *arguments: Any) -> None:
    """A timer has expired, or the host calls."""
    HANDLERS[s.state, event](s, *arguments)
