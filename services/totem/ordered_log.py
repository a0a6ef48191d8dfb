"""The ordered log, as totem keeps it for cpg: positions, acknowledgement, accepted requests. No I/O.

Everything that the ring delivers for cpg gets a position n = 1, 2, 3 ... within the epoch, which is one life of the
totem process. cpg acknowledges up to a position, and only then are entries freed: that is flow control and crash
recovery in one. A cpg that was killed comes back with a hello, is given its last snapshot and what follows it.

Requests of cpg are taken whole or not at all, in order, each once: the log remembers the last number taken of each
session. What is taken waits here, and in the ring's queue, until it comes back in order with its tag.

While no cpg has ever attached in this epoch there is nobody to keep a log for: entries are discarded and cpg's sync
step is answered empty. The first hello makes recording begin with the next ring; if the node is in a ring already, it
has to form a new one (`reform_wanted`), so that cpg sees one sync from its beginning.

The caller feeds in what the socket and the ring give (`receive`, `message`, `transitional`, ...) and takes out what
they want (`next_frame`, `next_message`, `take_sync_replies`).
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import Any, NamedTuple

from rondo.protocol import totem_reader
from rondo.protocol.batch import BATCH_ID, MCAST_ID, batch_length, group_of, membership_of
from rondo.protocol.envelope import ENVELOPE_BYTES_TARGET, PROTOCOL_VERSION, BusError
from rondo.protocol.totem_reader import ENTRY_OVERHEAD_BYTES, Entry, request_cost
from services.totem.outgoing import Outgoing, SyncRing, Tag

CONFIGURATION_BYTES = 4096
"""What an entry that is not a message counts for: at most a few lists of members."""

QUEUE_BYTES_MAX = 4 * 1024 * 1024
"""Accepted and not yet ordered: more is not taken until some of it is in the log (but one request always fits)."""

WAITING_BYTES_MAX = 256 * 1024
"""So much may wait for a cpg on whose node nobody is in the groups that it is for."""

CREDIT_STEPS = 8
"""Credit alone is told of once it grew by this part of what may be queued."""

_TO_GROUPS = frozenset((MCAST_ID, BATCH_ID))


class _Pending(NamedTuple):
    first: int
    """Of the requests that are still to come: of a batch there may be several."""
    note: bytes | None


class OrderedLog:
    """One epoch's log and the requests on their way into it."""

    def __init__(
        self, epoch: int, node_id: int, pid: int, bytes_max: int, queue_bytes_max: int = QUEUE_BYTES_MAX
    ) -> None:
        """`epoch`: unique for each life, e.g. time.time_ns(). `bytes_max`: bound of what is kept (log_bytes_max).
        `queue_bytes_max`: of what is accepted and not yet ordered; see `queue_bytes_max_of`."""
        self.epoch = epoch
        self.node_id = node_id
        self.pid = pid
        self.bytes_max = bytes_max
        self._queue_bytes_max = queue_bytes_max
        self.recording = False
        """Whether a cpg has attached in this epoch and its first ring has begun."""
        self.reform_wanted = False
        """A cpg has attached, and the ring in force is older than its log: the ring has to be formed anew."""
        self.head = 0
        self.bytes = 0
        """Of all entries that are here."""
        self._kept_bytes = 0
        """Of those that cpg has acknowledged and needs again if it is restarted: parts of unfinished long messages."""
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
        """By session and (last) request: accepted, and not wholly in the log."""
        self._queue: deque[Outgoing] = deque()
        self._queued_bytes = 0
        self._sync_replies: list[tuple[SyncRing, list[bytes]]] = []
        self._sync_step: tuple[int, SyncRing] | None = None

        self._welcomed = False
        self._frames: deque[bytes] = deque()
        """Ready to be sent, before any log."""
        self._due = 0
        """Last position that cpg is to be sent at once."""
        self._own_groups: dict[bytes, set[int]] = {}
        """Groups that processes of this node are in, and their pids: as cpg has it, or as it will when it has evaluated
        what it was sent."""
        self._waiting_bytes = 0
        """Of what was not sent, and need not be sent at once."""
        self._sent = 0
        """Last position sent to the present peer."""
        self._submitted = 0
        self._credit = 0
        self._credit_told = 0
        self._taken_news: dict[int, int] = {}

    # What the ring gives.

    def message(self, sender: int, data: bytes, transitional: bool, tag: Tag | None) -> None:
        """A message of service CPG in its place in the order. `tag`: as `next_message` gave it, None for others'."""
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
        """A message of this node: a process of it may have joined a group, or left."""
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
        """A batch, or one of its messages, is in the log."""
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
        """The transitional configuration that closes a ring; recording begins here once cpg has attached."""
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
        """It is cpg's turn in the sync; the answer comes out of `take_sync_replies`, at once if there is no cpg."""
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
        """A position for an entry of control's, which is not for cpg."""
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

    # What the ring wants.

    def next_message(self) -> Outgoing | None:
        """The next message to submit to the ring, in order; it is the ring's then. None: there is none now."""
        # Before recording it would come back unseen.
        return self._queue.popleft() if self._queue and self.recording else None

    def take_sync_replies(self) -> list[tuple[SyncRing, list[bytes]]]:
        """Answers to sync steps: (ring, messages to multicast before the barrier)."""
        taken, self._sync_replies = self._sync_replies, []
        return taken

    # What cpg sends.

    def receive(self, frame: bytes) -> None:
        """One envelope from cpg. Raises `BusError`: count it, and drop it."""
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
        """What stands at position n; None if it is not here (yet, or any more)."""
        index = n - self._acked - 1
        return self._entries[index] if 0 <= index < len(self._entries) else None

    # What cpg is to be sent.

    @property
    def has_taken_news(self) -> bool:
        """Whether requests were taken and cpg was not told yet."""
        return bool(self._taken_news)

    @property
    def can_wait(self) -> bool:
        """Whether what waits for cpg is a little, and concerns nobody on this node: messages of others to groups that
        no process of this node is in."""
        if not self._due <= self._sent < self.head or self._taken_news or self._frames:
            return False
        return self._waiting_bytes <= WAITING_BYTES_MAX and not self._has_credit_news()

    def next_frame(self, *, hold_taken: bool = False) -> bytes | None:
        """The next envelope for cpg; None if there is none. A frame that could not be sent is given back with
        `unsend`. `hold_taken`: tell what was taken only when there is more to tell."""
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
        """Give back the frame that `next_frame` gave last: the socket had no room. It comes again, first."""
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
        """How full the log is: 0 = empty, 1 = at its bound. From a fifth on the token is to be delayed a little, above
        one half no new requests are taken.

        Parts of unfinished long messages do not count: only the rest of these messages frees them, and to slow the ring
        down would make them wait."""
        return (self.bytes - self._kept_bytes) / self.bytes_max

    def _update_credit(self) -> None:
        if self.pressure <= 0.5:
            self._credit = max(self._credit, self._submitted + self._queue_bytes_max - self._queued_bytes)

    def _has_credit_news(self) -> bool:
        """Whether cpg is to be told of its credit: it has grown by much, or was used up."""
        self._update_credit()
        if self._credit - self._credit_told >= self._queue_bytes_max // CREDIT_STEPS:
            return True
        return self._credit_told <= self._submitted < self._credit


def queue_bytes_max_of(log_bytes_max: int, client_bytes_max: int) -> int:
    """How much may be queued by this configuration. After a stall of the ring all of it is ordered at once, and the
    client that sent it gets it back at once: it must not be taken for one that is too slow."""
    return min(QUEUE_BYTES_MAX, log_bytes_max // 4, client_bytes_max // 2)


def _size_of(entry: Entry) -> int:
    """What an entry counts for in the bound."""
    return len(entry[4]) + ENTRY_OVERHEAD_BYTES if entry[0] == totem_reader.MESSAGE else CONFIGURATION_BYTES
