"""The ordered log that totem keeps for cpg: positions, acknowledgement, accepted requests. No I/O.

Everything that the ring delivers for cpg gets a position n = 1, 2, 3 ... within the epoch. An epoch is one run of the
totem process. cpg acknowledges up to a position, and only then are entries freed. So the acknowledgement serves both
flow control and crash recovery. A restarted cpg says hello, and gets its last snapshot and the entries after it.

Requests of cpg are accepted whole or not at all, in order, and once each: the log remembers the last accepted number of
each session. An accepted request waits here, and in the ring's queue, until it is delivered with its tag.

Until a cpg attaches for the first time in this epoch, entries are discarded, and cpg's sync step is answered empty. The
first hello starts the recording with the next ring. If a ring is installed already, a new one must be formed
(`reform_wanted`), so that cpg sees one sync from its beginning.

The caller feeds in `receive`, `message`, `transitional` and so on, and takes out the output for socket and ring
(`next_frame`, `next_message`, `take_sync_replies`).
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import Any, Final, NamedTuple

from rondo.protocol import totem_reader
from rondo.protocol.batch import BATCH_ID, MCAST_ID, batch_length, group_of, membership_of
from rondo.protocol.envelope import ENVELOPE_BYTES_TARGET, PROTOCOL_VERSION, BusError
from rondo.protocol.totem_reader import ENTRY_OVERHEAD_BYTES, Entry, request_cost
from services.totem.outgoing import Outgoing, SyncRing, Tag

CONFIGURATION_BYTES: Final = 4096
"""The size that an entry other than a message counts for: at most a few lists of members."""

QUEUE_BYTES_MAX: Final = 4 * 1024 * 1024
"""Most bytes that are accepted and not yet ordered. (One request always fits.)"""

WAITING_BYTES_MAX: Final = 256 * 1024
"""Most bytes that may wait for cpg if no process of this node is in their groups."""

CREDIT_STEPS: Final = 8
"""cpg is told of more credit once it grew by this fraction of the queue's bound."""

_TO_GROUPS: Final = frozenset((MCAST_ID, BATCH_ID))


class _Pending(NamedTuple):
    first: int
    """The first request that is not ordered yet. A batch has several."""
    note: bytes | None


