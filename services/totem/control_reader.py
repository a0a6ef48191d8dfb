"""Control's side of the log: its entries, its commits, and its sync replies. No I/O.

Positions are shared with cpg's log (`services.totem.ordered_log`): the caller takes a position there for each entry. An
entry is kept until a commit covers it. A commit is accepted whole or not at all. Its state is then the one that a
restarted control begins with, and its messages go to the ring.

Until a control attaches for the first time in this epoch, nothing is kept, and the sync steps of its services are
answered empty. The first hello starts the recording with the next ring. If a ring is installed already, a new one must
be formed (`reform_wanted`), so that control sees one sync from its beginning. From then on a sync waits for control.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Final

from rondo.protocol import totem_control as wire
from rondo.protocol.envelope import ENVELOPE_BYTES_TARGET, PROTOCOL_VERSION, BusError
from rondo.protocol.totem_control import Entry

ENTRY_BYTES: Final = 512
"""The size that an entry counts for in the bound, besides a message's data: a few lists of members."""

LOG_BYTES_MAX: Final = 8 * 1024 * 1024
"""The log is full when control has this many bytes still to commit (`pressure`)."""

QUEUE_BYTES_MAX: Final = 1024 * 1024
"""A commit that would queue more than this for the ring is refused. Control itself stays below this bound."""

SyncRing = tuple[int, int]
"""(representative, sequence) of a ring."""


