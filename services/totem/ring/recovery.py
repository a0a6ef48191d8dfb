"""Recovery: the members that come from the same old ring send each other the old packets that some of them lack.

The new ring already runs, with its own sequence numbers. It carries only old packets, each wrapped whole into a packet
of the new ring. The token's retrans_flg is set as long as any member has old packets to send. When the flag was clear
at two visits in a row, the sequence number reached then (install_seq) bounds the old packets. When every member has had
everything up to it for two rotations, the ring is installed. Source: Amir et al., section 6.4; Corosync's recovery
rules.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from services.totem.ring import install, requests
from services.totem.ring.events import NoticeCode, State
from services.totem.ring.store import PacketStore
from services.totem.ring.timers import Timer
from services.totem.wire.base import U32_MASK, Malformed, extend_u32
from services.totem.wire.frames import MCAST_HEADER_SIZE, Commit, CommitEntry, Token, decode_mcast, encode_token

if TYPE_CHECKING:
    from services.totem.ring.state import RingState

_FLAG_UNCLAIMED: Final = 5
"""After so many rotations without a packet nobody has old packets to send, whatever retrans_flg says."""


class Recovery:
    """State of the exchange of old packets. Only this module writes it."""

    __slots__ = (
        "commit", "deliver_members", "install_seq", "received_flg", "recovered", "retrans_flg_count", "retrans_queue",
        "rotation", "set_retrans_flg", "store", "token_originated",
    )  # fmt: skip

    def __init__(self, base: int) -> None:
        self.commit: Commit | None = None
        """The commit token with all its entries, as it was on its second round."""
        self.token_originated = False
        """This node is the representative and has sent the first token of the ring."""
        self.store: PacketStore | None = None
        """Packets of the ring that is being formed; None outside Recovery."""
        self.retrans_queue: deque[tuple[int, bytes]] = deque()
        """Old packets that this node sends again in the new ring, with their old numbers."""
        self.recovered: set[int] = set()
        """Numbers of old packets that some member has already sent again."""
        self.deliver_members: frozenset[int] = frozenset()
        """Senders whose old messages are delivered beyond holes."""
        self.received_flg = True
        """This node has all of the old ring that it can get."""
        self.set_retrans_flg = False
        """This node has set the token's retrans_flg."""
        self.retrans_flg_count = 0
        """Visits in a row at which retrans_flg was clear."""
        self.install_seq = base
        self.rotation = 0
        """Rotations in which everybody had everything up to `install_seq`."""

    def give_up(self) -> None:
        """The ring that was being formed is given up."""
        self.store = None
        self.retrans_queue.clear()
        self.recovered.clear()

    def close(self) -> PacketStore:
        """The ring is installed: end Recovery and return the ring's packets."""
        store = self.store
        assert store is not None
        self.give_up()
        self.received_flg = True
        return store


def enter(s: RingState, commit: Commit) -> None:
    """Second sight of the commit token: all entries are filled in."""
    base = s.options.initial_sequence
    books = s.recovery
    books.commit = commit
    books.store = PacketStore(s.membership.ring_id, base)
    books.retrans_queue.clear()
    books.recovered.clear()
    books.token_originated = False
    books.install_seq = base
    books.set_retrans_flg = False
    books.retrans_flg_count = books.rotation = 0
    s.counters.recovery_entered += 1
    s.rotation.begin_ring()
    s.hold.begin_ring(base)
    requests.begin_ring(s)
    s.membership.compare(commit)
    entries = [
        entry for node, entry in zip(commit.addrs, commit.entries, strict=True) if node in s.membership.trans_members
    ]
    books.deliver_members = frozenset()
    books.received_flg = all(entry.received_flg for entry in entries)
    if not books.received_flg:
        _queue_old_packets(s, entries)
    s.start_timer(Timer.TOKEN, s.options.token_timeout_ms)
    s.expect_progress()
    s.notice(NoticeCode.RECOVERY, s.membership.ring_id, s.membership.trans_members)
    s.enter(State.RECOVERY)


