"""The visit of the token: the one moment at which a node may send.

In this order: answer requests for packets that others miss, ask for those that are missing here, send new packets,
bring the token's books up to date (aru, fcc, backlog), pass it on, deliver. In Recovery what is sent are old packets
and the books are those of the ring that is being formed; Recovery's own rule follows the sending.

An idle ring need not spin: after seqno_unchanged_const rotations without traffic the representative holds the token
for a while at each visit. A node that then has something to send multicasts a hold cancel.
Source: Amir et al., sections 4 and 5; Corosync's order of steps and its flow control.
"""

from __future__ import annotations

from zlib import crc32

from services.totem.ring import delivery, gather, hold, recovery
from services.totem.ring.events import GatherReason, NoticeCode, State
from services.totem.ring.options import SORT_QUEUE_SLOTS
from services.totem.ring.state import RingState
from services.totem.ring.store import PacketStore
from services.totem.ring.timers import Timer
from services.totem.wire.base import U32_MASK, Reason, RingId, extend_u32
from services.totem.wire.frames import (
    ENCAPSULATED,
    PLAIN,
    RTR_ENTRIES_MAX,
    HoldCancel,
    Token,
    decode_mcast,
    encode_mcast,
    encode_token,
)

UNANSWERED_MAX = 10
"""Rotations, and two more for each member, in which nobody answers a request, after which nobody can: flow control
lets each member send now and then. Few enough to be over before an idle ring holds its token."""

IDLE_ROTATIONS = 2
"""Rotations without a new packet after which nobody can have anything to send."""


def on_token(s: RingState, token: Token) -> None:
    """A token has come."""
    store = s.recovery if s.state is State.RECOVERY else s.regular
    if s.discard_tokens or store is None or token.ring != s.ring_id:
        return
    token_seq = extend_u32(token.token_seq, s.token_seq)
    if token_seq <= s.token_seq:
        s.counters.token_duplicate_rx += 1
        return
    seq = extend_u32(token.seq, store.high)
    aru = extend_u32(token.aru, seq)
    reason = _check(s, token, store, token_seq, seq, aru)
    if reason is not None:
        s.counters.drop(reason)
        if reason is not Reason.UNKNOWN_MEMBER:
            hold.suspect(s)
        return
    s.timers.stop(Timer.STANDSTILL)
    if seq < store.high:
        _drop_unnumbered(store, seq)
    _observe_in(s, token, token_seq, seq, aru)
    _note_traffic(s, seq)
    if s.state is State.OPERATIONAL:
        _release(s, store, min(aru, s.last_aru, store.delivered))
    _visit(s, token, store, token_seq, seq, aru)


def _check(s: RingState, token: Token, store: PacketStore, token_seq: int, seq: int, aru: int) -> Reason | None:
    """Why this token cannot be the ring's; None if it can."""
    members = s.new_members
    position = members.index(s.node_id)
    if token.sender != members[position - 1]:
        return Reason.UNKNOWN_MEMBER
    expected = s.token_seq + len(members) if s.token_seq >= 0 else (position - 1) % len(members)
    if token_seq != expected or aru > seq or not -1 <= seq - store.released <= SORT_QUEUE_SLOTS:
        return Reason.OUT_OF_WINDOW
    if seq < s.passed_seq:
        return Reason.OUT_OF_WINDOW  # it would give away numbers again that have been used
    if token.aru_addr and token.aru_addr not in members:
        # Only the node that holds aru down lifts it again; one that does not exist never would.
        return Reason.BAD_STATE
    return None


def _drop_unnumbered(store: PacketStore, seq: int) -> None:
    """Packets with numbers that no token has given away are not of this ring's members."""
    for number in range(seq + 1, store.high + 1):
        store.frames.pop(number, None)
    store.high = seq
    store.aru = min(store.aru, seq)
    store.delivered = min(store.delivered, seq)


def _note_traffic(s: RingState, seq: int) -> None:
    """Count rotations without traffic, which decide on holding the token and on looking for other rings."""
    if seq == s.last_seq:
        if Timer.MERGE not in s.timers.deadlines_ns and s.state is State.OPERATIONAL:
            s.start_timer(Timer.MERGE, s.options.merge_timeout_ms)
        s.seq_unchanged += 1
    else:
        s.timers.stop(Timer.MERGE, Timer.TOKEN_HOLD)
        s.seq_unchanged = 0
    s.last_seq = seq
    limit = s.options.seqno_unchanged_const
    s.token_held = s.seq_unchanged > limit or (s.seq_unchanged == limit and not s.is_representative)
    s.cancel_sent = False


def _release(s: RingState, store: PacketStore, upto: int) -> None:
    """Free what every member has: the token said so at two visits."""
    if upto > store.released:
        store.release(upto)
        if s.observer is not None:
            s.observer("discard", {"ring": list(store.ring), "upto": upto})


