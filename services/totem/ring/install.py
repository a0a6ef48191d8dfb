"""Installing a ring, with the guarantees of extended virtual synchrony. The steps, in order:

1. Deliver the old ring's packets up to the first hole in its regular configuration, or up to the first SAFE message
   that is not known to be stable. A SAFE message that a member has delivered is stable: the commit token says how far
   each member has delivered.
2. Emit the transitional configuration: the members of the old ring that came along.
3. Deliver the rest in it. Beyond a hole, deliver only packets of senders that are in it: messages of others may depend
   on a lost one.
4. Emit the regular configuration of the new ring, and start the sync of the services.

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
    """Up to which packet every member of the old ring has all. All members that come along compute the same.

    A SAFE message that one of them has delivered was stable. Only the Rondo members count: the others deliver SAFE
    messages like AGREED ones.
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