class OrderedLog:
    """One epoch's log, and the accepted requests that are not ordered yet."""

    def __init__(
        self, epoch: int, node_id: int, pid: int, bytes_max: int, queue_bytes_max: int = QUEUE_BYTES_MAX
    ) -> None:
        """`epoch`: unique for each run, e.g. time.time_ns(). `bytes_max`: bound of the log (log_bytes_max).
        `queue_bytes_max`: bound of the requests that are not ordered yet; see `queue_bytes_max_of`."""
        self.epoch = epoch
        self.node_id = node_id
        self.pid = pid
        self.bytes_max = bytes_max
        self._queue_bytes_max = queue_bytes_max
        self.recording = False
        """Whether a cpg has attached in this epoch and its first ring has begun."""
        self.reform_wanted = False
        """A cpg has attached, and the installed ring is older than its log: a new ring has to be formed."""
        self.head = 0
        self.bytes = 0
        """Size of all entries that are kept."""
        self._kept_bytes = 0
        """Size of the entries that cpg has acknowledged but needs after a restart: parts of unfinished long
        messages."""
        self.peer_pid = 0
        """Process id of the cpg that said hello last; 0 = none yet."""
        self._attached_ever = False
        self._ring_seen = False

        self._acked = 0
        self._entries: deque[Entry] = deque()
        """Entries acked + 1 ... head."""
        self._kept: dict[int, Entry] = {}
        """Entries up to acked that cpg asked to keep."""
        self._core: bytes | None = None
        self._sessions: bytes | None = None

        self._taken: dict[int, int] = {}
        self._pending: dict[tuple[int, int], _Pending] = {}
        """Accepted requests that are not completely ordered, by session and (last) request."""
        self._queue: deque[Outgoing] = deque()
        self._queued_bytes = 0
        self._sync_replies: list[tuple[SyncRing, list[bytes]]] = []
        self._sync_step: tuple[int, SyncRing] | None = None

        self._welcomed = False
        self._frames: deque[bytes] = deque()
        """Envelopes to send before any log."""
        self._due = 0
        """Last position that is to be sent to cpg without delay."""
        self._own_groups: dict[bytes, set[int]] = {}
        """Groups with members on this node, and their pids: what cpg knows, or will know from the entries it was
        sent."""
        self._waiting_bytes = 0
        """Size of the unsent entries that can wait."""
        self._sent = 0
        """Last position sent to the present peer."""
        self._submitted = 0
        self._credit = 0
        self._credit_told = 0
        self._taken_news: dict[int, int] = {}

    # Input from the ring.

    def message(self, sender: int, data: bytes, transitional: bool, tag: Tag | None) -> None:
        """A message of service CPG was delivered. `tag`: from `next_message`; None for messages of other nodes."""
        if tag is not None:
            if len(tag) == 3:
                session, request, following = tag
                self._queued_bytes -= len(data) + totem_reader.MESSAGE_OVERHEAD_BYTES
                if following == 0:
                    self._pending.pop((session, request), None)
            else:
                tag = self._part_of_batch(tag)
        if self.recording:
            self.head += 1
            self._entries.append([totem_reader.MESSAGE, sender, tag, transitional, data])
            self.bytes += len(data) + ENTRY_OVERHEAD_BYTES
            if tag is None and data[:4] in _TO_GROUPS and group_of(data) not in self._own_groups:
                self._waiting_bytes += len(data) + ENTRY_OVERHEAD_BYTES
            else:
                self._due = self.head
        if sender == self.node_id:
            self._note_membership(data)

    def _note_membership(self, data: bytes) -> None:
        """A message of this node was delivered: note if a process joined or left a group."""
        found = membership_of(data)
        if found is None:
            return
        joins, group, pid = found
        if joins:
            self._own_groups.setdefault(group, set()).add(pid)
        elif pids := self._own_groups.get(group):
            pids.discard(pid)
            if not pids:
                del self._own_groups[group]

    def _part_of_batch(self, tag: tuple[int, int, int, int, int]) -> tuple[int, int, int]:
        """A batch, or one of its messages, was delivered."""
        session, request, following, last, cost = tag
        self._queued_bytes -= cost
        if request == last:
            self._pending.pop((session, last), None)
        else:
            self._pending[session, last] = _Pending(request + 1, None)
        return session, request, following

    def transitional(
        self, old_ring: SyncRing, new_ring: SyncRing, members: tuple[int, ...], left: tuple[int, ...]
    ) -> None:
        """The transitional configuration that closes a ring. If cpg has attached, recording begins here."""
        self.recording = self.recording or self._attached_ever
        if self.recording:
            self._append([totem_reader.TRANSITIONAL, list(old_ring), list(new_ring), list(members), list(left)])

    def regular(self, ring: SyncRing, members: tuple[int, ...], joined: tuple[int, ...], left: tuple[int, ...]) -> None:
        """A ring was installed."""
        self._ring_seen = True
        self._sync_step = None
        self._sync_replies.clear()
        self.recording = self.recording or self._attached_ever
        if self.recording:
            self.reform_wanted = False
            self._append([totem_reader.REGULAR, list(ring), list(members), list(joined), list(left)])

    def sync_step(self, ring: SyncRing) -> None:
        """It is cpg's turn in the sync. The answer comes out of `take_sync_replies`, at once if there is no cpg."""
        if self.recording:
            self._append([totem_reader.SYNC_STEP, list(ring)])
            self._sync_step = self.head, ring
        else:
            self._sync_replies.append((ring, []))

    def sync_activate(self, ring: SyncRing) -> None:
        """All members have done cpg's step."""
        self._note(totem_reader.SYNC_ACTIVATE, ring)

    def sync_abort(self, ring: SyncRing) -> None:
        """The ring changed while cpg's sync was under way."""
        self._sync_step = None
        self._note(totem_reader.SYNC_ABORT, ring)

    def sync_complete(self, ring: SyncRing) -> None:
        """The sync of all services is complete."""
        self._note(totem_reader.SYNC_COMPLETE, ring)

    def skip(self) -> int:
        """Take a position for an entry of control, which cpg skips."""
        self.head += 1
        if self._attached_ever:
            self._entries.append([totem_reader.SKIP])
            self.bytes += CONFIGURATION_BYTES
            self._waiting_bytes += CONFIGURATION_BYTES
        else:
            self._acked = self._sent = self.head
        return self.head

    @property
    def attached_ever(self) -> bool:
        """Whether a cpg has said hello in this epoch."""
        return self._attached_ever

    def _note(self, kind: int, ring: SyncRing) -> None:
        if self.recording:
            self._append([kind, list(ring)])

    def _append(self, entry: Entry) -> None:
        self.head += 1
        self._due = self.head
        self._entries.append(entry)
        self.bytes += _size_of(entry)

    # Output to the ring.

    def next_message(self) -> Outgoing | None:
        """Remove and return the next message for the ring; None if there is none."""
        # Before the recording starts, the delivered message would not be logged.
        return self._queue.popleft() if self._queue and self.recording else None

    def take_sync_replies(self) -> list[tuple[SyncRing, list[bytes]]]:
        """Answers to sync steps: (ring, messages to multicast before the barrier)."""
        taken, self._sync_replies = self._sync_replies, []
        return taken

    # Input from cpg.

    def receive(self, frame: bytes) -> None:
        """Handle one envelope from cpg. Raises `BusError`: the caller counts it and drops the envelope."""
        envelope = totem_reader.decode(frame)
        if isinstance(envelope, totem_reader.Hello):
            self._hello(envelope)
        elif not self._welcomed or envelope.epoch != self.epoch:
            self._frames.append(totem_reader.encode(totem_reader.Again(self.epoch)))
        elif isinstance(envelope, totem_reader.Submit):
            self._submit(envelope.requests)
        elif isinstance(envelope, totem_reader.Ack):
            self._acknowledge(envelope)
        elif isinstance(envelope, totem_reader.SyncReply):
            if self._sync_step is not None and self._sync_step[0] == envelope.n:
                self._sync_replies.append((self._sync_step[1], envelope.messages))
                self._sync_step = None
        else:
            raise BusError(f"{type(envelope).__name__} is not for totem")

    def _hello(self, hello: totem_reader.Hello) -> None:
        if hello.version != PROTOCOL_VERSION:
            raise BusError(f"cpg speaks version {hello.version} of the bus, totem version {PROTOCOL_VERSION}")
        if not self._attached_ever:
            self._attached_ever = True
            self.reform_wanted = self._ring_seen
        self.peer_pid = hello.pid
        self._welcomed = True
        self._sent = self._acked
        self._due = self.head
        self._submitted = 0
        self._credit = self._credit_told = 0
        self._update_credit()
        self._credit_told = self._credit
        self._taken_news.clear()
        self._frames.clear()
        welcome = totem_reader.Welcome(
            self.epoch,
            PROTOCOL_VERSION,
            self.node_id,
            self.pid,
            self.head,
            self._acked,
            self._core,
            self._sessions,
            [[session, request] for session, request in self._taken.items()],
            [
                [session, request, pending.note]
                for (session, last), pending in self._pending.items()
                for request in range(pending.first, last + 1)
            ],
            self._credit,
        )
        self._frames.append(totem_reader.encode(welcome))
        self._frames.extend(self._kept_frames())

    def _kept_frames(self) -> list[bytes]:
        frames: list[bytes] = []
        batch: list[list[object]] = []
        size = 0
        for n, entry in self._kept.items():
            batch.append([n, entry])
            size += _size_of(entry)
            if size >= ENVELOPE_BYTES_TARGET:
                frames.append(totem_reader.encode(totem_reader.Kept(self.epoch, batch)))
                batch, size = [], 0
        if batch:
            frames.append(totem_reader.encode(totem_reader.Kept(self.epoch, batch)))
        return frames

    def _submit(self, requests: list[list[Any]]) -> None:
        taken, queue = self._taken, self._queue
        for session, request, guarantee, note, messages in requests:
            cost = request_cost(messages)
            if self._submitted >= self._credit:
                raise BusError("cpg submitted more than its credit")
            self._submitted += cost
            if request > taken.get(session, 0):
                taken[session] = request
                self._queued_bytes += cost
                following = len(messages)
                if following == 1 and messages[0][:4] == BATCH_ID:
                    first = request - batch_length(messages[0]) + 1
                    self._pending[session, request] = _Pending(first, note)
                    queue.append(Outgoing(guarantee, messages[0], (session, request, 0, request, cost)))
                    following = 0
                elif following:
                    self._pending[session, request] = _Pending(request, note)
                for data in messages[:following]:
                    following -= 1
                    queue.append(Outgoing(guarantee, data, (session, request, following)))
            self._taken_news[session] = taken[session]

    def _acknowledge(self, ack: totem_reader.Ack) -> None:
        if not self._acked <= ack.n <= self._sent:
            raise BusError(f"cpg acknowledged {ack.n}, which is not between {self._acked} and {self._sent}")
        kept: dict[int, Entry] = {}
        for n in ack.kept:
            entry = self._kept.get(n) if n <= self._acked else self.entry(n)
            if n > ack.n or entry is None:
                raise BusError(f"cpg asked to keep {n}, which is not there")
            kept[n] = entry
        for _ in range(ack.n - self._acked):
            self.bytes -= _size_of(self._entries.popleft())
        kept_bytes = sum(map(_size_of, kept.values()))
        self.bytes += kept_bytes - self._kept_bytes
        self._kept, self._kept_bytes = kept, kept_bytes
        self._acked = ack.n
        if ack.core is not None:
            self._core = ack.core
        if ack.sessions is not None:
            self._sessions = ack.sessions
        for session in ack.gone:
            self._taken.pop(session, None)

    def entry(self, n: int) -> Entry | None:
        """The entry at position n; None if it is not here (yet, or any more)."""
        index = n - self._acked - 1
        return self._entries[index] if 0 <= index < len(self._entries) else None

    # Output to cpg.

    @property
    def has_taken_news(self) -> bool:
        """Whether requests were accepted and cpg has not been told yet."""
        return bool(self._taken_news)

    @property
    def can_wait(self) -> bool:
        """Whether the unsent entries are few, and all are messages of others to groups without members on this node."""
        if not self._due <= self._sent < self.head or self._taken_news or self._frames:
            return False
        return self._waiting_bytes <= WAITING_BYTES_MAX and not self._has_credit_news()

    def next_frame(self, *, hold_taken: bool = False) -> bytes | None:
        """The next envelope for cpg; None if there is none. If it cannot be sent, give it to `unsend`. `hold_taken`:
        send no Taken alone."""
        if not self._frames and self._welcomed:
            tell = self._taken_news and not (hold_taken and self._sent == self.head)
            if self._has_credit_news() or tell:
                self._frames.append(
                    totem_reader.encode(
                        totem_reader.Taken(
                            self.epoch, [[session, last] for session, last in self._taken_news.items()], self._credit
                        )
                    )
                )
                self._taken_news.clear()
                self._credit_told = self._credit
        if self._frames:
            return self._frames.popleft()
        if not self._welcomed or self._sent == self.head:
            return None
        first = self._sent + 1
        batch: list[Entry] = []
        size = 0
        for entry in islice(self._entries, self._sent - self._acked, None):
            batch.append(entry)
            size += _size_of(entry)
            if size >= ENVELOPE_BYTES_TARGET:
                break
        self._sent += len(batch)
        self._waiting_bytes = 0
        return totem_reader.encode(totem_reader.Log(self.epoch, first, batch))

    def unsend(self, frame: bytes) -> None:
        """Give back the last frame of `next_frame`, because the socket had no room. `next_frame` returns it again
        first."""
        self._frames.appendleft(frame)

    def lost_peer(self) -> None:
        """cpg's connection is gone: nothing is sent until the next hello."""
        self._welcomed = False
        self._frames.clear()

    # Bounds.

    @property
    def acked(self) -> int:
        """Position up to which cpg has acknowledged."""
        return self._acked

    @property
    def sent(self) -> int:
        """Position up to which cpg was sent the log."""
        return self._sent

    @property
    def pressure(self) -> float:
        """How full the log is: 0 = empty, 1 = at its bound. From a fifth on the token is delayed; above a half no new
        requests are accepted. Parts of unfinished long messages do not count: only the rest of these messages frees
        them, and a slower ring would delay that rest."""
        return (self.bytes - self._kept_bytes) / self.bytes_max

    def _update_credit(self) -> None:
        if self.pressure <= 0.5:
            self._credit = max(self._credit, self._submitted + self._queue_bytes_max - self._queued_bytes)

    def _has_credit_news(self) -> bool:
        """Whether to tell cpg its credit: it has grown by much, or the credit that cpg knows of is used up."""
        self._update_credit()
        if self._credit - self._credit_told >= self._queue_bytes_max // CREDIT_STEPS:
            return True
        return self._credit_told <= self._submitted < self._credit


def queue_bytes_max_of(log_bytes_max: int, client_bytes_max: int) -> int:
    """The bound of the queue. After a stall of the ring, all that is queued is ordered, and comes back to its sender,
    at once. That must not make the sender count as a slow client."""
    return min(QUEUE_BYTES_MAX, log_bytes_max // 4, client_bytes_max // 2)


def _size_of(entry: Entry) -> int:
    """The size that an entry counts for in the bound."""
    return len(entry[4]) + ENTRY_OVERHEAD_BYTES if entry[0] == totem_reader.MESSAGE else CONFIGURATION_BYTES
