"""Recovery: the members of the old ring that stay together exchange what some of them lack of it.

The new ring is already running, with its own sequence numbers, but carries only old packets, each wrapped whole into
a packet of the new ring. The token's retrans_flg is set as long as anybody still has something to send. When it was
clear for two visits, the number reached then (install_seq) bounds what was sent; when everybody has everything up to
it for two rotations, the ring is installed. Source: Amir et al., section 6.4; Corosync's recovery rules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.totem.ring import install, requests
from services.totem.ring.events import NoticeCode, State
from services.totem.ring.store import PacketStore
from services.totem.ring.timers import Timer
from services.totem.wire.base import U32_MASK, Malformed, extend_u32
from services.totem.wire.frames import MCAST_HEADER_SIZE, Commit, CommitEntry, Token, decode_mcast, encode_token

if TYPE_CHECKING:
    from services.totem.ring.state import RingState

_FLAG_UNCLAIMED = 5
"""Rotations without a packet after which nobody has old packets to send, whatever retrans_flg says."""


def enter(s: RingState, commit: Commit) -> None:
    """Second sight of the commit token: all entries are filled in."""
    base = s.options.initial_sequence
    s.commit = commit
    s.counters.recovery_entered += 1
    s.recovery = PacketStore(s.ring_id, base)
    s.retrans_queue.clear()
    s.recovered.clear()
    s.begin_ring()
    requests.begin_ring(s)
    s.discard_tokens = False
    s.token_originated = False
    s.last_aru = base - 1
    s.last_seq = base - 1
    s.seq_unchanged = 0
    s.aru_count = 0
    s.passed_seq = base
    s.token_held = s.holding = s.cancel_sent = False
    s.install_seq = base
    s.set_retrans_flg = False
    s.retrans_flg_count = 0
    s.rotation = 0
    entries = dict(zip(commit.addrs, commit.entries, strict=True))
    s.ancestors = {node: entry.ring for node, entry in entries.items()}
    s.trans_members = tuple(n for n in commit.addrs if n in s.members and entries[n].ring == s.old_ring_id)
    s.deliver_members = frozenset()
    s.received_flg = all(entries[n].received_flg for n in s.trans_members)
    if not s.received_flg:
        _queue_old_packets(s, [entries[n] for n in s.trans_members])
    s.start_timer(Timer.TOKEN, s.options.token_timeout_ms)
    s.expect_progress()
    s.notice(NoticeCode.RECOVERY, s.ring_id, s.trans_members)
    s.enter(State.RECOVERY)


def _queue_old_packets(s: RingState, entries: list[CommitEntry]) -> None:
    """Everything that some member may lack and this one has is sent again."""
    old = s.regular
    s.deliver_members = frozenset(s.trans_members)
    low = min(old.high, *(extend_u32(entry.aru, old.aru) for entry in entries))
    low = max(low, old.released)
    for seq in range(low + 1, old.high + 1):
        frame = old.frames.get(seq)
        if frame is not None:
            s.retrans_queue.append((seq, frame))


def originate_token(s: RingState) -> None:
    """The representative has the commit token back: send the first token of the ring."""
    base = s.options.initial_sequence
    s.set_retrans_flg = bool(s.retrans_queue)
    token = Token(
        s.node_id,
        base & U32_MASK,
        0,
        (base - 1) & U32_MASK,
        s.node_id,
        s.ring_id,
        retrans_flg=int(s.set_retrans_flg),
    )
    s.last_frame = encode_token(token)
    s.counters.orf_token_tx += 1
    s.unicast(s.token_target, s.last_frame)
    s.tokens_sent = 1
    s.start_timer(Timer.TOKEN, s.options.token_timeout_ms)
    s.await_token(s.pace.passed_on(s.now_ns, may_be_held=False))


def next_packet(s: RingState) -> bytes | None:
    """The next old packet to be wrapped and sent; None if there is none that somebody else has not sent already."""
    while s.retrans_queue:
        seq, frame = s.retrans_queue.popleft()
        if seq not in s.recovered:
            s.recovered.add(seq)
            return frame
    return None


def note_wrapped(s: RingState, frame: bytes) -> None:
    """A wrapped old packet has come: if it is of our old ring we need not send it too."""
    try:
        inner = decode_mcast(frame[MCAST_HEADER_SIZE:])
    except Malformed:
        return
    if inner.ring == s.old_ring_id:
        s.recovered.add(extend_u32(inner.seq, s.regular.high))


def on_token(s: RingState, token: Token, seq: int, aru: int) -> bool:
    """Recovery's part of a token visit, after sending. True if the ring is to be installed.

    `seq` and `aru` are the token's, as integers that do not wrap.
    """
    assert s.recovery is not None
    s.expect_progress()
    if s.retrans_queue:
        if not token.retrans_flg:
            token.retrans_flg = 1
            s.set_retrans_flg = True
    elif s.set_retrans_flg:
        token.retrans_flg = 0
        s.set_retrans_flg = False
    elif token.retrans_flg and s.seq_unchanged > _FLAG_UNCLAIMED:
        # Who has set the flag sends at each visit, and would set it again. Nobody else ever clears it.
        token.retrans_flg = 0
    s.retrans_flg_count = 0 if token.retrans_flg else s.retrans_flg_count + 1
    if s.retrans_flg_count == 2:
        s.install_seq = seq
    if s.retrans_flg_count >= 2 and not s.received_flg and s.install_seq <= s.recovery.aru:
        s.received_flg = True
        s.deliver_members = frozenset(s.trans_members)
    if s.retrans_flg_count >= 3 and s.install_seq <= aru:
        s.rotation += 1
    else:
        s.rotation = 0
    return s.rotation == 2


def finish(s: RingState) -> None:
    """Unwrap the old packets and install the ring."""
    assert s.recovery is not None
    _unwrap(s, s.recovery)
    install.enter(s)


def _unwrap(s: RingState, recovery: PacketStore) -> None:
    """Put the old packets that came wrapped into the old ring's store."""
    old = s.regular
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
        if inner.ring != s.old_ring_id:
            continue
        old_seq = extend_u32(inner.seq, old.high)
        if old.in_window(old_seq):
            old.add(old_seq, inner.frame)
