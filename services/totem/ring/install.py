"""Installing a ring: extended virtual synchrony happens here, in this order.

1. What the old ring has without a hole is delivered, in its regular configuration, up to the first SAFE message that
   is not known to be stable. One that a member has delivered is: the commit token says how far each has delivered.
2. The transitional configuration is told: those members of the old ring that came along.
3. The rest is delivered in it; beyond holes only what is from senders that are in it (others' messages may depend on a
   lost one).
4. The regular configuration of the new ring is told, and the sync of the services begins.

Source: Moser, Amir, Melliar-Smith, Agarwal, "Extended virtual synchrony", 1994; Corosync's order of steps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.totem.ring import capabilities, delivery, secrecy, sync
from services.totem.ring.events import NoticeCode, RegularConfiguration, State, TransitionalConfiguration
from services.totem.ring.timers import Timer
from services.totem.wire.base import extend_u32

if TYPE_CHECKING:
    from services.totem.ring.state import RingState


def enter(s: RingState) -> None:
    """Recovery is done: deliver the rest of the old ring and become Operational in the new one."""
    old_ring, old_members = s.membership.old_ring_id, s.membership.members
    s.delivery.settle(_known_stable(s))
    delivery.deliver_ready(s)
    sync.abort(s)
    left = tuple(n for n in old_members if n not in s.membership.trans_members)
    joined = tuple(n for n in s.membership.new_members if n not in s.membership.trans_members)
    silent = tuple(n for n in left if n not in s.consensus.leaving)
    s.emit(TransitionalConfiguration(old_ring, s.membership.ring_id, s.membership.trans_members, left))
    delivery.deliver_rest(s)
    for node in left:
        s.delivery.assembler.drop(node)
    s.membership.install()
    s.delivery.install(s.recovery.close(), s.options.initial_sequence)
    secrecy.install(s)
    capabilities.forget(s)
    s.consensus.install(s.membership.members, left, silent, s.now_ns)
    s.counters.operational_entered += 1
    s.counters.continuous_gather = 0
    if silent:
        s.notice(NoticeCode.FAILED_WITHOUT_LEAVE, silent)
    s.packer.restart()
    s.forget_standstills()
    s.timers.stop(Timer.TOKEN_RETRANSMIT, Timer.STANDSTILL)
    s.emit(RegularConfiguration(s.membership.ring_id, s.membership.members, joined, left))
    sync.start(s)
    s.enter(State.OPERATIONAL)
    delivery.deliver_ready(s)


def _known_stable(s: RingState) -> int:
    """Up to where every member of the old ring has its packets, as all who come along know alike.

    What one of them has delivered was stable if it was SAFE. That goes for Rondo members; the others deliver SAFE
    messages like any.
    """
    near = s.delivery.regular.delivered
    if s.recovery.commit is None:
        return near
    entries = zip(s.recovery.commit.addrs, s.recovery.commit.entries, strict=True)
    told = [
        entry.high_delivered
        for node, entry in entries
        if node in s.membership.trans_members and node in s.features.announcements
    ]
    return max([extend_u32(high_delivered, near) for high_delivered in told], default=near)
