"""The visit of the token: only then may a node send.

The steps, in order: answer requests for packets that others miss, request packets that are missing here, send new
packets, update the token's counts (aru, fcc, backlog), pass it on, deliver. In Recovery the packets that are sent are
old ones, and the counts are those of the ring that is being formed. Recovery's own rule follows the sending.

The accelerated ring: everything the next member needs is in the token, not in the packets. Once numbers are assigned,
the token may leave before the packets that have them. The next member then sends while this one still does. So if all
members are Rondo, the last `accelerated_window` new packets follow the token (more if they are large, see
`LATE_UNITS`). Each packet is stamped with the round: the number of tokens that its sender had passed on when the packet
left. If the predecessor's stamp counts a token that has not been handled here, this token waits to be read. Requests do
not change: they never ask for packets that may not have been sent yet.

The token of an idle ring need not rotate: after seqno_unchanged_const rotations without a new packet the representative
holds it for a while at each visit. A node that then has something to send multicasts a hold cancel.

Source: Amir et al., sections 4 and 5; Corosync's order of steps and its flow control; Babay and Amir, "Fast total
ordering for modern data centers", 2016.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from zlib import crc32

from services.totem.ring import delivery, foreign, gather, hold, recovery, requests, secrecy
from services.totem.ring.events import GatherReason, NoticeCode, State
from services.totem.ring.options import MESSAGES_SHARE, SORT_QUEUE_SLOTS
from services.totem.ring.packing import Packet
from services.totem.ring.store import PacketStore
from services.totem.ring.timers import Timer
from services.totem.wire.base import U32_MASK, Reason, extend_u32
from services.totem.wire.frames import (
    ENCAPSULATED,
    PLAIN,
    SAFE,
    Mcast,
    Token,
    decode_mcast,
    encode_mcast,
    encode_token,
)

if TYPE_CHECKING:
    from services.totem.ring.state import RingState

IDLE_ROTATIONS: Final = 2
"""Rotations without a new packet after which nobody can have anything to send."""


def in_operational(s: RingState, token: Token) -> None:
    """A visit: answer, ask, send, pass the token on, deliver."""
    _take(s, token, s.delivery.regular)


def in_recovery(s: RingState, token: Token) -> None:
    """A visit at which old packets are sent. At its end the ring may be ready to be installed."""
    assert s.recovery.store is not None
    _take(s, token, s.recovery.store)


def _take(s: RingState, token: Token, store: PacketStore) -> None:
    """A token has come. If it belongs to another ring, or was here already, there is no visit."""
    if token.ring != s.membership.ring_id:
        return
    last_token_seq = s.rotation.token_seq
    token_seq = extend_u32(token.token_seq, last_token_seq)
    if token_seq <= last_token_seq:
        s.counters.token_duplicate_rx += 1
        if token_seq == last_token_seq:
            _missed(s)
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
        store.drop_unnumbered(seq)
    _observe_in(s, token, token_seq, seq, aru)
    _note_traffic(s, seq)
    s.rotation.accept(s.now_ns)
    if s.state is State.OPERATIONAL:
        s.membership.token_returned()
        s.delivery.note_stable(min(aru, s.rotation.sent_aru, store.aru))
        _release(s, store, min(aru, s.rotation.last_aru, store.delivered))
    _visit(s, token, store, token_seq, seq, aru)


def _missed(s: RingState) -> None:
    """The predecessor has sent a token again that this node handled and passed on: it has seen no sign of the token
    since. If the token is not held here, it may have been lost after this node, even while all believe that the
    representative holds it."""
    if (
        not s.hold.is_here
        and not s.options.like_corosync
        and s.rotation.pace.is_doubtful(s.now_ns - s.rotation.token_at_ns)
    ):
        resend(s)


def _check(s: RingState, token: Token, store: PacketStore, token_seq: int, seq: int, aru: int) -> Reason | None:
    """Why this token is refused; None if it is acceptable."""
    members = s.membership.new_members
    position = members.index(s.node_id)
    if token.sender != members[position - 1]:
        return Reason.UNKNOWN_MEMBER
    expected = s.rotation.token_seq + len(members) if s.rotation.token_seq >= 0 else (position - 1) % len(members)
    if token_seq != expected or aru > seq or not -1 <= seq - store.released <= SORT_QUEUE_SLOTS:
        return Reason.OUT_OF_WINDOW
    if seq < s.rotation.passed_seq:
        return Reason.OUT_OF_WINDOW  # it would assign used numbers again
    if token.aru_addr and token.aru_addr not in members:
        # Only the node that holds aru down raises it again. A node that does not exist never would.
        return Reason.BAD_STATE
    return None


def _note_traffic(s: RingState, seq: int) -> None:
    """Count rotations without a new packet. The count decides on holding the token and on looking for other rings."""
    limit = s.options.seqno_unchanged_const
    if not s.hold.visited(seq, limit, is_representative=s.is_representative):
        s.timers.stop(Timer.TOKEN_HOLD)
        if not s.secrecy.in_force or not secrecy.announces(s):
            s.timers.stop(Timer.MERGE)
            return
    foreign.begin_to_announce(s)


def resume(s: RingState) -> None:
    """The representative holds the token and has something to send: continue the visit, and send at once."""
    token = s.hold.held_token
    if token is None or token.rtr or not s.rotation.sent_aru == s.rotation.passed_seq == s.delivery.regular.aru:
        hold.wake(s)
        return
    s.hold.resume()
    s.timers.stop(Timer.TOKEN_HOLD)
    s.rotation.resume()
    _visit(s, token, s.delivery.regular, s.rotation.token_seq, s.rotation.passed_seq, s.rotation.sent_aru, resumed=True)


def _release(s: RingState, store: PacketStore, upto: int) -> None:
    """Free packets that every member has, according to the token at two visits."""
    if upto > store.released:
        store.release(upto)
        if s.observer is not None:
            s.observer("discard", {"ring": list(store.ring), "upto": upto})


def _visit(
    s: RingState, token: Token, store: PacketStore, token_seq: int, seq: int, aru: int, *, resumed: bool = False
) -> None:
    """The visit itself. `token` is changed into the token that is passed on. `resumed`: it was held here."""
    last_aru_before = s.rotation.visit(aru)
    if s.hold.idle_rotations >= IDLE_ROTATIONS and last_aru_before == aru == seq:
        # Nobody sent or missed anything, so nobody waits, whatever the token says. A forged fcc or backlog would stay
        # in the token for ever. If it said that the window is full, nobody would ever send again.
        token.fcc, token.backlog = s.flow.sent_told, s.flow.backlog_told
    s.packet_size.visited(lost=bool(token.rtr))
    requests.visited(s, token)
    window_size, max_messages = _windows(s)
    allowed = s.flow.allowance(token.fcc, token.backlog, _backlog(s), window_size, max_messages)
    if token.rtr:
        requests.drop_idle(s, token, seq, aru)
    unanswered = requests.is_unanswered(s, token, store)
    answers, resent = requests.answer(s, token, store, allowed)
    for number, frame in answers:
        s.multicast(frame)
        _observe_packet(s, number, frame, new=False)
    asked = requests.ask(s, token, store, seq)
    room = 0 if seq > store.released + SORT_QUEUE_SLOTS - allowed - window_size else allowed - resent
    count, sent, late = _send_new(s, store, seq, room)
    seq += count
    used = sent + resent
    token.fcc, token.backlog = s.flow.settle(token.fcc, token.backlog, used)
    if store.aru < aru or token.aru_addr in (s.node_id, 0):
        aru = store.aru
        token.aru_addr = 0 if aru == seq else s.node_id
    if s.state is State.OPERATIONAL:
        hold.look(s, token, seq, aru, used)
    lingers = resumed and used > 0 and hold.may_linger(s, token, used, seq, aru, _backlog(s))
    if _given_up(s, token, aru, last_aru_before) or unanswered:
        for frame in late:
            s.multicast(frame)
        if s.state is not State.GATHER:
            gather.enter(s, GatherReason.GATHER_MISSING)
        return
    s.rotation.end_visit(token_seq, seq, aru)
    install = s.state is State.RECOVERY and recovery.on_token(s, token, seq, aru)
    token.seq, token.aru = seq & U32_MASK, aru & U32_MASK
    token.token_seq = (token_seq + 1) & U32_MASK
    token.sender = s.node_id
    held = lingers or _may_hold(s, token, store, used)
    _observe_out(s, token, store, (token_seq + 1, seq, aru), (sent, resent, allowed, len(late)), asked, held)
    if held:
        s.hold.keep(token, lingers=lingers)
    _pass_on(s, token, held)
    if lingers:
        s.timers.start(Timer.TOKEN_HOLD, s.hold.linger_until_ns)
    hold.go_on_probing(s)
    for frame in late:
        s.multicast(frame)
    if install:
        recovery.finish(s)
        s.observe_books()
    elif s.state is State.OPERATIONAL:
        delivery.deliver_ready(s)
    s.observe_buffers()


def _windows(s: RingState) -> tuple[int, int]:
    """The window of a rotation, and of one visit, in packets."""
    if s.features.large_window_size > s.features.window_size and s.packet_size.is_largest:
        return s.features.large_window_size, int(s.features.large_window_size * MESSAGES_SHARE)
    return s.features.window_size, s.features.max_messages


def _may_hold(s: RingState, token: Token, store: PacketStore, used: int) -> bool:
    """Whether the representative keeps the token of an idle ring for a while."""
    if not s.hold.may_be_held or not s.is_representative or used:
        return False
    if token.rtr and s.options.cancel_token_hold_on_retransmit:
        return False
    return store.delivered == store.aru or s.state is State.RECOVERY  # else a SAFE message waits for the next visits


def _backlog(s: RingState) -> int:
    if s.state is State.RECOVERY:
        return len(s.recovery.retrans_queue)
    return (s.sync.packer if s.sync.active else s.packer).packets_queued()


def _send_new(s: RingState, store: PacketStore, seq: int, room: int) -> tuple[int, int, list[bytes]]:
    """Pack queued messages into packets, number them from seq + 1, and send them. Returns how many packets these are,
    how many packets of netmtu they count for (at most `room`), and those of them that are to follow the token."""
    packets: list[tuple[Packet, int]] = []
    units: list[int] = []
    used = 0
    while used < room and (packet := _next_packet(s, room - used)) is not None:
        packets.append(packet)
        units.append(min(room - used, s.packet_size.units(len(packet[0].payload))))
        used += units[-1]
    accelerated = s.features.accelerated and s.state is State.OPERATIONAL
    before = len(packets)
    # A single packet goes before the token. That saves the rotation that shows that every member has it.
    if accelerated and not (s.features.early_hold and before == 1):
        left = s.features.late_units if s.packet_size.is_large else s.features.accelerated_window
        while before and (left := left - units[before - 1]) >= 0:
            before -= 1
    late: list[bytes] = []
    round_before = s.rotation.tokens_sent
    for index, ((payload, tags, safe), kind) in enumerate(packets):
        number = seq + index + 1
        tokens_sent = round_before + (index >= before)
        frame = encode_mcast(
            s.node_id, number & U32_MASK, s.rotation.next_seqno(), s.membership.ring_id, payload, encapsulated=kind,
            node_id=tokens_sent & U32_MASK if accelerated else 0, guarantee=SAFE if safe else 0,
        )  # fmt: skip
        store.add(number, frame)
        s.packet_size.sent(len(payload), number)
        if tags:
            store.tag(number, tags)
            s.counters.messages_tx += len(tags)
            if s.observer is not None:
                s.observer("send", {"tags": tags, "ring": list(s.membership.ring_id), "seq": number})
        if index < before:
            s.multicast(frame)
        else:
            late.append(frame)
        _observe_packet(s, number, frame, new=True)
    s.counters.mcast_tx += len(packets)
    s.counters.mcast_after_token_tx += len(late)
    return len(packets), used, late


def _next_packet(s: RingState, room: int) -> tuple[Packet, int] | None:
    """The next packet and its encapsulation. It counts for at most `room` packets of netmtu. A packet of the old ring
    may count for more, because it cannot be made smaller."""
    if s.state is State.RECOVERY:
        old = recovery.next_packet(s)
        return None if old is None else (Packet(old, (), False), ENCAPSULATED)
    if s.sync.active:
        packet = s.sync.packer.take()
    else:
        packet = s.packer.take(min(s.packet_size.limit, room * s.options.packet_size_max))
    return None if packet is None else (packet, PLAIN)


def _given_up(s: RingState, token: Token, aru: int, last_aru_before: int) -> bool:
    """Whether this node has held aru down for so long that it must count itself as failed."""
    visits = s.rotation.count_aru(stands=aru == last_aru_before and token.aru_addr != 0)
    if visits <= s.options.fail_recv_const or token.aru_addr != s.node_id:
        return False
    s.notice(NoticeCode.FAILED_TO_RECEIVE)
    s.consensus.fail_self()
    gather.enter(s, GatherReason.FAILED_TO_RECEIVE)
    return True


def _pass_on(s: RingState, token: Token, held: bool) -> None:
    """Send the token to the next member, or hold it, and arm the timers."""
    frame = encode_token(token)
    s.rotation.pass_on(frame, s.now_ns)
    options = s.options
    s.start_timer(Timer.TOKEN, options.token_timeout_ms)
    idle = held or not s.features.early_hold or s.hold.idle_rotations >= IDLE_ROTATIONS
    s.await_token(s.rotation.pace.passed_on(s.now_ns, may_be_held=s.hold.may_be_held, idle=idle))
    if options.token_warning_percent and s.state is State.OPERATIONAL:
        s.start_timer(Timer.TOKEN_WARNING, options.token_timeout_ms * options.token_warning_percent // 100)
    if held:
        s.start_timer(Timer.TOKEN_HOLD, options.token_hold_ms)
        foreign.begin_to_announce(s)
        return
    s.hold.pass_on()
    s.timers.stop(Timer.TOKEN_HOLD)
    s.counters.orf_token_tx += 1
    s.unicast(s.membership.token_target, frame)
    if s.requests.lossy_visits and s.features.all_rondo:
        s.unicast(s.membership.token_target, frame)


def resend(s: RingState) -> None:
    """Send the token again, which may have been lost, and the hold cancel. If the token is held here, release it."""
    if s.hold.is_here:
        hold.release(s)
        return
    s.counters.token_again(s.membership.token_target)
    s.unicast(s.membership.token_target, s.rotation.last_frame)
    if s.hold.cancel_sent and not s.options.like_corosync:
        hold.cancel(s)
        if s.observer is not None:
            s.observer("hold_cancelled_again", {"ring": list(s.membership.ring_id)})
    s.await_token(s.rotation.pace.repeated())
    if s.observer is not None:
        s.observer("token_resend", {"ring": list(s.membership.ring_id), "token_seq": s.rotation.token_seq + 1})


def flush(s: RingState) -> None:
    """There is something to send: wake an idle ring."""
    if not s.hold.may_be_held:
        return
    if (s.sync.packer if s.sync.active else s.packer).packets_queued():
        resume(s) if s.hold.is_here else hold.wake(s)


def note_round(s: RingState, mcast: Mcast) -> None:
    """A new packet with a round has come. If the predecessor sent it after a token that was not handled here yet, that
    token waits to be read. (A packet that is sent again keeps its stamp, so it proves nothing.)"""
    if (
        s.membership.new_members[s.membership.new_members.index(s.node_id) - 1] != mcast.sender
        or not s.features.accelerated
    ):
        return
    if extend_u32(mcast.node_id, s.rotation.tokens_received) > s.rotation.tokens_received:
        s.rotation.announce_token()


def _observe_in(s: RingState, token: Token, token_seq: int, seq: int, aru: int) -> None:
    s.counters.orf_token_rx += 1
    if s.observer is None:
        return
    fields: dict[str, object] = {"ring": list(s.membership.ring_id), "token_seq": token_seq, "seq": seq, "aru": aru}
    s.observer("token_in", fields | {"fcc": token.fcc, "rtr": len(token.rtr), "round": s.rotation.tokens_received + 1})


def _observe_out(
    s: RingState,
    token: Token,
    store: PacketStore,
    numbers: tuple[int, int, int],
    counts: tuple[int, int, int, int],
    asked: list[int],
    held: bool,
) -> None:
    if s.observer is None:
        return
    token_seq, seq, aru = numbers
    sent, resent, allowed, late = counts
    s.observer(
        "token_out",
        {
            "ring": list(s.membership.ring_id), "token_seq": token_seq, "seq": seq, "aru": aru, "my_aru": store.aru,
            "fcc": token.fcc, "backlog": token.backlog, "new": sent, "retransmitted": resent, "allowed": allowed,
            "to": s.membership.token_target, "requested": asked, "held": held, "after_token": late,
            "round": s.rotation.tokens_sent + 1,
        },
    )  # fmt: skip


def _observe_packet(s: RingState, seq: int, frame: bytes, *, new: bool) -> None:
    if s.observer is not None:
        fields = {"ring": list(s.membership.ring_id), "seq": seq, "origin": decode_mcast(frame).origin, "new": new}
        s.observer("packet_out", fields | {"hash": crc32(frame)})