def _visit(s: RingState, token: Token, store: PacketStore, token_seq: int, seq: int, aru: int) -> None:
    """The visit itself; `token` becomes the token that is passed on."""
    options = s.options
    last_aru_before, s.last_aru = s.last_aru, aru
    if s.seq_unchanged >= IDLE_ROTATIONS and last_aru_before == aru == seq:
        # Nobody sent or missed anything, so nobody waits, whatever the token says. What is wrong in its books would
        # never leave them by itself, and if it says that the window is full nobody would ever send again.
        token.fcc, token.backlog = s.flow.sent_told, s.flow.backlog_told
    allowed = s.flow.allowance(token.fcc, token.backlog, _backlog(s), options.window_size, options.max_messages)
    if token.rtr:
        _drop_idle_requests(s, token, seq, aru)
    unanswered = _is_unanswered(s, token, store, allowed)
    resent = _answer_requests(s, token, store, allowed)
    asked = _request_missing(s, token, store, seq)
    room = allowed - resent
    if seq > store.released + SORT_QUEUE_SLOTS - allowed - options.window_size:
        room = 0
    sent = _send_new(s, store, seq, room)
    seq += sent
    token.fcc, token.backlog = s.flow.settle(token.fcc, token.backlog, sent + resent)
    if store.aru < aru or token.aru_addr in (s.node_id, 0):
        aru = store.aru
        token.aru_addr = 0 if aru == seq else s.node_id
    if _given_up(s, token, aru, last_aru_before):
        return
    if unanswered:
        gather.enter(s, GatherReason.GATHER_MISSING)
        return
    s.token_seq = token_seq
    s.passed_seq = seq
    install = s.state is State.RECOVERY and recovery.on_token(s, token, seq, aru)
    token.seq, token.aru = seq & U32_MASK, aru & U32_MASK
    token.token_seq = (token_seq + 1) & U32_MASK
    token.sender = s.node_id
    held = s.token_held and s.is_representative and not sent + resent
    if token.rtr and options.cancel_token_hold_on_retransmit:
        held = False
    _observe_out(s, token, store, (token_seq + 1, seq, aru), (sent, resent, allowed), asked, held)
    _pass_on(s, token, held)
    if install:
        recovery.finish(s)
        s.observe_books()
    elif s.state is State.OPERATIONAL:
        delivery.deliver_ready(s)
    s.observe_buffers()


def _drop_idle_requests(s: RingState, token: Token, seq: int, aru: int) -> None:
    """Leave out requests for what everybody has or nobody has sent: no answer would ever take them off the list."""
    ring = s.ring_id
    token.rtr = [item for item in token.rtr if item[0] == ring and aru < extend_u32(item[1], seq) <= seq]


def _is_unanswered(s: RingState, token: Token, store: PacketStore, allowed: int) -> bool:
    """Whether this node asks in vain for the first packet that it misses: nobody has it.

    Its sender has it as long as the ring exists, so there is none: a forged token has given its number away. Without a
    new ring nothing behind it would ever be delivered. A rotation counts at the end of which the request is still on
    the token. If a token says that nobody may send for ever, that is so too, and a new ring mends it.
    """
    first = store.aru + 1
    if first != s.unanswered_seq:
        s.unanswered_seq, s.unanswered = first, 0
    if first in store.missed and (s.ring_id, first & U32_MASK) in token.rtr:
        s.unanswered += 1
        return s.unanswered > UNANSWERED_MAX + 2 * len(s.new_members)
    return False


def _backlog(s: RingState) -> int:
    if s.state is State.RECOVERY:
        return len(s.retrans_queue)
    return (s.sync_packer if s.syncing else s.packer).packets_queued()


def _answer_requests(s: RingState, token: Token, store: PacketStore, allowed: int) -> int:
    """Send again what others miss and this node has."""
    if not token.rtr:
        return 0
    resent = 0
    left: list[tuple[RingId, int]] = []
    for item in token.rtr:
        ring, number = item
        seq = extend_u32(number, store.high)
        frame = store.frames.get(seq) if ring == s.ring_id and resent < allowed else None
        if frame is None:
            left.append(item)
            continue
        s.multicast(frame)
        resent += 1
        _observe_packet(s, seq, frame, new=False)
    token.rtr = left
    s.counters.mcast_retx += resent
    return resent


def _request_missing(s: RingState, token: Token, store: PacketStore, seq: int) -> list[int]:
    """Ask for what has been missing here long enough."""
    room = RTR_ENTRIES_MAX - len(token.rtr)
    missing = store.missing(seq, s.options.miss_count_const, RTR_ENTRIES_MAX)
    if not missing or room <= 0:
        return []
    listed = {number for ring, number in token.rtr if ring == s.ring_id}
    asked = [number for number in missing if number & U32_MASK not in listed][:room]
    token.rtr.extend((s.ring_id, number & U32_MASK) for number in asked)
    if asked:
        s.notice(NoticeCode.RETRANSMIT, tuple(asked))
    return asked


