"""The token of an idle ring, which its representative holds for a while at each visit; and how to have it at once.

By Corosync's rules that begins after seqno_unchanged_const rotations in which nobody sent anything. Until then the
token keeps a processor of each node busy, and the token has to come round before anybody can send. Where all members
say so (Capability.EARLY_HOLD) the representative holds it as soon as one rotation has shown that everybody has
everything and nobody has anything to send. What it has to send itself then leaves at once; another member sends a hold
cancel whenever it has sent nothing at its last visit, as the token may be held since.

It may go on holding the token after it has sent a packet, for as long as LINGER_MS: others deliver an agreed message as
soon as they have it, and only then learn from the token what they may have missed. Where one message follows the other
a rotation for each is most of what the ring has to do: with three nodes, whose ring processes share a processor, that
spared a third of its time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.totem.ring.events import State
from services.totem.ring.timers import MS, Timer
from services.totem.wire.frames import GUARANTEE_AT, SAFE, HoldCancel, Token, encode_hold_cancel

if TYPE_CHECKING:
    from services.totem.ring.state import RingState

LINGER_MS = 2
"""So long after the first of the packets with which it did not pass on the token."""
LINGER_PACKETS = 16
"""As netmtu counts them: so many at most."""


def release(s: RingState) -> None:
    """The representative lets the token go."""
    if not s.holding:
        return
    s.holding = s.wanted = False
    s.lingered = 0
    s.timers.stop(Timer.TOKEN_HOLD)
    s.await_token(s.pace.passed_on(s.now_ns, may_be_held=False))
    s.counters.orf_token_tx += 1
    s.unicast(s.membership.token_target, s.last_frame)


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
    frame = encode_hold_cancel(HoldCancel(s.node_id, s.membership.ring_id))
    if s.features.early_hold and s.state is State.OPERATIONAL:
        s.unicast(s.membership.ring_id.representative, frame)
    else:
        s.multicast(frame)


def is_idle(s: RingState, token: Token, seq: int, aru: int) -> bool:
    """Whether the representative, which is about to pass on this token with this seq and aru, sees that nothing was
    sent since it did so last, that everybody has everything, and that nobody waits for the token."""
    store = s.regular
    if s.wanted or s.probes or token.rtr or token.backlog or not seq == s.passed_seq == aru == store.aru:
        return False
    if store.delivered < seq:
        return False
    # Before the token is held, all must have seen at two visits that everybody has a SAFE message.
    return all(store.frames[n][GUARANTEE_AT] != SAFE for n in range(store.released + 1, seq + 1))


def may_linger(s: RingState, token: Token, used: int, seq: int, aru: int, backlog: int) -> bool:
    """Whether the representative, which held the token and has just sent packets that count for `used`, may go on
    holding it: everything else is as it was, `seq` and `aru` are those of the token now, and what was sent is little,
    for the first time or soon after it."""
    if not s.features.early_hold or s.sync.active or s.state is not State.OPERATIONAL or s.requests.lossy_visits:
        return False
    others = token.backlog - s.flow.backlog_told
    if s.wanted or s.probes or token.rtr or others or backlog or not seq == aru == s.regular.aru:
        return False
    if not s.lingered:
        s.linger_until_ns = s.now_ns + LINGER_MS * MS
    s.lingered += used
    if s.lingered > LINGER_PACKETS or s.now_ns >= s.linger_until_ns:
        return False
    frames = s.regular.frames
    return all(frames[n][GUARANTEE_AT] != SAFE for n in range(s.regular.released + 1, seq + 1))


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
