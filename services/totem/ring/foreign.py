"""Signs of other rings, with which this ring is to merge: their packets, and their representatives' merge detects.

In Operational, a packet of a ring that a member came from is no such sign. It is only late.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.totem.ring import gather
from services.totem.ring.events import GatherReason, State
from services.totem.ring.timers import Timer
from services.totem.wire.base import Reason, RingId
from services.totem.wire.frames import PROCESSORS_MAX, Mcast, Merge, encode_merge

if TYPE_CHECKING:
    from services.totem.ring.state import RingState


def is_late(s: RingState, sender: int, ring: RingId) -> bool:
    """Whether a packet belongs to the previous ring of one of this ring's members."""
    return sender in s.membership.members and ring in s.membership.ancestors.values()


def mcast_in_operational(s: RingState, mcast: Mcast) -> None:
    """A packet of another ring: form a ring with its sender."""
    if _check(s, mcast.origin) and not gather.comes_too_early(s, mcast.origin):
        gather.discover(s, mcast.origin, GatherReason.FOREIGN_MESSAGE_IN_OPERATIONAL)


def mcast_in_gather(s: RingState, mcast: Mcast) -> None:
    """A packet of another ring: add its sender to the known processors, if it is new."""
    if _check(s, mcast.origin) and mcast.origin not in s.consensus.proc:
        gather.discover(s, mcast.origin, GatherReason.FOREIGN_MESSAGE_IN_GATHER)


def merge_in_operational(s: RingState, merge: Merge) -> None:
    """Another ring exists: form a ring with its representative."""
    s.counters.memb_merge_detect_rx += 1
    if _is_own(s, merge) or is_late(s, merge.sender, merge.ring) or not _check(s, merge.sender):
        return
    if not gather.comes_too_early(s, merge.sender):
        gather.discover(s, merge.sender, GatherReason.MERGE_DURING_OPERATIONAL)


def merge_in_gather(s: RingState, merge: Merge) -> None:
    """Another ring exists: add its representative to the known processors, if it is new."""
    s.counters.memb_merge_detect_rx += 1
    if not _is_own(s, merge) and _check(s, merge.sender) and merge.sender not in s.consensus.proc:
        gather.discover(s, merge.sender, GatherReason.MERGE_DURING_GATHER)


def merge_counted(s: RingState, merge: Merge) -> None:
    """Count it. One of an unknown node counts as refused. The new ring will announce itself."""
    s.counters.memb_merge_detect_rx += 1
    if not _is_own(s, merge):
        _check(s, merge.sender)


def begin_to_announce(s: RingState) -> None:
    """The ring is idle: its representative starts to announce it. No other node wakes for that.

    Where every node of the nodelist is a member there is nobody to hear it, and the members, all Rondo, need not wake
    for it. With C members it goes on: the port of one that has died answers it, and so its death is known soon.
    """
    if not s.is_representative or s.state is not State.OPERATIONAL or Timer.MERGE in s.timers.deadlines_ns:
        return
    listed = s.options.members
    if listed is None or not s.features.all_rondo or not listed.issubset(s.membership.members):
        s.start_timer(Timer.MERGE, s.options.merge_timeout_ms)


def announce(s: RingState) -> None:
    """The representative announces its ring to others."""
    s.counters.memb_merge_detect_tx += 1
    s.multicast(encode_merge(Merge(s.node_id, s.node_id, s.membership.ring_id)))
    begin_to_announce(s)


def _is_own(s: RingState, merge: Merge) -> bool:
    return merge.ring in (s.membership.ring_id, s.membership.old_ring_id)


def _check(s: RingState, node: int) -> bool:
    """Whether this ring may merge with the node. Refusals are counted."""
    if node == 0 or (s.options.members is not None and node not in s.options.members):
        s.counters.drop(Reason.UNKNOWN_MEMBER)
        return False
    if node in s.secrecy.refused:
        s.counters.drop(Reason.SECRECY_DIFFERS)
        return False
    if len(s.consensus.proc | s.consensus.failed) >= PROCESSORS_MAX:
        s.counters.drop(Reason.TOO_MANY_ENTRIES)
        return False
    return True
