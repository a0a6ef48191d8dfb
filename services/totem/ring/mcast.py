"""Packets that arrive: which ones are kept, and in which ring's store.

A packet of this ring is kept if its number is in the window and its sender is a member. In Operational it is delivered
as soon as all packets before it are here. In Gather it is only kept. In Recovery, packets are those of the ring that is
being formed, and old packets are wrapped in them. A packet of another ring shows that this other ring exists
(foreign.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from zlib import crc32

from services.totem.ring import delivery, foreign, recovery, token
from services.totem.wire.base import Reason, extend_u32
from services.totem.wire.frames import ENCAPSULATED, MCAST_HEADER_SIZE, Mcast

if TYPE_CHECKING:
    from services.totem.ring.state import RingState
    from services.totem.ring.store import PacketStore


def in_operational(s: RingState, mcast: Mcast) -> None:
    """Keep it and deliver complete messages. If it is of another ring and not late, merge with that ring."""
    s.counters.mcast_rx += 1
    store = s.delivery.regular
    if mcast.ring != store.ring:
        if foreign.is_late(s, mcast.sender, mcast.ring):
            s.counters.mcast_late_rx += 1
        else:
            foreign.mcast_in_operational(s, mcast)
    elif _keep(s, mcast, store, s.membership.members):
        delivery.deliver_ready(s)


def in_gather(s: RingState, mcast: Mcast) -> None:
    """Keep it, as a packet of the old ring. If it is of another ring, add its sender to the known processors."""
    s.counters.mcast_rx += 1
    store = s.delivery.regular
    if mcast.ring == store.ring:
        _keep(s, mcast, store, s.membership.members)
    else:
        foreign.mcast_in_gather(s, mcast)


def in_commit(s: RingState, mcast: Mcast) -> None:
    """Count it and drop it: the commit token already says which packets this node has of the old ring."""
    s.counters.mcast_rx += 1


def in_recovery(s: RingState, mcast: Mcast) -> None:
    """Keep it, as a packet of the new ring. If it wraps an old packet, this node need not send that one."""
    s.counters.mcast_rx += 1
    store = s.recovery.store
    if store is None or mcast.ring != store.ring:
        return
    if _keep(s, mcast, store, s.membership.new_members) and mcast.encapsulated == ENCAPSULATED:
        recovery.note_wrapped(s, mcast.frame)


def _keep(s: RingState, mcast: Mcast, store: PacketStore, members: tuple[int, ...]) -> bool:
    """Put a packet into its ring's store; whether it is new there."""
    if mcast.sender not in members:
        s.counters.drop(Reason.UNKNOWN_MEMBER)
        return False
    seq = extend_u32(mcast.seq, store.high)
    if not store.in_window(seq):
        if seq <= store.released:
            _note_duplicate(s, mcast, seq)
        else:
            s.counters.drop(Reason.OUT_OF_WINDOW)
        return False
    if not store.add(seq, mcast.frame):
        _note_duplicate(s, mcast, seq)
        return False
    if s.observer is not None:
        wrapped = mcast.encapsulated == ENCAPSULATED
        fields = {"ring": list(store.ring), "seq": seq, "origin": mcast.sender}
        s.observer("packet_in", fields | {"hash": crc32(mcast.frame), "encapsulated": wrapped})
    if mcast.node_id:
        token.note_round(s, mcast)
    return True


def _note_duplicate(s: RingState, mcast: Mcast, seq: int) -> None:
    """A packet that is here was sent again: some node missed it. If it is one of this node's, count it as lost."""
    s.counters.mcast_duplicate_rx += 1
    if mcast.sender == s.node_id:
        s.packet_size.sent_again(len(mcast.frame) - MCAST_HEADER_SIZE, seq)
