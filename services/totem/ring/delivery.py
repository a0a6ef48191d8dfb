"""Delivery: packets, in sequence order, become messages, which go to the sync engine or to the host.

AGREED messages are delivered as soon as all packets before them are here. A packet that ends a SAFE message is marked.
It waits, and all that follows it, until every member has it (`Delivery.stable`): until the token's aru was at or past
it at two visits in a row. The mark is only believed of members that have announced themselves as Rondo, because
Corosync gives that field no meaning.

At a ring change, a SAFE message that none of the remaining members has delivered yet is not known to be stable. It is
delivered in the transitional configuration, and so are all messages after it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.totem.ring import sync
from services.totem.ring.assembly import Assembler
from services.totem.ring.counters import Counters
from services.totem.ring.events import Message
from services.totem.ring.store import PacketStore
from services.totem.wire import packets
from services.totem.wire.base import Malformed, RingId
from services.totem.wire.frames import ENCAPSULATED, GUARANTEE_AT, MCAST_HEADER_SIZE, SAFE, decode_mcast
from services.totem.wire.packets import Group

if TYPE_CHECKING:
    from services.totem.ring.state import RingState


class Delivery:
    """The packets of the installed ring, and how far they may be delivered."""

    __slots__ = ("assembler", "regular", "stable")

    def __init__(self, ring: RingId, base: int, counters: Counters) -> None:
        self.regular = PacketStore(ring, base)
        """Packets of the installed ring."""
        self.stable = base
        """Every member has all packets of the installed ring up to here, as far as this node knows."""
        self.assembler = Assembler(counters)

    def note_stable(self, upto: int) -> None:
        """The token says that every member has all packets up to here."""
        if upto > self.stable:
            self.stable = upto

    def settle(self, stable: int) -> None:
        """The ring ends. Every member has all of its packets up to here."""
        self.stable = stable

    def install(self, store: PacketStore, base: int) -> None:
        """Switch to the packets of a newly installed ring."""
        self.regular = store
        self.stable = base


def deliver_ready(s: RingState) -> None:
    """Deliver the packets of the installed ring up to the first hole, or to the first SAFE one that is not stable."""
    store = s.delivery.regular
    while store.delivered < store.aru:
        seq = store.delivered + 1
        if seq > s.delivery.stable and store.frames[seq][GUARANTEE_AT] == SAFE and _is_believed(s, store.frames[seq]):
            return
        store.pass_over(seq)
        _deliver(s, store, seq, transitional=False)


def _is_believed(s: RingState, frame: bytes) -> bool:
    """Whether this packet's guarantee field is meaningful: only Rondo members set it."""
    return not s.options.like_corosync and decode_mcast(frame).sender in s.features.announcements


def deliver_rest(s: RingState) -> None:
    """Deliver the rest in the transitional configuration. Beyond a hole, deliver only packets of senders that are in
    that configuration: none of their own messages can be missing."""
    store = s.delivery.regular
    for seq in range(store.delivered + 1, store.high + 1):
        frame = store.frames.get(seq)
        if frame is not None and (seq <= store.aru or decode_mcast(frame).sender in s.recovery.deliver_members):
            _deliver(s, store, seq, transitional=True)
    store.pass_over(store.high)


def _deliver(s: RingState, store: PacketStore, seq: int, *, transitional: bool) -> None:
    frame = store.frames[seq]
    mcast = decode_mcast(frame)
    if mcast.encapsulated == ENCAPSULATED:
        return
    try:
        fragmented, continuation, pieces = packets.decode_packet(frame, MCAST_HEADER_SIZE)
    except Malformed as fault:
        s.counters.drop(fault.reason)
        return
    assembler = s.sync.assembler if s.sync.active else s.delivery.assembler
    sender = mcast.sender
    messages = assembler.take(sender, fragmented, continuation, pieces)
    tags = store.tags.get(seq, ())
    own = sender == s.node_id and len(tags) == len(messages)
    for index, message in enumerate(messages):
        if message is None:
            continue
        try:
            group, at = packets.split_group(message)
        except Malformed as fault:
            if not message.startswith(packets.NOBODY_PREFIX):
                s.counters.drop(fault.reason)
            continue
        if group is Group.SYNC:
            sync.on_message(s, sender, message[at:])
        else:
            s.counters.messages_rx += 1
            tag = tags[index] if own else None
            s.output.events.append(Message(sender, message[at:], mcast.ring, seq, transitional, tag))
