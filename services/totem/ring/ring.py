"""The ring: what the process loop and the simulator call.

`Ring` takes datagrams, the time and messages, and leaves in `output` what is to be sent and told. It does nothing by
itself: no socket, no clock, no randomness. What happens on which event in which state is this table; the modules that
it names hold the rules.

    event            Operational        Gather              Commit               Recovery
    token lost       gather             give up silent      gather               gather (old ring's store stands)
    own-ring mcast   store, deliver     store only          dropped              store (the new ring's)
    foreign mcast    gather             gather if unknown   dropped              dropped
    merge detect     gather             gather if unknown   ignored              ignored
    join             gather             agree, or gather    gather if a member   gather if a member
    commit token     ignored            commit if agreed    recovery (2nd round) first token, once, by the rep
    token            visit              dropped             dropped              visit, with recovery's rule
    hold cancel      let the token go   noted               noted                let the token go
    consensus timer  -                  wait, or give up    -                    -
    join timer       -                  join, or give up    -                    -
    standing still   gather             -                   gather               gather
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from zlib import crc32

from services.totem.ring import capabilities, commit, delivery, gather, hold, recovery, sync, token
from services.totem.ring.counters import Counters
from services.totem.ring.events import GatherReason, NoticeCode, Output, State, Tag
from services.totem.ring.options import SEND_QUEUE_BYTES, RingOptions
from services.totem.ring.packing import Parts
from services.totem.ring.sizing import PacketSize
from services.totem.ring.state import Observer, RingState
from services.totem.ring.timers import MS, Timer
from services.totem.wire.base import Malformed, Reason, RingId, extend_u32
from services.totem.wire.frames import (
    ENCAPSULATED,
    MCAST_HEADER_SIZE,
    PROCESSORS_MAX,
    Commit,
    HoldCancel,
    Join,
    Mcast,
    Merge,
    Token,
    decode,
    encode_merge,
)
from services.totem.wire.packets import EXECUTIVE_PREFIX


class Ring:
    """One node's end of the Totem single-ring protocol.

    After every call the caller takes `output.packets`, sends them in order, and takes `output.events`. Packets to
    EVERYBODY other than mcasts, and packets to this node itself, are to be given back to `receive` without loss.
    When the caller wakes up it calls `advance` for timers that are due before it reads its sockets.
    """

    def __init__(
        self,
        options: RingOptions,
        node_id: int,
        ring_sequence: int,
        now_ns: int,
        jitter: Callable[[int], int],
        observer: Observer | None = None,
    ) -> None:
        """`ring_sequence` is what stable storage holds, 0 if nothing; `jitter(n)` gives a random integer in [0, n)."""
        self._s = RingState(options, node_id, ring_sequence, now_ns, jitter, observer)

    @property
    def output(self) -> Output:
        """Packets and events since the caller took them."""
        return self._s.output

    @property
    def counters(self) -> Counters:
        """Counts since the start."""
        return self._s.counters

    @property
    def state(self) -> State:
        """State of the membership protocol."""
        return self._s.state

    @property
    def ring_id(self) -> RingId:
        """The installed ring."""
        return self._s.membership.old_ring_id

    @property
    def members(self) -> tuple[int, ...]:
        """Members of the installed ring, ascending."""
        return self._s.membership.members

    @property
    def syncing(self) -> bool:
        """Whether the services' sync is under way; messages wait meanwhile."""
        return self._s.sync.active

    @property
    def rondo_members(self) -> tuple[int, ...]:
        """Members of the installed ring that have said that they are Rondo. Known once its sync has begun."""
        return tuple(sorted(self._s.features.announcements))

    @property
    def accelerated(self) -> bool:
        """Whether data may follow the token in this ring."""
        return self._s.features.accelerated

    @property
    def windows(self) -> tuple[int, int]:
        """Packets that may be sent per rotation, and by one node per visit of the token, in this ring."""
        return self._s.features.window_size, self._s.features.max_messages

    @property
    def packet_size(self) -> PacketSize:
        """How large packets are now, and how they are to be sent. Larger ones, which are sent again, are of a size that
        was given up because too many got lost."""
        return self._s.packet_size

    @property
    def rotation_ns(self) -> int:
        """The measured time of a rotation of the token, ns; 0 = not known (yet)."""
        return self._s.rotation.pace.rotation_ns

    @property
    def token_first(self) -> bool:
        """The token waits to be read, and has to wait for no more data: the caller reads it before anything else."""
        return self._s.rotation.token_first

    def set_receive_bytes(self, receive_bytes: int) -> None:
        """What the socket that receives data can hold, bytes as the kernel counts. Told to others in the next ring."""
        capabilities.set_receive_bytes(self._s, receive_bytes)

    def start(self, now_ns: int) -> None:
        """The interface is up: look for others."""
        s = self._s
        s.set_time(now_ns)
        s.pause.start(now_ns)
        s.start_timer(Timer.PAUSE, s.pause.interval_ms)
        gather.enter(s, GatherReason.INTERFACE_CHANGE)

    def leave(self, now_ns: int) -> None:
        """Say goodbye to the others. Nothing is sent or taken afterwards."""
        s = self._s
        s.set_time(now_ns)
        if s.state not in (State.STARTING, State.LEFT):
            gather.send_leave(s)
        s.leave()

    def last_words(self) -> bytes:
        """What `leave` would send from the ring in force, to be sent by somebody else when this process has died. It is
        good until the next ring is installed; members of other rings, and of later ones, ignore it."""
        return gather.leave_frame(self._s)

    def probe(self, now_ns: int) -> None:
        """Have the token go round if it is held: that it comes back shows that every member lives."""
        self._s.set_time(now_ns)
        if self._s.state is State.OPERATIONAL:
            hold.probe(self._s)

    def interface_changed(self, now_ns: int) -> None:
        """The address was lost or is back."""
        self._regather(now_ns, GatherReason.INTERFACE_CHANGE)

    def member_dead(self, node: int, now_ns: int) -> None:
        """The caller knows for certain that the process of this node is gone, or cannot be reached: a probe of it
        failed. The ring is formed anew at once, without it. Of a node that is not in the ring, or failed already,
        nothing comes; if it lives after all the rings merge again."""
        if self._s.state not in (State.STARTING, State.LEFT):
            self._s.set_time(now_ns)
            gather.fail(self._s, node)

    def reform(self, now_ns: int) -> None:
        """Form a new ring of the same members, so that services get a sync from its beginning."""
        self._regather(now_ns, GatherReason.REQUESTED)

    def _regather(self, now_ns: int, reason: GatherReason) -> None:
        if self._s.state not in (State.STARTING, State.LEFT):
            self._s.set_time(now_ns)
            gather.enter(self._s, reason)

    def submit(self, message: bytes, tag: Tag = None, *, safe: bool = False, parts: Parts | None = None) -> None:
        """Queue an executive message (without group header, at most MESSAGE_SIZE_MAX - 5 bytes). `tag` comes back with
        the message when it is delivered here. The caller minds `submit_space` and calls `flush` after a batch.

        `safe`: Rondo members are to deliver it, and all that follows it, only when every member of the ring has it.
        `parts`: gives the messages and tags that are sent in its stead where not all members understand it.
        """
        if parts is None:
            self._s.packer.add(EXECUTIVE_PREFIX + message, tag, safe=safe)
        else:
            self._s.packer.add(
                EXECUTIVE_PREFIX + message, tag, safe=safe,
                parts=lambda: [(EXECUTIVE_PREFIX + part, part_tag) for part, part_tag in parts()],
            )  # fmt: skip

    def submit_space(self) -> int:
        """Bytes of messages that may still be submitted; an empty queue always admits one message of any size."""
        packer = self._s.packer
        return max(0, SEND_QUEUE_BYTES - packer.bytes_queued)

    def flush(self, now_ns: int) -> None:
        """Messages were submitted: wake an idle ring."""
        self._s.set_time(now_ns)
        token.flush(self._s)

    def sync_reply(self, ring: RingId, service: int, messages: Sequence[bytes]) -> None:
        """The messages of a local service for the sync step that was asked for. A reply that is late is ignored."""
        sync.reply(self._s, ring, service, messages)
        token.flush(self._s)

    def input_drained(self, now_ns: int) -> None:
        """The caller has read its sockets empty: joins that come from now on are fresh."""
        self._s.set_time(now_ns)
        self._s.pause.drained()

    def next_deadline_ns(self) -> int | None:
        """When `advance` is to be called; None if never."""
        return self._s.timers.next_deadline_ns()

    def advance(self, now_ns: int) -> None:
        """Let the timers that are due expire, each once."""
        s = self._s
        s.set_time(now_ns)
        for _ in range(len(Timer)):
            timer = s.timers.take_due(now_ns)
            if timer is None:
                return
            _EXPIRED[timer](s)

    def receive(self, datagram: bytes, now_ns: int) -> None:
        """Take a datagram. Whatever is wrong with it is counted by reason and has no effect."""
        s = self._s
        s.set_time(now_ns)
        if s.state in (State.STARTING, State.LEFT):
            return
        try:
            frame = decode(datagram)
        except Malformed as fault:
            s.counters.drop(fault.reason)
            return
        if isinstance(frame, Mcast):
            _on_mcast(s, frame)
        elif isinstance(frame, Token):
            token.on_token(s, frame)
        elif isinstance(frame, Join):
            _on_join(s, frame)
        elif isinstance(frame, Commit):
            _on_commit(s, frame)
        elif isinstance(frame, Merge):
            _on_merge(s, frame)
        else:
            _on_hold_cancel(s, frame)