class ControlReader:
    """Control's reader of one epoch's log."""

    def __init__(self, epoch: int, node_id: int, pid: int) -> None:
        self.epoch = epoch
        self.node_id = node_id
        self.pid = pid
        self.recording = False
        """Whether a control has attached in this epoch and its first ring has begun."""
        self.attached_ever = False
        self.reform_wanted = False
        """The ring is to be formed anew: control has attached, and the installed ring is older than its log; or a
        program wants it so."""
        self.evicted: wire.Evict | None = None
        """Control has decided that this node must leave the ring."""
        self.bytes = 0
        """Size of all entries that are kept."""
        self.queued_bytes = 0
        """Size of the messages that wait for the ring."""
        self._ring_seen = False
        self._head = 0
        self._position = 0
        self._state: bytes | None = None
        self._commit = 0
        self._entries: deque[tuple[int, Entry]] = deque()
        """Those after `_position`."""
        self._sent = 0
        """How many of them were sent to the present control."""
        self._queue: deque[bytes] = deque()
        self._step: tuple[int, SyncRing, int] | None = None
        """(position, ring, service) of the sync step that control has to answer."""
        self._replies: list[tuple[SyncRing, int, list[bytes]]] = []
        self._welcomed = False
        self._frames: deque[bytes] = deque()
        self._committed_told = 0

    # Input from the ring.

    def message(self, n: int, sender: int, data: bytes) -> None:
        """A message of one of control's services, at position `n`."""
        if self.recording:
            self._append(n, [wire.MESSAGE, sender, sender == self.node_id, data])

    def transitional(self, n: int, members: Sequence[int], left: Sequence[int]) -> None:
        """The transitional configuration that closes a ring."""
        self.recording = self.recording or self.attached_ever
        if self.recording:
            self._append(n, [wire.TRANSITIONAL, list(members), list(left)])

    def regular(self, n: int, ring: SyncRing, members: Sequence[int]) -> None:
        """A ring was installed."""
        self._ring_seen = True
        self._step = None
        self._replies.clear()
        self.recording = self.recording or self.attached_ever
        if self.recording:
            self.reform_wanted = False
            self._append(n, [wire.REGULAR, list(ring), list(members)])

    def sync_step(self, n: int, ring: SyncRing, service: int) -> None:
        """It is the turn of one of control's services in the sync. The answer comes out of `take_sync_replies`."""
        if self.recording:
            self._append(n, [wire.SYNC_STEP, list(ring), service])
            self._step = n, ring, service
        else:
            self._replies.append((ring, service, []))

    def sync_activate(self, n: int, ring: SyncRing, service: int) -> None:
        """All members have done this service's step."""
        if self.recording:
            self._append(n, [wire.SYNC_ACTIVATE, list(ring), service])

    def sync_abort(self, n: int, ring: SyncRing) -> None:
        """The ring changed while the sync was under way."""
        self._step = None
        if self.recording:
            self._append(n, [wire.SYNC_ABORT, list(ring)])

    def sync_complete(self, n: int, ring: SyncRing) -> None:
        """The sync of all services is complete."""
        if self.recording:
            self._append(n, [wire.SYNC_COMPLETE, list(ring)])

    def _append(self, n: int, entry: Entry) -> None:
        self._head = n
        self._entries.append((n, entry))
        self.bytes += _size_of(entry)

    # Output to the ring.

    def next_message(self) -> bytes | None:
        """Remove and return the next message for the ring; None if there is none."""
        if not self._queue or not self.recording:
            return None
        data = self._queue.popleft()
        self.queued_bytes -= len(data)
        return data

    def take_sync_replies(self) -> list[tuple[SyncRing, int, list[bytes]]]:
        """Answers to sync steps: (ring, service, messages to multicast before the barrier)."""
        taken, self._replies = self._replies, []
        return taken

    # Input from control.

    def receive(self, frame: bytes) -> None:
        """Handle one envelope from control. Raises `BusError`: the caller counts it and drops the envelope."""
        envelope = wire.decode(frame)
        if isinstance(envelope, wire.Hello):
            self._hello(envelope)
        elif not self._welcomed or envelope.epoch != self.epoch:
            self._frames.append(wire.encode(wire.Again(self.epoch)))
        elif isinstance(envelope, wire.Commit):
            self._take(envelope)
        elif isinstance(envelope, wire.Evict):
            self.evicted = envelope
        else:
            raise BusError(f"{type(envelope).__name__} is not for totem")

    def _hello(self, hello: wire.Hello) -> None:
        if hello.version != PROTOCOL_VERSION:
            raise BusError(f"control speaks version {hello.version} of the bus, totem version {PROTOCOL_VERSION}")
        if not self.attached_ever:
            self.attached_ever = True
            self.reform_wanted = self._ring_seen
        self._welcomed = True
        self._sent = 0
        self._frames.clear()
        self._committed_told = self._commit
        welcome = wire.Welcome(
            self.epoch,
            PROTOCOL_VERSION,
            self.node_id,
            self.pid,
            self._head,
            self._position,
            self._state,
            self._commit,
        )
        self._frames.append(wire.encode(welcome))

    def _take(self, commit: wire.Commit) -> None:
        if commit.number != self._commit + 1:
            raise BusError(f"control sent commit {commit.number} after {self._commit}")
        last_sent = self._entries[self._sent - 1][0] if self._sent else self._position
        if not self._position <= commit.n <= last_sent:
            raise BusError(f"control committed {commit.n}, which is not between {self._position} and {last_sent}")
        size = sum(map(len, commit.messages))
        if self.queued_bytes + size > QUEUE_BYTES_MAX:
            raise BusError(f"control's messages would be more than {QUEUE_BYTES_MAX} bytes")
        self._commit = commit.number
        if commit.state is not None:
            self._state = commit.state
        while self._entries and self._entries[0][0] <= commit.n:
            self.bytes -= _size_of(self._entries.popleft()[1])
            self._sent -= 1
        self._position = commit.n
        self.reform_wanted = self.reform_wanted or commit.reform
        self._queue.extend(commit.messages)
        self.queued_bytes += size
        for n, messages in commit.replies:
            if self._step is not None and self._step[0] == n:
                self._replies.append((*self._step[1:], messages))
                self._step = None

    # Output to control.

    def next_frame(self) -> bytes | None:
        """The next envelope for control; None if there is none. An envelope that could not be sent goes back by
        `unsend`."""
        if self._welcomed and self._committed_told < self._commit:
            self._committed_told = self._commit
            self._frames.append(wire.encode(wire.Committed(self.epoch, self._commit, self.queued_bytes)))
        if self._frames:
            return self._frames.popleft()
        if not self._welcomed or self._sent == len(self._entries):
            return None
        batch: list[list[object]] = []
        size = 0
        for n, entry in islice(self._entries, self._sent, None):
            batch.append([n, entry])
            size += _size_of(entry)
            if size >= ENVELOPE_BYTES_TARGET:
                break
        self._sent += len(batch)
        return wire.encode(wire.Log(self.epoch, batch))

    def unsend(self, frame: bytes) -> None:
        """Give back the last frame of `next_frame`, because the socket had no room. `next_frame` returns it again
        first."""
        self._frames.appendleft(frame)

    @property
    def position(self) -> int:
        """Position up to which control has committed."""
        return self._position

    @property
    def pressure(self) -> float:
        """How full the log is: 0 = empty, 1 = at its bound."""
        return self.bytes / LOG_BYTES_MAX


def _size_of(entry: Entry) -> int:
    """The size that an entry counts for in the bound."""
    return ENTRY_BYTES + len(entry[3]) if entry[0] == wire.MESSAGE else ENTRY_BYTES
