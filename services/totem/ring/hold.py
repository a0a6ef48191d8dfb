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
    s.await_token(s.pace.passed_on(s.now_ns, may_be_held=False))
    s.counters.orf_token_tx += 1
    s.unicast(s.token_target, s.last_frame)


def wake(s: RingState) -> None:
    """Have the token come round now, if it is held."""
    if not s.token_held:
        return
    s.seq_unchanged = 0
    if not s.is_representative and not s.cancel_sent:
        s.cancel_sent = True
        cancel(s)
    hurry(s)


def cancel(s: RingState) -> None:
    """Ask the representative to let the token go."""
    s.counters.token_hold_cancel_tx += 1
    s.multicast(encode_hold_cancel(HoldCancel(s.node_id, s.ring_id)))


def hurry(s: RingState) -> None:
    """The token may be held and is wanted: let it go, or expect it as if it had just been passed on."""
    if s.is_representative and s.holding:
        s.token_held = False
        release(s)
    elif s.token_held and not s.hurried and not s.options.like_corosync:
        s.hurried = True
        s.await_token(s.pace.hurried())


def suspect(s: RingState) -> None:
    """There is a sign that the installed ring has fallen apart: its members do not all believe what its token says, or
    some have never been in it. If no token comes that can be taken a new ring is formed."""
    if s.state is State.OPERATIONAL and Timer.STANDSTILL not in s.timers.deadlines_ns:
        s.expect_progress()
        wake(s)
