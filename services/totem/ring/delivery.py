"""Delivery: packets in the order of their numbers become messages, which go to the sync engine or to the host."""

from __future__ import annotations

from services.totem.ring import sync
from services.totem.ring.events import Message
from services.totem.ring.state import RingState
from services.totem.ring.store import PacketStore
from services.totem.wire import packets
from services.totem.wire.base import Malformed
from services.totem.wire.frames import ENCAPSULATED, MCAST_HEADER_SIZE, decode_mcast
from services.totem.wire.packets import Group


def deliver_ready(s: RingState) -> None:
    """Deliver all packets of the installed ring up to the first hole."""
    store = s.regular
    while store.delivered < store.aru:
        seq = store.delivered + 1
        store.delivered = seq
        _deliver(s, store, seq, transitional=False)


def deliver_beyond_holes(s: RingState) -> None:
    """In the transitional configuration: what remains, from senders whose own chain of messages cannot have a hole."""
    store = s.regular
    for seq in range(store.delivered + 1, store.high + 1):
        frame = store.frames.get(seq)
        if frame is not None and decode_mcast(frame).sender in s.deliver_members:
            _deliver(s, store, seq, transitional=True)
    store.delivered = store.high


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
    assembler = s.sync_assembler if s.syncing else s.assembler
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
