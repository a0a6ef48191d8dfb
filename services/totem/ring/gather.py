"""Gather: the nodes agree on the members of the next ring.

Every node multicasts a join with the processors that it knows (proc) and those that it counts as failed. A node that
hears a join with something new merges it into its lists and starts again with a join of its own. A join with exactly
the same lists counts as agreement (consensus.py). When all of proc - failed agree, the lowest of them forms the ring
(Commit). A node that has not agreed when the consensus timer expires goes to the failed list. A member that is silent
altogether goes there sooner (join_failure_detector.py). Lists only grow until a ring is installed, so this ends.

Source: Amir et al., "The Totem single-ring ordering and membership protocol", section 6; Corosync's join rules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from services.totem.ring import commit as commit_state
from services.totem.ring import hold, secrecy
from services.totem.ring.consensus import Verdict
from services.totem.ring.events import GatherReason, NoticeCode, State
from services.totem.ring.options import RING_SEQUENCE_MAX
from services.totem.ring.timers import Timer
from services.totem.wire.base import Reason, RingId
from services.totem.wire.frames import PROCESSORS_MAX, Commit, CommitEntry, Join, encode_join

if TYPE_CHECKING:
    from services.totem.ring.state import RingState

_CONTINUOUS_GATHER_MAX: Final = 30
"""So many Gathers in a row without a ring are logged: a firewall is the likely cause."""


def enter(s: RingState, reason: GatherReason) -> None:
    """Start to agree on a membership, from any state."""
    left_state = s.state
    s.hold.give_up()
    s.recovery.give_up()
    s.consensus.restart(s.now_ns, resumes=left_state is not State.GATHER)
    s.timers.stop(Timer.TOKEN, Timer.TOKEN_RETRANSMIT, Timer.TOKEN_HOLD, Timer.TOKEN_WARNING, Timer.MERGE)
    s.timers.stop(Timer.SYNC, Timer.STANDSTILL)
    s.counters.gather_entered += 1
    s.counters.continuous_gather += 1
    if s.counters.continuous_gather > _CONTINUOUS_GATHER_MAX:
        s.notice(NoticeCode.CANNOT_FORM, s.counters.continuous_gather)
    s.notice(NoticeCode.GATHER, left_state, reason)
    s.start_timer(Timer.CONSENSUS, s.options.consensus_timeout_ms)
    s.enter(State.GATHER, reason)
    schedule_join(s)
    s.observe_books()


def start(s: RingState) -> None:
    """Look for others."""
    s.pause.start(s.now_ns)
    s.start_timer(Timer.PAUSE, s.pause.interval_ms)
    enter(s, GatherReason.INTERFACE_CHANGE)


def join_expired(s: RingState) -> None:
    """Repeat the join, unless the nodes that have not agreed never will.

    Either they have been silent for too long. Or they answer, but count other nodes as failed than we do. As lists only
    grow, such nodes never agree. The rings that are formed then have empty failed lists, so they merge at once.
    """
    hopeless = s.consensus.hopeless(s.now_ns)
    if not hopeless:
        schedule_join(s)
        return
    s.counters.consensus_early += 1
    _give_up(s, hopeless)
    enter(s, GatherReason.CONSENSUS_EARLY)


def fail(s: RingState, node: int) -> None:
    """Count a node that is known to be gone as failed, and make the others do so too."""
    if _is_counted_on(s, node):
        s.consensus.fail((node,))
        enter(s, GatherReason.MEMBER_DEAD)


def fail_in_operational(s: RingState, node: int) -> None:
    """Form a new ring without a node that is known to be gone."""
    if _is_counted_on(s, node):
        s.consensus.fail((node,))
        s.notice(NoticeCode.PROCESSOR_FAILED)
        enter(s, GatherReason.MEMBER_DEAD)


def _is_counted_on(s: RingState, node: int) -> bool:
    """Whether another node is known and not counted as failed."""
    return node in s.consensus.proc and node not in s.consensus.failed and node != s.node_id


def schedule_join(s: RingState) -> None:
    """Multicast a join at once, or after the random delay for large rings; repeat it every join_timeout_ms."""
    s.start_timer(Timer.JOIN, s.options.join_timeout_ms)
    if s.options.send_join_ms:
        s.start_timer(Timer.SEND_JOIN, s.jitter(s.options.send_join_ms + 1))
    else:
        send_join(s)


def send_join(s: RingState) -> None:
    """Multicast a join with this node's lists."""
    s.counters.memb_join_tx += 1
    join = Join(
        s.node_id,
        s.node_id,
        tuple(sorted(s.consensus.proc)),
        tuple(sorted(s.consensus.failed)),
        s.membership.ring_id.sequence,
        *secrecy.introduce(s),
    )
    s.multicast(encode_join(join))
    s.consensus.detector.ask(
        (node for node in s.consensus.proc if node != s.node_id), s.now_ns, s.options.join_timeout_ms
    )


