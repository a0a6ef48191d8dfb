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

from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from services.totem.ring.events import State
from services.totem.ring.timers import MS, Timer
from services.totem.wire.base import Reason
from services.totem.wire.frames import GUARANTEE_AT, SAFE, HoldCancel, Token, encode_hold_cancel

if TYPE_CHECKING:
    from services.totem.ring.state import RingState

LINGER_MS = 2
"""So long after the first of the packets with which it did not pass on the token."""
LINGER_PACKETS = 16
"""As netmtu counts them: so many at most."""


PROBE_VISITS = 3
"""So often the token comes round after a probe, whether there is anything to send or not."""


class Holding(Enum):
    """Where the token of an idle ring is, as far as this node knows."""

    SPINNING = auto()
    """On its way, and nobody will hold it."""
    BELIEVED_HELD = auto()
    """The ring is idle: the representative holds the token, or will when it comes to it."""
    HOLDING = auto()
    """Here: this node is the representative, and holds it."""
    LINGERING = auto()
    """Here as well, after packets with which it was not passed on."""


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
        """What this node has sent since, without passing on the token, in packets of netmtu."""
        self.linger_until_ns = 0
        self.begin_ring(base)

    def begin_ring(self, base: int) -> None:
        """A ring is being formed."""
        self.state = SPINNING
        self.idle_rotations = 0
        """Rotations in a row without a new packet."""
        self.last_seq = base - 1
        """seq of the token at the visit before."""
        self.wanted = False
        """The representative knows that somebody wants the token, which is on its way."""
        self.probes = 0
        """Visits for which the token is wanted although there is nothing to send."""
        self.cancel_sent = False
        """This node has asked for the token since the last visit."""
        self.hurried = False
        """Somebody has, so the token is expected."""

    @property
    def is_here(self) -> bool:
        """Whether this node holds the token."""
        return self.state is HOLDING or self.state is LINGERING

    @property
    def may_be_held(self) -> bool:
        """Whether the ring is idle, so that the token is held here or elsewhere."""
        return self.state is not SPINNING

    def give_up(self) -> None:
        """The ring is over, and its token."""
        self.state = SPINNING

    def visited(self, seq: int, idle_rotations_max: int, *, is_representative: bool) -> bool:
        """A token has come; whether nobody has sent anything since the last one."""
        is_quiet = seq == self.last_seq
        self.last_seq = seq
        self.idle_rotations = idle = self.idle_rotations + 1 if is_quiet else 0
        is_idle = idle > idle_rotations_max or (idle == idle_rotations_max and not is_representative)
        self.state = BELIEVED_HELD if is_idle else SPINNING
        self.cancel_sent = self.hurried = False
        return is_quiet

    def believe(self) -> None:
        """The ring is idle at this visit, sooner than by Corosync's rule."""
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
        """The token is here, and so is something to send: its visit goes on."""
        self.state = SPINNING
        self.idle_rotations = 0

    def let_go(self, state: Holding) -> None:
        """The token leaves, after it was held here."""
        self.state = state
        self.pass_on()


def release(s: RingState, after: Holding = BELIEVED_HELD) -> None:
    """The representative lets the token go. `after`: whether the ring stays idle."""
    if not s.hold.is_here:
        return
    s.hold.let_go(after)
    s.timers.stop(Timer.TOKEN_HOLD)
    s.await_token(s.rotation.pace.passed_on(s.now_ns, may_be_held=False))
    s.counters.orf_token_tx += 1
    s.unicast(s.membership.token_target, s.rotation.last_frame)


def wake(s: RingState) -> None:
    """Have the token come round now, if it is held."""
    hold = s.hold
    if not hold.may_be_held:
        return
    hold.idle_rotations = 0
    if not s.is_representative and not hold.cancel_sent:
        hold.cancel_sent = True
        cancel(s)
    hurry(s)


def probe(s: RingState) -> None:
    """Have the token go round if it is held, some times."""
    s.hold.probes = PROBE_VISITS
    wake(s)


def go_on_probing(s: RingState) -> None:
    """A visit is over: have the token come round again if this node still wants to see it."""
    if s.hold.probes:
        s.hold.probes -= 1
        wake(s)


def cancelled(s: RingState, cancel: HoldCancel) -> None:
    """Somebody has something to send: let the token go, or expect it."""
    if _take_cancel(s, cancel):
        hurry(s)


def note_cancel(s: RingState, cancel: HoldCancel) -> None:
    """Note that somebody has something to send."""
    _take_cancel(s, cancel)


def _take_cancel(s: RingState, cancel: HoldCancel) -> bool:
    """Whether a hold cancel is one of this ring."""
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
    """Ask the representative to let the token go."""
    s.counters.token_hold_cancel_tx += 1
    frame = encode_hold_cancel(HoldCancel(s.node_id, s.membership.ring_id))
    if s.features.early_hold and s.state is State.OPERATIONAL:
        s.unicast(s.membership.ring_id.representative, frame)
    else:
        s.multicast(frame)


def look(s: RingState, token: Token, seq: int, aru: int, used: int) -> None:
    """In Operational, at the end of a visit in which packets were sent that count for `used`: believe that the token
    will be held, if that is so in this ring as soon as nobody has anything to send."""
    if not s.features.early_hold or s.sync.active or s.hold.may_be_held:
        return
    if is_idle(s, token, seq, aru) if s.is_representative else not used:
        s.hold.believe()


def is_idle(s: RingState, token: Token, seq: int, aru: int) -> bool:
    """Whether the representative, which is about to pass on this token with this seq and aru, sees that nothing was
    sent since it did so last, that everybody has everything, and that nobody waits for the token."""
    store = s.delivery.regular
    if s.hold.wanted or s.hold.probes or token.rtr or token.backlog:
        return False
    if not seq == s.rotation.passed_seq == aru == store.aru:
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
    """The token may be held and is wanted: let it go, or expect it as if it had just been passed on."""
    hold = s.hold
    if s.is_representative and hold.is_here:
        release(s, SPINNING)
    elif hold.may_be_held and not hold.hurried and not s.options.like_corosync:
        hold.hurried = True
        s.await_token(s.rotation.pace.hurried())


def suspect(s: RingState) -> None:
    """There is a sign that the installed ring has fallen apart: its members do not all believe what its token says, or
    some have never been in it. If no token comes that can be taken a new ring is formed."""
    if s.state is State.OPERATIONAL and Timer.STANDSTILL not in s.timers.deadlines_ns:
        s.expect_progress()
        wake(s)
