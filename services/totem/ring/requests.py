"""Retransmission: requests for lost packets on the token, and answers to the requests of others.

Corosync requests a missing packet after it was missing at five visits of the token (miss_count_const), because it may
only be late. But there is a bound on how late it can be. Every number below the seq of the token that this node last
passed on has been sent by now: its sender has handled another token since, or sent all its packets before it passed
that token on. So at the second visit a packet missing below that seq is lost. It counts as lost at once if later
packets of the same sender have come, because the host hands in data in the order of arrival. (Each packet carries its
sender's packet count. From it one sees that all packets missing between two packets are of the same sender.)

A request that has vanished from the token's list was answered in the rotation that ends now. The answer may still be on
its way, so the next request waits one more visit. Corosync's nodes can only use the slots of the list that we leave, so
in a ring with such members we use at most half.

If the link to the requester is broken in one direction, the answer never arrives. But the first member to answer takes
the request off the list. So after a few answers without success this node leaves the request to others.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from services.totem.ring.events import NoticeCode, State
from services.totem.ring.store import PacketStore
from services.totem.wire.base import U32_MASK, RingId, extend_u32
from services.totem.wire.frames import (
    MCAST_HEADER_SIZE,
    RTR_ENTRIES_MAX,
    RTR_ENTRIES_RONDO_MAX,
    RTR_ENTRY_SIZE,
    TOKEN_SIZE,
    Token,
)

if TYPE_CHECKING:
    from services.totem.ring.state import RingState

UNANSWERED_MAX: Final = 10
"""After so many rotations without an answer, plus two for each member, nobody can answer. Flow control lets each member
send now and then. The limit is low enough to be reached before an idle ring holds its token."""

ANSWERS_IN_VAIN: Final = 3
"""After so many answers to requests for one packet another member is to answer."""

LOSSY_VISITS: Final = 16
"""For so many visits after a request for a lost packet the token is sent twice, if all members are Rondo. It is as
easily lost as a packet. To wait for a lost token costs a rotation or more; the copy costs next to nothing."""

_ANSWERS_KEPT: Final = 4096
_SENDER_AND_COUNT: Final = struct.Struct("<I4xI")
_SENDER_AT: Final = 13
"""Offset of system_from, seq, this_seqno in an mcast."""


class Requests:
    """Requests made and answered in this ring. Only this module writes it."""

    __slots__ = ("answered", "asked", "lossy_visits", "unanswered", "unanswered_seq")

    def __init__(self) -> None:
        self.asked: dict[int, int] = {}
        """For each missing packet: the last visit at which the token asked for it."""
        self.answered: dict[int, int] = {}
        """How often this node sent each packet again."""
        self.unanswered_seq = -1
        """The first packet that this node misses and requests. `unanswered`: in how many rotations nobody answered."""
        self.unanswered = 0
        self.lossy_visits = 0
        """Remaining visits for which the network counts as lossy."""


def begin_ring(s: RingState) -> None:
    """A ring is being formed: forget the requests of the old one."""
    books = s.requests
    books.asked.clear()
    books.answered.clear()
    books.lossy_visits = books.unanswered = 0


def visited(s: RingState, token: Token) -> None:
    """A token has come. A request on it shows that the network loses packets."""
    s.requests.lossy_visits = LOSSY_VISITS if token.rtr else max(0, s.requests.lossy_visits - 1)


def drop_idle(s: RingState, token: Token, seq: int, aru: int) -> None:
    """Drop requests for packets that every member has, or that were never sent: no answer would ever take them off the
    list."""
    ring = s.membership.ring_id
    token.rtr = [item for item in token.rtr if item[0] == ring and aru < extend_u32(item[1], seq) <= seq]


def is_unanswered(s: RingState, token: Token, store: PacketStore) -> bool:
    """Whether nobody can answer this node's request for the first packet that it misses.

    A packet's sender has it as long as the ring exists. So this packet does not exist: a forged token used up its
    number. Without a new ring nothing after it would ever be delivered. A rotation counts if the request is still on
    the token at its end and none was answered meanwhile. (Members that have the packet sometimes leave it to each
    other, and then nobody answers.) The same happens if a forged token says that nobody may send. A new ring cures
    both.
    """
    books = s.requests
    first = store.aru + 1
    if first != books.unanswered_seq:
        books.unanswered_seq, books.unanswered = first, 0
    if (s.membership.ring_id, first & U32_MASK) not in token.rtr:
        books.unanswered = 0
    elif first in store.missed or first in books.asked:
        books.unanswered += 1
        return books.unanswered > UNANSWERED_MAX + 2 * len(s.membership.new_members)
    return False


def answer(s: RingState, token: Token, store: PacketStore, allowed: int) -> tuple[list[tuple[int, bytes]], int]:
    """Answer requests for packets that this node has, and take them off the token. Returns the (number, frame) pairs to
    send, and how many packets of netmtu they count for."""
    answers: list[tuple[int, bytes]] = []
    used = 0
    if not token.rtr:
        return answers, used
    left: list[tuple[RingId, int]] = []
    for item in token.rtr:
        ring, number = item
        seq = extend_u32(number, store.high)
        frame = store.frames.get(seq) if ring == s.membership.ring_id and used < allowed else None
        if frame is None or _in_vain(s, seq):
            left.append(item)
        else:
            answers.append((seq, frame))
            packet_bytes = len(frame) - MCAST_HEADER_SIZE
            used += min(allowed - used, s.packet_size.units(packet_bytes))
            sender = _SENDER_AND_COUNT.unpack_from(frame, _SENDER_AT)[0]
            s.counters.packet_again(sender)
            if sender == s.node_id:
                s.packet_size.sent_again(packet_bytes, seq)
            elif s.requests.answered.get(seq, 0) == ANSWERS_IN_VAIN:
                s.packet_size.distrust()
    token.rtr = left
    return answers, used


def _in_vain(s: RingState, seq: int) -> bool:
    """Whether to leave this request to others this time."""
    if s.options.like_corosync or len(s.membership.new_members) < 3:
        return False
    answered = s.requests.answered
    times = answered.get(seq, 0) + 1
    if times > ANSWERS_IN_VAIN:
        del answered[seq]
        return True
    if len(answered) >= _ANSWERS_KEPT:
        answered.clear()
    answered[seq] = times
    return False


def ask(s: RingState, token: Token, store: PacketStore, seq: int) -> list[int]:
    """Put requests for lost packets up to `seq` on the token. Returns the new requests."""
    books, visit = s.requests, s.rotation.tokens_received
    listed = {number for ring, number in token.rtr if ring == s.membership.ring_id}
    all_rondo = s.features.all_rondo and s.state is State.OPERATIONAL
    most = RTR_ENTRIES_MAX
    if all_rondo:
        most = min(RTR_ENTRIES_RONDO_MAX, (s.options.packet_size_max - TOKEN_SIZE) // RTR_ENTRY_SIZE)
    free = most - len(token.rtr)
    if s.options.like_corosync:
        wanted = store.missing(seq, s.options.miss_count_const, RTR_ENTRIES_MAX)
        asked = [number for number in wanted if number & U32_MASK not in listed][: max(0, free)]
    elif store.aru < seq:
        lost = _lost(s, store, seq, listed)
        if not all_rondo:
            free = min(free, RTR_ENTRIES_MAX // 2 - sum(last == visit for last in books.asked.values()))
        asked = lost[: max(0, free)]
        books.asked |= dict.fromkeys(asked, visit)
    else:
        books.asked.clear()
        return []
    token.rtr.extend((s.membership.ring_id, number & U32_MASK) for number in asked)
    if asked:
        s.notice(NoticeCode.RETRANSMIT, tuple(asked))
    return asked


def _lost(s: RingState, store: PacketStore, seq: int, listed: set[int]) -> list[int]:
    """The packets that count as lost and are neither requested nor answered at present.

    Updates `Requests.asked`.
    """
    visit = s.rotation.tokens_received
    before, s.requests.asked = s.requests.asked, {}
    lost: list[int] = []
    for first, last in store.holes(seq):
        at_once = s.options.miss_count_const == 1 or _surrounded(store, first, last)
        for number in range(first, last + 1):
            at_visit = before.get(number)
            if number & U32_MASK in listed:
                at_visit = visit
            elif at_visit is None or visit - at_visit >= 2:
                at_visit = None
                if at_once or number <= s.rotation.passed_seq:
                    lost.append(number)
            if at_visit is not None:
                s.requests.asked[number] = at_visit
    return lost


def _surrounded(store: PacketStore, first: int, last: int) -> bool:
    """Whether the missing packets `first` to `last` all have the same sender as the packets before and after them."""
    before, after = store.frames.get(first - 1), store.frames.get(last + 1)
    if before is None or after is None:
        return False
    sender, count = _SENDER_AND_COUNT.unpack_from(before, _SENDER_AT)
    other, count_after = _SENDER_AND_COUNT.unpack_from(after, _SENDER_AT)
    return bool(sender == other and (count_after - count) & U32_MASK == last - first + 2)