def _on_mcast(s: RingState, mcast: Mcast) -> None:
    s.counters.mcast_rx += 1
    if s.state is State.OPERATIONAL or s.state is State.GATHER:
        store = s.delivery.regular
    elif s.state is State.RECOVERY and s.recovery.store is not None:
        store = s.recovery.store
    else:
        return
    if mcast.ring != store.ring:
        _on_foreign_mcast(s, mcast)
        return
    members = s.membership.new_members if s.state is State.RECOVERY else s.membership.members
    if mcast.sender not in members:
        s.counters.drop(Reason.UNKNOWN_MEMBER)
        return
    seq = extend_u32(mcast.seq, store.high)
    if not store.in_window(seq):
        if seq <= store.released:
            _on_duplicate(s, mcast, seq)
        else:
            s.counters.drop(Reason.OUT_OF_WINDOW)
        return
    if not store.add(seq, mcast.frame):
        _on_duplicate(s, mcast, seq)
        return
    if s.observer is not None:
        wrapped = mcast.encapsulated == ENCAPSULATED
        fields = {"ring": list(store.ring), "seq": seq, "origin": mcast.sender}
        s.observer("packet_in", fields | {"hash": crc32(mcast.frame), "encapsulated": wrapped})
    if mcast.node_id:
        token.note_round(s, mcast)
    if s.state is State.OPERATIONAL:
        delivery.deliver_ready(s)
    elif s.state is State.RECOVERY and mcast.encapsulated == ENCAPSULATED:
        recovery.note_wrapped(s, mcast.frame)