def _send_new(s: RingState, store: PacketStore, seq: int, room: int) -> int:
    """Send up to `room` packets of what waits, numbered from seq + 1."""
    sent = 0
    while sent < room:
        packet = _next_packet(s)
        if packet is None:
            break
        payload, kind, tags = packet
        sent += 1
        number = seq + sent
        s.this_seqno = (s.this_seqno + 1) & U32_MASK
        frame = encode_mcast(s.node_id, number & U32_MASK, s.this_seqno, s.ring_id, payload, encapsulated=kind)
        store.add(number, frame)
        if tags:
            store.tags[number] = tags
            s.counters.messages_tx += len(tags)
            if s.observer is not None:
                s.observer("send", {"tags": tags, "ring": list(s.ring_id), "seq": number})
        s.multicast(frame)
        _observe_packet(s, number, frame, new=True)
    s.counters.mcast_tx += sent
    return sent


def _next_packet(s: RingState) -> tuple[bytes, int, tuple[object, ...]] | None:
    """(payload, encapsulation, tags) of what is to be sent next."""
    if s.state is State.RECOVERY:
        old = recovery.next_packet(s)
        return None if old is None else (old, ENCAPSULATED, ())
    packet = (s.sync_packer if s.syncing else s.packer).take()
    return None if packet is None else (packet[0], PLAIN, packet[1])


def _given_up(s: RingState, token: Token, aru: int, last_aru_before: int) -> bool:
    """Whether this node has been holding the ring back for so long that it must count itself as failed."""
    if aru == last_aru_before and token.aru_addr != 0:
        s.aru_count += 1
    else:
        s.aru_count = 0
    if s.aru_count <= s.options.fail_recv_const or token.aru_addr != s.node_id:
        return False
    s.notice(NoticeCode.FAILED_TO_RECEIVE)
    s.failed.add(s.node_id)
    s.failed_to_receive = True
    gather.enter(s, GatherReason.FAILED_TO_RECEIVE)
    return True


def _pass_on(s: RingState, token: Token, held: bool) -> None:
    """Send the token to the next member, or hold it, and arm the timers."""
    s.last_frame = encode_token(token)
    s.token_at_ns = s.now_ns
    options = s.options
    s.start_timer(Timer.TOKEN, options.token_timeout_ms)
    s.start_timer(Timer.TOKEN_RETRANSMIT, options.token_retransmit_ms)
    if options.token_warning_percent and s.state is State.OPERATIONAL:
        s.start_timer(Timer.TOKEN_WARNING, options.token_timeout_ms * options.token_warning_percent // 100)
    if held:
        s.holding = True
        s.start_timer(Timer.TOKEN_HOLD, options.token_hold_ms)
        return
    s.holding = False
    s.timers.stop(Timer.TOKEN_HOLD)
    s.counters.orf_token_tx += 1
    s.unicast(s.token_target, s.last_frame)


def resend(s: RingState) -> None:
    """The retransmit timer: whatever was passed on last may have been lost."""
    if s.holding:
        hold.release(s)
        return
    s.counters.token_retransmitted += 1
    s.unicast(s.token_target, s.last_frame)
    s.start_timer(Timer.TOKEN_RETRANSMIT, s.options.token_retransmit_ms)
    if s.observer is not None and s.state is not State.COMMIT:
        s.observer("token_resend", {"ring": list(s.ring_id), "token_seq": s.token_seq + 1})


def flush(s: RingState) -> None:
    """There is something to send: wake an idle ring."""
    if s.state is not State.OPERATIONAL or not s.token_held:
        return
    if (s.sync_packer if s.syncing else s.packer).packets_queued():
        hold.wake(s)


def on_hold_cancel(s: RingState, cancel: HoldCancel) -> None:
    """Somebody has something to send."""
    if cancel.ring != s.ring_id:
        return
    s.seq_unchanged = 0
    if s.is_representative and s.state in (State.OPERATIONAL, State.RECOVERY):
        s.token_held = False
        hold.release(s)


def _observe_in(s: RingState, token: Token, token_seq: int, seq: int, aru: int) -> None:
    s.counters.orf_token_rx += 1
    if s.observer is None:
        return
    fields: dict[str, object] = {"ring": list(s.ring_id), "token_seq": token_seq, "seq": seq, "aru": aru}
    s.observer("token_in", fields | {"fcc": token.fcc, "rtr": len(token.rtr)})


def _observe_out(
    s: RingState,
    token: Token,
    store: PacketStore,
    numbers: tuple[int, int, int],
    counts: tuple[int, int, int],
    asked: list[int],
    held: bool,
) -> None:
    if s.observer is None:
        return
    token_seq, seq, aru = numbers
    sent, resent, allowed = counts
    s.observer(
        "token_out",
        {
            "ring": list(s.ring_id), "token_seq": token_seq, "seq": seq, "aru": aru, "my_aru": store.aru,
            "fcc": token.fcc, "backlog": token.backlog, "new": sent, "retransmitted": resent, "allowed": allowed,
            "to": s.token_target, "requested": asked, "held": held,
        },
    )  # fmt: skip


def _observe_packet(s: RingState, seq: int, frame: bytes, *, new: bool) -> None:
    if s.observer is not None:
        fields = {"ring": list(s.ring_id), "seq": seq, "origin": decode_mcast(frame).origin, "new": new}
        s.observer("packet_out", fields | {"hash": crc32(frame)})
