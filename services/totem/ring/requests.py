"""Packets that were lost on their way: asking for them on the token, and answering those who ask.

Corosync asks for a hole when it was seen at five visits of the token (miss_count_const), because a packet may only be
late. How late it can be is known, though. What had a number when this node passed the token on last has been sent since
then: every member that gave out such a number has handled another token, or was done with sending when it passed that
one on. So a hole below that number is a loss, at the second visit. And it is one at once if later packets of the same
sender have come, for the host hands in data in the order in which it came. (Packets carry a count of their sender's
packets, from which one sees that all that is missing between two of them is that sender's.)

What was on the token's list and is there no more was answered in the rotation that ends now; its answer may still be on
its way, so it is asked for again at the next visit only. Corosync's nodes have as many slots of the list as we leave
them: with such members we take no more than half.

An answer that does not arrive will not, if the link is broken in one direction, and who answers first takes the request
off the list. So after a few answers in vain we leave it to others.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

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

UNANSWERED_MAX = 10
"""Rotations, and two more for each member, in which nobody answers a request, after which nobody can: flow control
lets each member send now and then. Few enough to be over before an idle ring holds its token."""

ANSWERS_IN_VAIN = 3
"""Answers to requests for one packet after which another member is to answer."""

LOSSY_VISITS = 16
"""Visits after a request for a lost packet at which the token leaves twice, where all members are Rondo: it is as
easily lost, and waiting for it costs a rotation or more, the copy next to nothing."""

_ANSWERS_KEPT = 4096
_SENDER_AND_COUNT = struct.Struct("<I4xI")
_SENDER_AT = 13
"""Of an mcast: system_from, seq, this_seqno."""


class Requests:
    """What was asked for and answered in this ring. Only this module writes it."""

    __slots__ = ("answered", "asked", "lossy_visits", "unanswered", "unanswered_seq")

    def __init__(self) -> None:
        self.asked: dict[int, int] = {}
        """For each hole that a token asked for, the last visit at which it did."""
        self.answered: dict[int, int] = {}
        """How often a packet was sent again."""
        self.unanswered_seq = -1
        """The first packet that this node misses and asks for; and in how many rotations nobody answered."""
        self.unanswered = 0
        self.lossy_visits = 0
        """Visits for which the network is still taken to lose packets."""


def begin_ring(s: RingState) -> None:
    """A ring is being formed, in which nothing was asked for yet."""
    books = s.requests
    books.asked.clear()
    books.answered.clear()
    books.lossy_visits = books.unanswered = 0


def visited(s: RingState, token: Token) -> None:
    """A token has come: whether somebody misses a packet says whether the network loses any."""
    s.requests.lossy_visits = LOSSY_VISITS if token.rtr else max(0, s.requests.lossy_visits - 1)


def drop_idle(s: RingState, token: Token, seq: int, aru: int) -> None:
    """Leave out requests for what everybody has or nobody has sent: no answer would ever take them off the list."""
    ring = s.membership.ring_id
    token.rtr = [item for item in token.rtr if item[0] == ring and aru < extend_u32(item[1], seq) <= seq]


def is_unanswered(s: RingState, token: Token, store: PacketStore) -> bool:
    """Whether this node asks in vain for the first packet that it misses: nobody has it.

    Its sender has it as long as the ring exists, so there is none: a forged token has given its number away. Without a
    new ring nothing behind it would ever be delivered. A rotation counts at the end of which the request is still on
    the token, if none was answered meanwhile: those who have the packet leave it to each other now and then, and then
    nobody answers. If a token says that nobody may send for ever, that is so too, and a new ring mends it.
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
    """Packets that others miss and this node has, with their numbers, and for how many packets of netmtu they count;
    their requests are taken off the token."""
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
            if _SENDER_AND_COUNT.unpack_from(frame, _SENDER_AT)[0] == s.node_id:
                s.packet_size.sent_again(packet_bytes, seq)
            elif s.requests.answered.get(seq, 0) == ANSWERS_IN_VAIN:
                s.packet_size.distrust()
    token.rtr = left
    s.counters.mcast_retx += len(answers)
    return answers, used


def _in_vain(s: RingState, seq: int) -> bool:
    """Whether this request is to be left to others, this time."""
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
    """Put on the token what is lost here, up to its `seq`; what was asked for now."""
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
    """What is lost for certain, or was missing at the visit before too, and is neither asked for nor answered just now.

    Brings `Requests.asked` up to date.
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
    """Whether all from `first` to `last` are packets of the one sender whose packets stand before and after them."""
    before, after = store.frames.get(first - 1), store.frames.get(last + 1)
    if before is None or after is None:
        return False
    sender, count = _SENDER_AND_COUNT.unpack_from(before, _SENDER_AT)
    other, count_after = _SENDER_AND_COUNT.unpack_from(after, _SENDER_AT)
    return bool(sender == other and (count_after - count) & U32_MASK == last - first + 2)