def _on_duplicate(s: RingState, mcast: Mcast, seq: int) -> None:
    """Somebody missed a packet that is here; if it is one of this node's, it was lost on its way there."""
    s.counters.mcast_duplicate_rx += 1
    if mcast.sender == s.node_id:
        s.packet_size.sent_again(len(mcast.frame) - MCAST_HEADER_SIZE, seq)


def _on_foreign_mcast(s: RingState, mcast: Mcast) -> None:
    """Somebody else's ring, unless it is a late packet of the ring from which a member came."""
    if s.state is State.RECOVERY:
        return
    if (
        s.state is State.OPERATIONAL
        and mcast.sender in s.membership.members
        and mcast.ring in s.membership.ancestors.values()
    ):
        s.counters.mcast_late_rx += 1
        return
    _merge_with(s, mcast.origin, merge_detect=False)


def _merge_with(s: RingState, node: int, *, merge_detect: bool) -> None:
    if node == 0 or (s.options.members is not None and node not in s.options.members):
        s.counters.drop(Reason.UNKNOWN_MEMBER)
        return
    if len(s.consensus.proc | s.consensus.failed) >= PROCESSORS_MAX:
        s.counters.drop(Reason.TOO_MANY_ENTRIES)
        return
    gather.on_foreign(s, node, merge_detect=merge_detect)


