"""The token of an idle ring, which its representative holds for a while at each visit; and how to have it at once."""

from __future__ import annotations

from services.totem.ring.events import State
from services.totem.ring.state import RingState
from services.totem.ring.timers import Timer
from services.totem.wire.frames import HoldCancel, encode_hold_cancel


def release(s: RingState) -> None:
    """The representative lets the token go."""
    if not s.holding:
        return
    s.holding = False
    s.timers.stop(Timer.TOKEN_HOLD)
    s.start_timer(Timer.TOKEN_RETRANSMIT, s.options.token_retransmit_ms)
    s.counters.orf_token_tx += 1
    s.unicast(s.token_target, s.last_frame)


def wake(s: RingState) -> None:
    """Have the token come round now, if it is held."""
    if not s.token_held:
        return
    s.seq_unchanged = 0
    if s.is_representative:
        s.token_held = False
        release(s)
    elif not s.cancel_sent:
        s.cancel_sent = True
        s.counters.token_hold_cancel_tx += 1
        s.multicast(encode_hold_cancel(HoldCancel(s.node_id, s.ring_id)))


def suspect(s: RingState) -> None:
    """There is a sign that the installed ring has fallen apart: its members do not all believe what its token says, or
    some have never been in it. If no token comes that can be taken a new ring is formed."""
    if s.state is State.OPERATIONAL and Timer.STANDSTILL not in s.timers.deadlines_ns:
        s.expect_progress()
        wake(s)
