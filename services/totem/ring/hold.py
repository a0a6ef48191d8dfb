"""Holding the token of an idle ring at its representative, and getting it back into rotation at once.

By Corosync's rules the hold begins after seqno_unchanged_const rotations without a new packet. Until then the token
keeps one processor of each node busy, and a sender waits for the token to come round. If all members have
Capability.EARLY_HOLD, the representative holds the token after a single rotation in which every member had every packet
and none had anything to send. The representative's own messages then leave at once. Another member that sent nothing at
its last visit sends a hold cancel before it sends, because the token may be held.

The representative may keep holding the token for up to LINGER_MS after it has sent a packet. Receivers deliver an
agreed message as soon as they have it; the token only tells them later what they may have missed. When messages follow
each other closely, one rotation per message is most of the ring's work. With three nodes whose ring processes share a
processor, lingering saved a third of its time.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from services.totem.ring.events import State
from services.totem.ring.timers import MS, Timer
from services.totem.wire.base import Reason
from services.totem.wire.frames import GUARANTEE_AT, SAFE, HoldCancel, Token, encode_hold_cancel

if TYPE_CHECKING:
    from services.totem.ring.state import RingState

LINGER_MS: Final = 2
"""How long the token stays after the first packet that was sent without passing it on."""
LINGER_PACKETS: Final = 16
"""How many packets are sent at most without passing the token on, in packets of netmtu."""


PROBE_VISITS: Final = 3
"""How often the token comes round after a probe, even if there is nothing to send."""


class Holding(Enum):
    """Where the token of an idle ring is, as far as this node knows."""

    SPINNING = auto()
    """On its way. Nobody will hold it."""
    BELIEVED_HELD = auto()
    """The ring is idle. The representative holds the token, or will hold it when it arrives."""
    HOLDING = auto()
    """Here. This node is the representative and holds it."""
    LINGERING = auto()
    """Here, after packets were sent without passing it on."""


SPINNING: Final = Holding.SPINNING
BELIEVED_HELD: Final = Holding.BELIEVED_HELD
HOLDING: Final = Holding.HOLDING
LINGERING: Final = Holding.LINGERING


class Hold:
    """One node's part in the holding of the token. Only this module writes it."""

    __slots__ = (
        "cancel_sent", "held_token", "hurried", "idle_rotations", "last_seq", "linger_until_ns", "lingered", "probes",
        "state", "wanted",
    )  # fmt: skip

    def __init__(self, base: int) -> None:
        self.state = SPINNING
        self.held_token: Token | None = None
        """The token, while this node holds it."""
        self.lingered = 0
        """What this node has sent while it held the token, in packets of netmtu."""
        self.linger_until_ns = 0
        self.begin_ring(base)

    def begin_ring(self, base: int) -> None:
        """A ring is being formed."""
        self.state = SPINNING
        self.idle_rotations = 0
        """Rotations in a row without a new packet."""
        self.last_seq = base - 1
        """seq of the token at the previous visit."""
        self.wanted = False
        """At the representative: somebody has asked for the token since it was passed on last."""
        self.probes = 0
        """Remaining visits for which the token is wanted although there is nothing to send."""
        self.cancel_sent = False
        """This node has sent a hold cancel since the last visit."""
        self.hurried = False
        """Somebody has sent a hold cancel since the last visit, so the token is expected soon."""

    @property
    def is_here(self) -> bool:
        """Whether this node holds the token."""
        return self.state is HOLDING or self.state is LINGERING

    @property
    def may_be_held(self) -> bool:
        """Whether the ring is idle, so that the token may be held, here or elsewhere."""
        return self.state is not SPINNING

    def give_up(self) -> None:
        """The ring ended, and with it its token."""
        self.state = SPINNING

    def visited(self, seq: int, idle_rotations_max: int, *, is_representative: bool) -> bool:
        """A token has come. Returns whether nobody has sent anything since the last one."""
        is_quiet = seq == self.last_seq
        self.last_seq = seq
        self.idle_rotations = idle = self.idle_rotations + 1 if is_quiet else 0
        is_idle = idle > idle_rotations_max or (idle == idle_rotations_max and not is_representative)
        self.state = BELIEVED_HELD if is_idle else SPINNING
        self.cancel_sent = self.hurried = False
        return is_quiet

    def believe(self) -> None:
        """The ring counts as idle at this visit already, sooner than by Corosync's rule."""
        self.state = BELIEVED_HELD

    def keep(self, token: Token, *, lingers: bool) -> None:
        """The visit is over, and the token stays here."""
        self.state = LINGERING if lingers else HOLDING
        self.held_token = token

    def pass_on(self) -> None:
        """The visit is over, and the token leaves."""
        self.wanted = False
        self.lingered = 0

    def resume(self) -> None:
        """There is something to send while the token is held here: its visit goes on."""
        self.state = SPINNING
        self.idle_rotations = 0

    def let_go(self, state: Holding) -> None:
        """The held token leaves."""
        self.state = state
        self.pass_on()