def _on_merge(s: RingState, merge: Merge) -> None:
    s.counters.memb_merge_detect_rx += 1
    if merge.ring in (s.membership.ring_id, s.membership.old_ring_id):
        return
    if (
        s.state is State.OPERATIONAL
        and merge.sender in s.membership.members
        and merge.ring in s.membership.ancestors.values()
    ):
        return
    _merge_with(s, merge.sender, merge_detect=True)


def _on_join(s: RingState, join: Join) -> None:
    s.counters.memb_join_rx += 1
    reason = gather.check_join(s, join)
    if reason is not None:
        s.counters.drop(reason)
        return
    if s.pause.is_paused and join.sender != s.node_id:
        s.counters.join_flushed += 1
        return
    gather.on_join(s, join)


def _on_commit(s: RingState, frame: Commit) -> None:
    s.counters.memb_commit_token_rx += 1
    reason = commit.check_commit(s, frame)
    if reason is not None:
        s.counters.drop(reason)
        return
    if s.observer is not None:
        fields = {"ring": list(frame.ring), "token_seq": frame.token_seq, "index": frame.memb_index}
        s.observer("commit_in", fields)
    if s.state is State.GATHER:
        gather.on_commit(s, frame)
    elif s.state in (State.COMMIT, State.RECOVERY):
        commit.on_commit(s, frame)


def _on_hold_cancel(s: RingState, cancel: HoldCancel) -> None:
    s.counters.token_hold_cancel_rx += 1
    if cancel.sender not in s.membership.members and cancel.sender not in s.membership.new_members:
        s.counters.drop(Reason.UNKNOWN_MEMBER)
        return
    hold.on_hold_cancel(s, cancel)


def _token_lost(s: RingState) -> None:
    if s.state is State.OPERATIONAL:
        s.counters.operational_token_lost += 1
        s.notice(NoticeCode.PROCESSOR_FAILED)
        gather.enter(s, GatherReason.TOKEN_LOST_IN_OPERATIONAL)
    elif s.state is State.GATHER:
        gather.commit_token_missed(s)
    elif s.state is State.COMMIT:
        s.counters.commit_token_lost += 1
        gather.enter(s, GatherReason.TOKEN_LOST_IN_COMMIT)
    elif s.state is State.RECOVERY:
        s.counters.recovery_token_lost += 1
        gather.enter(s, GatherReason.TOKEN_LOST_IN_RECOVERY)


def _token_late(s: RingState) -> None:
    s.notice(NoticeCode.TOKEN_LATE, (s.now_ns - s.rotation.token_at_ns) // MS)


def _announce_ring(s: RingState) -> None:
    """The merge timer: only the representative speaks for its ring."""
    if s.state is State.OPERATIONAL and s.is_representative:
        s.counters.memb_merge_detect_tx += 1
        s.multicast(encode_merge(Merge(s.node_id, s.node_id, s.membership.ring_id)))
        s.start_timer(Timer.MERGE, s.options.merge_timeout_ms)


def _stands_still(s: RingState) -> None:
    s.count_standstill()
    gather.enter(s, GatherReason.STANDSTILL)


def _out_of_step(s: RingState) -> None:
    if s.state is State.OPERATIONAL:
        gather.enter(s, GatherReason.SYNC_CONTRADICTION)


def _check_pause(s: RingState) -> None:
    """The pause timer: joins that wait are stale, and nobody owed an answer, if this process was not scheduled."""
    gap_ms = s.pause.check(s.now_ns)
    s.start_timer(Timer.PAUSE, s.pause.interval_ms)
    if gap_ms:
        s.consensus.forget_answers()
        s.notice(NoticeCode.PAUSED, gap_ms)


def _let_go(s: RingState) -> None:
    hold.release(s)


_EXPIRED: dict[Timer, Callable[[RingState], None]] = {
    Timer.TOKEN: _token_lost,
    Timer.TOKEN_RETRANSMIT: token.resend,
    Timer.TOKEN_HOLD: _let_go,
    Timer.TOKEN_WARNING: _token_late,
    Timer.JOIN: gather.join_expired,
    Timer.SEND_JOIN: gather.send_join,
    Timer.CONSENSUS: gather.consensus_expired,
    Timer.MERGE: _announce_ring,
    Timer.SYNC: _out_of_step,
    Timer.STANDSTILL: _stands_still,
    Timer.PAUSE: _check_pause,
}