def leave(s: RingState) -> None:
    """Multicast a leave. This node sends and accepts nothing afterwards."""
    s.counters.memb_join_tx += 1
    s.multicast(leave_frame(s))
    s.leave()
    secrecy.end(s)


def leave_unheard(s: RingState) -> None:
    """Stop without a leave: nobody knows this node yet."""
    s.leave()


def leave_frame(s: RingState) -> bytes:
    """A leave from this ring: node id 0 in the header, this node last in the failed list."""
    known = tuple(sorted((s.consensus.proc | set(s.membership.members)) - {s.node_id}))
    failed = (*sorted(s.consensus.failed - {s.node_id}), s.node_id)
    return encode_join(Join(0, s.node_id, known, failed, s.membership.ring_id.sequence))


def consensus_expired(s: RingState) -> None:
    """Wait for the commit token if all agreed; else count those who did not as failed."""
    s.counters.consensus_timeouts += 1
    if not _give_up_silent(s):
        s.consensus.await_anew()
        s.start_timer(Timer.TOKEN, s.options.token_timeout_ms)
        s.observe_books()
        return
    enter(s, GatherReason.CONSENSUS_TIMEOUT)


def commit_token_missed(s: RingState) -> None:
    """All agreed, but the commit token did not come: begin again without the nodes that do not agree any more."""
    s.counters.gather_token_lost += 1
    _give_up_silent(s)
    enter(s, GatherReason.CONSENSUS_EXPIRED)


def _give_up_silent(s: RingState) -> bool:
    """Count the nodes that did not agree as failed. Returns whether there were any."""
    missing = s.consensus.missing()
    if missing:
        _give_up(s, missing)
    return bool(missing)


def _give_up(s: RingState, nodes: set[int]) -> None:
    s.consensus.fail(nodes)
    s.notice(NoticeCode.CONSENSUS_FAILED, tuple(sorted(nodes)))


def check_join(s: RingState, join: Join) -> Reason | None:
    """Why this join is refused; None if it is acceptable."""
    named = {*join.proc, *join.failed, join.sender}
    if 0 in named or (not join.is_leave and (join.header_node != join.sender or join.sender not in join.proc)):
        return Reason.BAD_STATE
    if join.sender == s.node_id and (
        join.is_leave or not (s.consensus.proc.issuperset(join.proc) and s.consensus.failed.issuperset(join.failed))
    ):
        # Our own joins come back at once, with our lists. Any other join in our name is forged or old. To accept it
        # would make this node count itself as failed, and a node that has done so never agrees with anybody.
        return Reason.BAD_STATE
    if s.options.members is not None and not named <= s.options.members:
        return Reason.UNKNOWN_MEMBER
    if len(named | s.consensus.proc | s.consensus.failed) > PROCESSORS_MAX:
        return Reason.TOO_MANY_ENTRIES
    if join.ring_seq > RING_SEQUENCE_MAX:
        return Reason.SEQUENCE_JUMP
    return None


def _take_join(s: RingState, join: Join) -> bool:
    """Do what a join or leave requires in every state. Returns whether the state's own handler is to act on it."""
    s.counters.memb_join_rx += 1
    reason = check_join(s, join)
    if reason is not None:
        s.counters.drop(reason)
        return False
    if s.pause.is_paused and join.sender != s.node_id:
        s.counters.join_flushed += 1
        return False
    reason = secrecy.check_join(s, join)
    if reason is not None:
        s.counters.drop(reason)
        return False
    if join.is_leave and join.sender in s.membership.members and join.ring_seq < s.membership.old_ring_id.sequence:
        # A leave from before the sender's restart that comes late. The restarted node has been in a ring with us since.
        s.counters.drop(Reason.OLD_LEAVE)
        return False
    s.consensus.hear(join, s.now_ns)
    if join.is_leave:
        s.notice(NoticeCode.LEAVE_RECEIVED, join.sender)
    s.sequences.hear(join.ring_seq, s.now_ns)
    if s.observer is not None:
        s.observer("join_seen", {"ring_seq": join.ring_seq})
    return True


def join_in_gather(s: RingState, join: Join) -> None:
    """Form the ring if all agree now and this node is the lowest; begin anew if the join has something new."""
    if join.sender not in s.consensus.proc and comes_too_early(s, join.sender):
        return
    if not _take_join(s, join):
        return
    verdict = s.consensus.absorb(join, s.membership.members, s.now_ns)
    if verdict is Verdict.AGREED:
        form_ring(s)
    elif verdict is Verdict.CHANGED:
        _enter_on(s, join, GatherReason.MERGE_DURING_JOIN)
    else:
        s.consensus.note_dissent(join, s.now_ns)