def release(s: RingState, after: Holding = BELIEVED_HELD) -> None:
    """The representative releases the token. `after`: the state that follows; it says whether the ring stays idle."""
    if not s.hold.is_here:
        return
    s.hold.let_go(after)
    s.timers.stop(Timer.TOKEN_HOLD)
    s.await_token(s.rotation.pace.passed_on(s.now_ns, may_be_held=False))
    s.counters.orf_token_tx += 1
    s.unicast(s.membership.token_target, s.rotation.last_frame)


def wake(s: RingState) -> None:
    """If the token may be held, get it moving now."""
    hold = s.hold
    if not hold.may_be_held:
        return
    hold.idle_rotations = 0
    if not s.is_representative and not hold.cancel_sent:
        hold.cancel_sent = True
        cancel(s)
    hurry(s)


def probe(s: RingState) -> None:
    """If the token is held, make it go round a few times."""
    s.hold.probes = PROBE_VISITS
    wake(s)


def go_on_probing(s: RingState) -> None:
    """A visit is over: make the token come round again if this node is still probing."""
    if s.hold.probes:
        s.hold.probes -= 1
        wake(s)


def cancelled(s: RingState, cancel: HoldCancel) -> None:
    """Somebody has something to send: release the token if it is held here, else expect it."""
    if _take_cancel(s, cancel):
        hurry(s)


def note_cancel(s: RingState, cancel: HoldCancel) -> None:
    """Remember that somebody has something to send."""
    _take_cancel(s, cancel)


def _take_cancel(s: RingState, cancel: HoldCancel) -> bool:
    """Count a hold cancel. Returns whether it belongs to this ring."""
    s.counters.token_hold_cancel_rx += 1
    membership = s.membership
    if cancel.sender not in membership.members and cancel.sender not in membership.new_members:
        s.counters.drop(Reason.UNKNOWN_MEMBER)
        return False
    if cancel.ring != membership.ring_id:
        return False
    s.hold.idle_rotations = 0
    s.hold.wanted = True
    return True


def cancel(s: RingState) -> None:
    """Ask the representative to release the token."""
    s.counters.token_hold_cancel_tx += 1
    frame = encode_hold_cancel(HoldCancel(s.node_id, s.membership.ring_id))
    if s.features.early_hold and s.state is State.OPERATIONAL:
        s.unicast(s.membership.ring_id.representative, frame)
    else:
        s.multicast(frame)


def look(s: RingState, token: Token, seq: int, aru: int, used: int) -> None:
    """In Operational, at the end of a visit: decide whether the ring counts as idle, if it has early hold. `used`:
    packets of netmtu that this node sent at the visit."""
    if not s.features.early_hold or s.sync.active or s.hold.may_be_held:
        return
    if is_idle(s, token, seq, aru) if s.is_representative else not used:
        s.hold.believe()


def is_idle(s: RingState, token: Token, seq: int, aru: int) -> bool:
    """Whether the ring is idle, as the representative sees it when it is about to pass on this token with this seq and
    aru. Nothing was sent since it passed the token on last, every member has every packet, and nobody waits for the
    token."""
    store = s.delivery.regular
    if s.hold.wanted or s.hold.probes or token.rtr or token.backlog:
        return False
    if not seq == s.rotation.passed_seq == aru == store.aru:
        return False
    if store.delivered < seq:
        return False
    # While a SAFE message is not released the token is not held: all members must see at two visits that all have it.
    return all(store.frames[n][GUARANTEE_AT] != SAFE for n in range(store.released + 1, seq + 1))


def may_linger(s: RingState, token: Token, used: int, seq: int, aru: int, backlog: int) -> bool:
    """Whether the representative, which held the token and has just sent packets, may hold it on. `used`: packets of
    netmtu that it sent; `seq` and `aru`: the token's now. The ring must be idle otherwise, and the packets few. The
    first of them must be recent."""
    if not s.features.early_hold or s.sync.active or s.state is not State.OPERATIONAL or s.requests.lossy_visits:
        return False
    others = token.backlog - s.flow.backlog_told
    if s.hold.wanted or s.hold.probes or token.rtr or others or backlog or not seq == aru == s.delivery.regular.aru:
        return False
    if not s.hold.lingered:
        s.hold.linger_until_ns = s.now_ns + LINGER_MS * MS
    s.hold.lingered += used
    if s.hold.lingered > LINGER_PACKETS or s.now_ns >= s.hold.linger_until_ns:
        return False
    frames = s.delivery.regular.frames
    return all(frames[n][GUARANTEE_AT] != SAFE for n in range(s.delivery.regular.released + 1, seq + 1))


def hurry(s: RingState) -> None:
    """The token is wanted and may be held: release it if it is here, else expect it as if it was just passed on."""
    hold = s.hold
    if s.is_representative and hold.is_here:
        release(s, SPINNING)
    elif hold.may_be_held and not hold.hurried and not s.options.like_corosync:
        hold.hurried = True
        s.await_token(s.rotation.pace.hurried())


def suspect(s: RingState) -> None:
    """The installed ring seems to have fallen apart: its members disagree about its token, or some never entered it. If
    no acceptable token comes, a new ring is formed."""
    if s.state is State.OPERATIONAL and Timer.STANDSTILL not in s.timers.deadlines_ns:
        s.expect_progress()
        wake(s)
