"""What cpg keeps of one session: who it is, the events that it has not acknowledged, its requests on their way.

Events are kept as the blobs in which they are sent, until the client has handled them, so that a restarted gateway gets
them again. Requests wait here only while totem gives no credit.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final, NamedTuple

from rondo.protocol.envelope import BusError, pack, unpack
from rondo.protocol.large import array_header
from rondo.protocol.requests import Op
from services.cpg.accounts import Account

QUEUE_BYTES_MAX: Final = 8 * 1024 * 1024
"""Requests of one session that wait for credit; more are refused with TRY_AGAIN. Clients have to keep to half of this:
the difference is what they cannot know of headers."""

SEND_WINDOW_BYTES: Final = 4 * 1024 * 1024
"""Events on their way to a client that it has not acknowledged; the others wait here. One blob always goes."""


class Blob(NamedTuple):
    """Events of positions first to last, packed."""

    first: int
    last: int
    data: bytes


BLOB_OVERHEAD_BYTES: Final = 200
"""What a blob of events counts for besides its data, about what Python needs for it."""


class Queued(NamedTuple):
    """A request that waits for its turn."""

    request: int
    cost: int
    """Bytes that it counts for while it waits; of what is submitted, also of the credit."""
    guarantee: int
    note: bytes | None
    messages: list[bytes] | None
    """None: not submitted (a refusal, which is only there for its place, or a query)."""
    query: list[Any] | None
    requests: int = 1
    """How many requests this is: of a batch, `request` is the last one."""

    def is_refusal(self) -> bool:
        """Whether it is there for its place alone."""
        return self.messages is None and self.query is None


class Session:
    """One client, as cpg knows it."""

    def __init__(self, ident: int, pid: int, start_time: int, uid: int, gid: int, flags: int, note: bytes) -> None:
        self.ident = ident
        self.pid = pid
        self.start_time = start_time
        """Field 22 of /proc/PID/stat; 0 = not known."""
        self.uid = uid
        self.gid = gid
        self.flags = flags
        self.note = note
        """The gateway's own."""
        self.account = Account(uid, is_bound=False)
        """Where what it holds counts, too: its own until `charge_to`."""
        self.opened_at = 0
        """Position in the epoch at which it was opened."""
        self.floor = 0
        """No events are made for positions up to here: it was not open then, or they were made already."""
        self.epoch = 0
        """In which it was opened last."""
        self.attached = False
        """The gateway has opened it since the last hello."""
        self.closing = False
        self._row, self._row_of = b"", (-1, False)
        """`row`, and the `opened_at` and `closing` in it."""

        self.acked = 0
        self._sent: deque[Blob] = deque()
        self._waiting: deque[Blob] = deque()
        self._sent_bytes = 0
        self.event_bytes = 0
        """Of all events not acknowledged."""
        self.is_listed = False
        """It is among the `Laggards`."""
        self.warned = False
        self.is_detached = False
        """It stood still, so totem's log does not wait for it any more. Its events are only here: it is lost if this
        process is killed before it has caught up."""

        self.expected = 1
        """Number of the next request."""
        self.taken = 0
        """Last request accepted by totem."""
        self.submitted = 0
        """Last request submitted to totem."""
        self.settled_told = 0
        self.intended: set[bytes] = set()
        """The groups in which it will be once all that it requested is done. See `will_join`, `will_leave`."""
        self.queue: deque[Queued] = deque()
        self.queue_bytes = 0
        self.inflight: deque[tuple[int, int]] = deque()
        """Submitted and not seen in the log: (first, last) of each."""
        self.notes: dict[int, bytes] = {}
        """Notes of the joins and leaves among them."""

    def who(self) -> list[Any]:
        """What the gateway knows it by."""
        return [self.ident, self.pid, self.start_time, self.uid, self.gid, self.flags, self.note]

    def identify(self, pid: int, start_time: int, uid: int, gid: int, flags: int, note: bytes) -> None:
        """The gateway knows it better."""
        self.pid, self.start_time, self.uid, self.gid, self.flags, self.note = pid, start_time, uid, gid, flags, note
        self._row_of = (-1, False)

    def row(self) -> bytes:
        """Its row of the table, packed. It hardly ever changes, and thousands are needed whenever another session comes
        or goes."""
        if self._row_of[0] != self.opened_at or self._row_of[1] != self.closing:
            self._row = pack([*self.who(), self.opened_at, self.closing])
            self._row_of = (self.opened_at, self.closing)
        return self._row

    def charge_to(self, account: Account) -> None:
        """What it holds counts there from now on."""
        for each, sign in ((self.account, -1), (account, 1)):
            each.groups += sign * len(self.intended)
            each.queued_bytes += sign * self.queue_bytes
            each.event_bytes += sign * self.event_bytes
        self.account = account

    # Events.

    def put(self, blob: Blob) -> None:
        """Events for it."""
        self._waiting.append(blob)
        self._count_events(len(blob.data) + BLOB_OVERHEAD_BYTES)

    def next_blob(self) -> Blob | None:
        """What is to be sent next, if it may be sent anything."""
        if not self._waiting or (self._sent and self._sent_bytes >= SEND_WINDOW_BYTES):
            return None
        blob = self._waiting.popleft()
        self._sent.append(blob)
        self._sent_bytes += len(blob.data)
        return blob

    def resume(self, position: int) -> None:
        """Send again what comes after `position`."""
        blobs = [*self._sent, *self._waiting]
        self._sent = deque(blob for blob in blobs if blob.last <= position)
        self._waiting = deque(blob for blob in blobs if blob.last > position)
        self._sent_bytes = sum(len(blob.data) for blob in self._sent)

    def acknowledge(self, n: int) -> None:
        """Everything up to n is handled."""
        self.acked = max(self.acked, n)
        for blobs in (self._sent, self._waiting):
            while blobs and blobs[0].last <= n:
                blob = blobs.popleft()
                self._count_events(-len(blob.data) - BLOB_OVERHEAD_BYTES)
                if blobs is self._sent:
                    self._sent_bytes -= len(blob.data)

    def backlog_bytes(self) -> int:
        """Of all events not acknowledged but the largest blob: a single message of any size makes nobody slow."""
        return self.event_bytes - max(
            (len(blob.data) + BLOB_OVERHEAD_BYTES for blobs in (self._sent, self._waiting) for blob in blobs), default=0
        )

    def handled(self, head: int) -> int:
        """Position up to which nothing of it is outstanding."""
        first = self._sent[0] if self._sent else self._waiting[0] if self._waiting else None
        return head if first is None else max(self.acked, first.first - 1)

    def drop_events(self) -> None:
        """Forget all events."""
        self._sent.clear()
        self._waiting.clear()
        self._sent_bytes = 0
        self._count_events(-self.event_bytes)

    def _count_events(self, more_bytes: int) -> None:
        self.event_bytes += more_bytes
        self.account.event_bytes += more_bytes

    # Requests.

    def enqueue(self, queued: Queued) -> None:
        """One more that waits."""
        last = self.queue[-1] if self.queue else None
        if last is not None and last.is_refusal() and queued.is_refusal():
            # Refusals in a row take one place, however many they are: they cost nothing, and would have no bound.
            self.queue[-1] = Queued(queued.request, 0, 0, None, None, None, last.requests + queued.requests)
            return
        self.queue.append(queued)
        self._count_queued(queued.cost)

    def dequeue(self) -> Queued:
        """The one whose turn it is."""
        queued = self.queue.popleft()
        self._count_queued(-queued.cost)
        return queued

    def may_not_enqueue(self) -> bool:
        """Whether this session, or all sessions of its user, have too much that waits."""
        return self.queue_bytes >= QUEUE_BYTES_MAX or self.account.is_full()

    def _count_queued(self, more_bytes: int) -> None:
        self.queue_bytes += more_bytes
        self.account.queued_bytes += more_bytes

    def settled(self) -> int:
        """Every request up to this one is accepted by totem, or answered."""
        if self.taken < self.submitted:
            return self.taken
        return self.queue[0].request - self.queue[0].requests if self.queue else self.expected - 1

    def drop_queue(self) -> None:
        """Forget the requests that totem was not given."""
        self.queue.clear()
        self._count_queued(-self.queue_bytes)

    def intend(self, groups: dict[bytes, int]) -> None:
        """Set `intended` from the groups that it is in and from what is in flight."""
        self._will_be_in(set(groups))
        for note in self.notes.values():
            self.intend_as(note)

    def intend_as(self, note: bytes) -> None:
        """A join or leave is on its way, of which this is the note."""
        op, group = unpack(note)
        if op == Op.JOIN:
            self.will_join(group)
        elif op == Op.LEAVE:
            self.will_leave(group)

    def will_join(self, group: bytes) -> None:
        """It will be in this group, too."""
        if group not in self.intended:
            self.intended.add(group)
            self.account.groups += 1

    def will_leave(self, group: bytes) -> None:
        """It will not be in this group any more."""
        if group in self.intended:
            self.intended.remove(group)
            self.account.groups -= 1

    def _will_be_in(self, groups: set[bytes]) -> None:
        self.account.groups += len(groups) - len(self.intended)
        self.intended = groups

    def seen(self, request: int) -> None:
        """Its requests up to this one are in the log."""
        inflight = self.inflight
        while inflight and inflight[0][1] <= request:
            self.notes.pop(inflight.popleft()[1], None)
        if inflight and inflight[0][0] <= request:
            inflight[0] = (request + 1, inflight[0][1])

    def unseen(self) -> list[int]:
        """The requests that were submitted and not seen in the log."""
        return [request for first, last in self.inflight for request in range(first, last + 1)]

    def begin_epoch(self) -> None:
        """All that belongs to an epoch is void."""
        self.drop_events()
        self.drop_queue()
        self.acked = self.floor = self.opened_at = self.taken = self.submitted = 0
        self._will_be_in(set())
        self.inflight.clear()
        self.notes.clear()
        self.attached = False


def note_of(op: int, group: bytes) -> bytes:
    """What totem is to keep with a join or leave while it is in flight."""
    return pack([int(op), group])


def is_note(note: bytes) -> bool:
    """Whether `note` is one of `note_of`."""
    try:
        value = unpack(note)
    except BusError:
        return False
    return isinstance(value, list) and len(value) == 2 and value[0] in tuple(Op) and isinstance(value[1], bytes)


def pack_table(sessions: dict[int, Session]) -> bytes:
    """The table of sessions, for totem to keep."""
    return b"".join([array_header(len(sessions)), *[session.row() for session in sessions.values()]])


def unpack_table(table: bytes) -> list[Session]:
    """The sessions of `pack_table`. Raises `BusError`."""
    try:
        return [_restore(*row) for row in unpack(table)]
    except (TypeError, ValueError) as error:
        raise BusError(f"not a table of sessions: {error}") from None


def _restore(
    ident: int, pid: int, start_time: int, uid: int, gid: int, flags: int, note: bytes, opened_at: int, closing: bool
) -> Session:
    session = Session(ident, pid, start_time, uid, gid, flags, note)
    session.opened_at = session.floor = opened_at
    session.closing = closing
    return session