def join_in_commit(s: RingState, join: Join) -> None:
    """Begin anew if a member sent it that is not behind, or that will refuse the commit token."""
    if not _take_join(s, join) or join.sender not in s.membership.new_members:
        return
    if join.ring_seq >= s.membership.ring_id.sequence or _waits_in_vain(s, join):
        s.consensus.absorb(join, s.membership.members, s.now_ns)
        _enter_on(s, join, GatherReason.JOIN_DURING_COMMIT)


def join_in_recovery(s: RingState, join: Join) -> None:
    """Begin anew if a member sent it that is not behind."""
    if not _take_join(s, join) or join.sender not in s.membership.new_members:
        return
    if join.ring_seq >= s.membership.ring_id.sequence:
        _note_installed(s, join)
        s.consensus.absorb(join, s.membership.members, s.now_ns)
        _enter_on(s, join, GatherReason.JOIN_DURING_RECOVERY)


def join_in_operational(s: RingState, join: Join) -> None:
    """Form a new ring, unless the join counts this node as failed, is late, or is a stranger's leave."""
    if not _take_join(s, join) or (s.node_id in join.failed and not join.is_leave):
        return
    if join.sender in s.membership.members and join.ring_seq < s.membership.ring_id.sequence:
        if not join.is_leave and join.sender != s.node_id:
            # The join is late, or its sender never got as far as this ring.
            hold.suspect(s)
        return
    if join.is_leave and join.sender not in s.membership.members:
        return
    if comes_too_early(s, join.sender):
        return
    s.consensus.absorb(join, s.membership.members, s.now_ns)
    _enter_on(s, join, GatherReason.JOIN_DURING_OPERATIONAL)


def comes_too_early(s: RingState, node: int) -> bool:
    """Whether a stranger is ignored for now, which is counted. It is ignored until all members have installed this
    ring, and for a while after several attempts to form a ring with it have failed."""
    if s.options.like_corosync:
        return False
    if s.membership.must_wait(node):
        s.counters.stranger_early += 1
        return True
    if node not in s.membership.members and s.consensus.estrangement.is_pausing(node, s.now_ns):
        s.counters.stranger_estranged += 1
        return True
    return False


def _enter_on(s: RingState, join: Join, reason: GatherReason) -> None:
    """Begin anew because of a join. If its lists are ours now, its sender has already agreed, and its join need not be
    repeated."""
    enter(s, reason)
    s.consensus.agree(join)


def _waits_in_vain(s: RingState, join: Join) -> bool:
    """Whether this join shows, in Commit, that its sender will refuse the commit token.

    It names a processor that we do not know, and its sender accepts only a commit token for all processors that it
    knows. Corosync's rule is to wait for the token time-out. If many nodes start together, such a join always comes
    while a ring is being formed, and with many nodes that time-out is long: 12 s with sixteen.
    """
    return not join.is_leave and not s.consensus.proc.issuperset(join.proc)


def _note_installed(s: RingState, join: Join) -> None:
    """Recognise that a member has already installed the ring that we are still forming, and begins anew now.

    Its failed list then lacks nodes that all members counted as failed, and we begin anew too. If we kept the old
    failed list, we would throw out the nodes with which it wants to merge. With the same timing that would repeat in
    every ring.

    This holds only in Recovery. Its sender has then been in Commit for this ring, so the sequence in its join is that
    of this ring. Earlier it may be that of another ring, and nobody can have installed ours.
    """
    if join.ring_seq == s.membership.ring_id.sequence and not s.consensus.failed.issubset(join.failed):
        s.consensus.begin_from(s.membership.new_members)


def form_ring(s: RingState) -> None:
    """All agree, and this node is the lowest: create the commit token and enter Commit."""
    addrs = s.consensus.form()
    ring = RingId(s.node_id, s.sequences.next_sequence())
    publics = secrecy.start(s, addrs)
    commit_state.enter(s, Commit(s.node_id, 0, ring, addrs, [CommitEntry() for _ in addrs], publics=publics))


def discover(s: RingState, node: int, reason: GatherReason) -> None:
    """A node of another ring was noticed: begin anew, with it."""
    s.consensus.discover(node)
    enter(s, reason)


def on_commit(s: RingState, commit: Commit) -> None:
    """If the new ring's members are exactly those who agreed: enter Commit."""
    if not commit_state.take(s, commit):
        return
    if (
        set(commit.addrs) != s.consensus.proc - s.consensus.failed
        or commit.ring.sequence <= s.membership.ring_id.sequence
    ):
        return
    if not s.sequences.admit(commit.ring.sequence, s.now_ns):
        s.counters.drop(Reason.SEQUENCE_JUMP)
        return
    if commit_state.take_secret(s, commit):
        commit_state.enter(s, commit)