def _queue_old_packets(s: RingState, entries: list[CommitEntry]) -> None:
    """Queue every old packet that this node has and some member may lack."""
    old = s.delivery.regular
    s.recovery.deliver_members = frozenset(s.membership.trans_members)
    low = min(old.high, *(extend_u32(entry.aru, old.aru) for entry in entries))
    low = max(low, old.released)
    for seq in range(low + 1, old.high + 1):
        frame = old.frames.get(seq)
        if frame is not None:
            s.recovery.retrans_queue.append((seq, frame))


def originate_token(s: RingState) -> None:
    """The representative has the commit token back: send the first token of the ring."""
    base = s.options.initial_sequence
    s.recovery.token_originated = True
    s.recovery.set_retrans_flg = bool(s.recovery.retrans_queue)
    token = Token(
        s.node_id,
        base & U32_MASK,
        0,
        (base - 1) & U32_MASK,
        s.node_id,
        s.membership.ring_id,
        retrans_flg=int(s.recovery.set_retrans_flg),
    )
    frame = encode_token(token)
    s.rotation.originate(frame)
    s.counters.orf_token_tx += 1
    s.unicast(s.membership.token_target, frame)
    s.start_timer(Timer.TOKEN, s.options.token_timeout_ms)
    s.await_token(s.rotation.pace.passed_on(s.now_ns, may_be_held=False))


def next_packet(s: RingState) -> bytes | None:
    """The next old packet to wrap and send that no other member has sent already; None if there is none."""
    while s.recovery.retrans_queue:
        seq, frame = s.recovery.retrans_queue.popleft()
        if seq not in s.recovery.recovered:
            s.recovery.recovered.add(seq)
            return frame
    return None


def note_wrapped(s: RingState, frame: bytes) -> None:
    """A wrapped old packet has come. If it is of our old ring, this node need not send it too."""
    try:
        inner = decode_mcast(frame[MCAST_HEADER_SIZE:])
    except Malformed:
        return
    if inner.ring == s.membership.old_ring_id:
        s.recovery.recovered.add(extend_u32(inner.seq, s.delivery.regular.high))


def on_token(s: RingState, token: Token, seq: int, aru: int) -> bool:
    """Recovery's part of a token visit, after sending. True if the ring is to be installed.

    `seq` and `aru` are the token's, as integers that do not wrap.
    """
    books = s.recovery
    assert books.store is not None
    s.expect_progress()
    if books.retrans_queue:
        if not token.retrans_flg:
            token.retrans_flg = 1
            books.set_retrans_flg = True
    elif books.set_retrans_flg:
        token.retrans_flg = 0
        books.set_retrans_flg = False
    elif token.retrans_flg and s.hold.idle_rotations > _FLAG_UNCLAIMED:
        # A member that set the flag would send at each visit, and would set the flag again. Nobody else clears it.
        token.retrans_flg = 0
    books.retrans_flg_count = 0 if token.retrans_flg else books.retrans_flg_count + 1
    if books.retrans_flg_count == 2:
        books.install_seq = seq
    if books.retrans_flg_count >= 2 and not books.received_flg and books.install_seq <= books.store.aru:
        books.received_flg = True
        books.deliver_members = frozenset(s.membership.trans_members)
    if books.retrans_flg_count >= 3 and books.install_seq <= aru:
        books.rotation += 1
    else:
        books.rotation = 0
    return books.rotation == 2


def finish(s: RingState) -> None:
    """Unwrap the old packets and install the ring."""
    assert s.recovery.store is not None
    _unwrap(s, s.recovery.store)
    install.enter(s)


def _unwrap(s: RingState, recovery: PacketStore) -> None:
    """Put the old packets that came wrapped into the old ring's store."""
    old = s.delivery.regular
    for seq in sorted(recovery.frames):
        frame = recovery.frames[seq]
        try:
            outer = decode_mcast(frame)
            if outer.encapsulated != 1:
                continue
            inner = decode_mcast(outer.payload)
        except Malformed as fault:
            s.counters.drop(fault.reason)
            continue
        if inner.ring != s.membership.old_ring_id:
            continue
        old_seq = extend_u32(inner.seq, old.high)
        if old.in_window(old_seq):
            old.add(old_seq, inner.frame)
