"""Commit: the commit token goes twice round the ring that is being formed.

In the first round every member writes its old ring and how much of that ring it has into the commit token. In the
second round every member reads all entries and enters Recovery. The representative starts the commit token. When it has
come back for the second time, the representative sends the first token of the ring. Source: Amir et al., section 6;
Corosync's commit token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.totem.ring import recovery, secrecy
from services.totem.ring.events import NoticeCode, State, StoreSequence
from services.totem.ring.options import RING_SEQUENCE_MAX
from services.totem.ring.timers import Timer
from services.totem.wire.base import U32_MASK, Reason, extend_u32
from services.totem.wire.frames import Commit, CommitEntry, encode_commit

if TYPE_CHECKING:
    from services.totem.ring.state import RingState


def check_commit(s: RingState, commit: Commit) -> Reason | None:
    """Why this commit token is refused; None if it is acceptable."""
    addrs = commit.addrs
    if s.node_id not in addrs or list(addrs) != sorted(set(addrs)) or commit.ring.representative not in addrs:
        return Reason.BAD_STATE
    if s.options.members is not None and not s.options.members.issuperset(addrs):
        return Reason.UNKNOWN_MEMBER
    if commit.ring.sequence > RING_SEQUENCE_MAX:
        return Reason.SEQUENCE_JUMP
    if commit.memb_index < len(addrs) and s.state is State.GATHER and addrs[commit.memb_index] != s.node_id:
        return Reason.BAD_INDEX
    return None


def enter(s: RingState, commit: Commit) -> None:
    """First sight of the commit token: fill in our entry and pass it on."""
    if commit.memb_index >= len(commit.addrs) or commit.addrs[commit.memb_index] != s.node_id:
        s.counters.drop(Reason.BAD_INDEX)
        return
    mine = s.delivery.regular
    entry = CommitEntry(
        s.membership.old_ring_id, mine.aru & U32_MASK, mine.delivered & U32_MASK, int(mine.aru == mine.high)
    )
    commit.entries[commit.memb_index] = entry
    _clear_outdated(commit, mine.aru)
    commit.memb_index += 1
    secrecy.stir(s)
    s.membership.commit_to(commit.ring, commit.addrs, commit.addrs[commit.memb_index % len(commit.addrs)])
    s.sequences.commit_to(commit.ring.sequence)
    s.flow.restart()
    s.counters.commit_entered += 1
    s.timers.stop(Timer.JOIN, Timer.SEND_JOIN, Timer.CONSENSUS)
    s.start_timer(Timer.TOKEN, s.options.token_timeout_ms)
    s.expect_progress()
    s.emit(StoreSequence(commit.ring.sequence))
    s.notice(NoticeCode.COMMIT, commit.ring, commit.addrs)
    s.enter(State.COMMIT)
    send(s, commit)
    s.observe_books()


def _clear_outdated(commit: Commit, near: int) -> None:
    """Clear received_flg of every member that does not have the highest aru of its old ring: it lacks packets."""
    filled = commit.memb_index + 1
    ring = commit.entries[filled - 1].ring
    alike = [i for i in range(filled) if commit.entries[i].ring == ring]
    highest = max(extend_u32(commit.entries[i].aru, near) for i in alike)
    for i in alike:
        entry = commit.entries[i]
        if entry.received_flg and extend_u32(entry.aru, near) < highest:
            commit.entries[i] = CommitEntry(entry.ring, entry.aru, entry.high_delivered, 0)


def send(s: RingState, commit: Commit) -> None:
    """Pass the commit token on and keep it for retransmission."""
    commit.sender = s.node_id
    commit.token_seq = (commit.token_seq + 1) & U32_MASK
    secrecy.give(s, commit)
    frame = encode_commit(commit)
    s.rotation.pass_commit(frame)
    s.counters.memb_commit_token_tx += 1
    s.unicast(s.membership.token_target, frame)
    s.start_timer(Timer.TOKEN_RETRANSMIT, s.options.token_retransmit_ms)
    if s.observer is not None:
        fields = {
            "ring": list(commit.ring),
            "token_seq": commit.token_seq,
            "index": commit.memb_index,
            "to": s.membership.token_target,
        }
        s.observer("commit_out", fields)


def resend(s: RingState) -> None:
    """Send the commit token again: it may have been lost."""
    s.counters.token_again(s.membership.token_target)
    s.unicast(s.membership.token_target, s.rotation.last_frame)
    s.start_timer(Timer.TOKEN_RETRANSMIT, s.options.token_retransmit_ms)


def take(s: RingState, commit: Commit) -> bool:
    """Count a commit token that has come. Returns whether it is acceptable."""
    s.counters.memb_commit_token_rx += 1
    reason = check_commit(s, commit)
    if reason is not None:
        s.counters.drop(reason)
        return False
    if s.observer is not None:
        fields = {"ring": list(commit.ring), "token_seq": commit.token_seq, "index": commit.memb_index}
        s.observer("commit_in", fields)
    return True


def take_secret(s: RingState, commit: Commit) -> bool:
    """Take the ring's secret from the commit token, if it needs one. Returns False, and counts it, if the secret is
    bad."""
    taken = secrecy.take(s, commit)
    if not taken:
        s.counters.drop(Reason.BAD_SECRET)
    return taken


def counted(s: RingState, commit: Commit) -> None:
    """Count it. An unacceptable one counts as refused."""
    take(s, commit)


def in_commit(s: RingState, commit: Commit) -> None:
    """If all entries are filled in (second round): enter Recovery and pass it on."""
    if take(s, commit) and _is_filled(s, commit) and take_secret(s, commit):
        secrecy.form(s, commit)
        recovery.enter(s, commit)
        send(s, commit)
        secrecy.forget(s)
        s.observe_books()


def in_recovery(s: RingState, commit: Commit) -> None:
    """The representative has it back: send the first token of the ring, once."""
    if not take(s, commit) or not _is_filled(s, commit):
        return
    if not s.is_representative or s.recovery.token_originated:
        return
    if s.recovery.commit is None or commit.token_seq < s.recovery.commit.token_seq:
        return  # a repetition of the end of the first round: duplicated, or sent again by the last member's timer
    recovery.originate_token(s)


def _is_filled(s: RingState, commit: Commit) -> bool:
    """Whether this is the commit token of the ring that is being formed, with all entries filled in."""
    membership = s.membership
    return (
        commit.ring == membership.ring_id
        and commit.addrs == membership.new_members
        and commit.memb_index == len(commit.addrs)
    )
