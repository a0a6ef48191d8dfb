"""One session with cpg, without I/O: requests that are not settled, and the position up to which events have come.

Sessions outlive cpg. Requests that cpg had not accepted when it died are repeated to its successor
(`rondo._client.requests` tracks them), and events that were received before are known by their position. When totem
dies its log ends. Memberships are then void, requests that totem had accepted and not ordered have an unknown outcome,
and everything else is requested again under other numbers.
"""

from __future__ import annotations

from typing import Any, Protocol

from rondo._client.batches import Request
from rondo._client.requests import Requests
from rondo.errors import Disconnected, error_of
from rondo.protocol import events as bus_events
from rondo.protocol.batch import decode_body
from rondo.protocol.codes import Code
from rondo.protocol.requests import Op

WINDOW_BYTES = 2 * 1024 * 1024
"""With this much sent and not accepted, nothing more is read from a client. A batch begun below it may come on top; cpg
accepts 4 MiB."""
WINDOW_REQUESTS = 8 * 1024
_NO_LIMIT = 1 << 62
"""The window is enforced before a message is read. A message that was read must be queued in any case."""

Event = list[Any]


class Owner(Protocol):
    """The owner of a session."""

    def on_progress(self) -> None:
        """Requests were accepted or answered."""

    def on_events(self, events: list[Event], last: int) -> None:
        """Events up to this position."""

    def on_new_log(self, ring: list[Any] | None) -> None:
        """All memberships are void: those still wanted must be requested again, before all queued requests. `ring`: the
        one in which the new log goes on, of which no event will tell; None before the first."""

    def on_end(self, reason: str) -> None:
        """cpg has ended the session."""


class Session:
    """One session, except for its envelopes."""

    def __init__(self, number: int, pid: int, uid: int, gid: int, flags: int) -> None:
        self.number = number
        self.owner: Owner | None = None
        """None after its connection has ended, while remaining requests are still completed."""
        self.requests = Requests(Request)
        self.requests.window_bytes = self.requests.window_requests = _NO_LIMIT
        self.is_open = False
        self.resume: list[int] | None = None
        self.epoch = 0
        """The epoch in which it was last opened."""
        self.position = 0
        self.acknowledged = 0
        self.acknowledged_told = 0
        self.ring: list[Any] | None = None
        """[representative, sequence, members] as of `position`; None before the first ring."""
        self.messages_lost = 0
        """Own messages with an unknown outcome."""
        self.messages_refused = 0
        self._who = [number, pid, 0, uid, gid, flags, b""]
        self._is_log_over = False

    @property
    def has_room(self) -> bool:
        """True if another request may be read from the client."""
        return self.requests.bytes_kept < WINDOW_BYTES and self.requests.count_kept < WINDOW_REQUESTS

    @property
    def is_idle(self) -> bool:
        """True if all requests are accepted or answered."""
        return not self.requests.unsent and not self.requests.unsettled

    def row(self) -> list[Any]:
        """The entry for this session in OPEN."""
        return [*self._who, self.resume]

    def request(self, op: Op, *arguments: Any) -> Request:
        """Queue a request other than a message."""
        return self.requests.add(op, arguments)

    def detach(self) -> None:
        """The connection to cpg broke: the session is not open any more."""
        if self.is_open:
            self.is_open = False
            self.resume = [self.epoch, self.position, self.requests.settled_number]

    def welcome(self, epoch: int, position: int, taken: int, ring: list[Any] | None) -> None:
        """cpg has opened the session."""
        if self.resume is None or self.resume[0] == epoch:
            if self.resume is None:
                self.position = self.acknowledged = position
            self.requests.repeat(taken)
        else:
            self._begin_anew(position, ring)
        self.epoch = epoch
        self.ring = ring
        self.is_open = True
        self.acknowledged_told = 0
        self.resume = [epoch, position, self.requests.settled_number]

    def _begin_anew(self, position: int, ring: list[Any] | None) -> None:
        if not self._is_log_over:
            # The end of the old log was not announced: everything that was sent may have been accepted.
            self._give_up({n for batch in self.requests.unsettled for n in range(batch.first, batch.last + 1)})
        self._is_log_over = False
        assert self.resume is not None
        queued = [batch for batch in self.requests.take_queued() if batch.op not in (Op.JOIN, Op.LEAVE)]
        self.position = self.acknowledged = position
        if self.owner is not None:
            self.owner.on_new_log(ring)
        # cpg was told with which number requests continue.
        self.requests.renumber(queued if self.owner is not None else [], self.resume[2])

    def lost(self, numbers: list[int]) -> None:
        """The log is over; totem had these requests."""
        if self.is_open:
            self.is_open = False
            self.resume = [self.epoch, self.position, self.requests.last_number]
        self._is_log_over = True
        self._give_up(set(numbers))

    def _give_up(self, numbers: set[int]) -> None:
        """The outcome of `numbers`, and of all accepted requests that have not come back, stays unknown."""
        requests = self.requests
        queued = {id(batch) for batch in (*requests.unsettled, *requests.unsent, *requests.set_aside)}
        for batch in list(requests.unresolved.values()):
            open_numbers = range(batch.first + batch.done, batch.last + 1)
            if id(batch) in queued and numbers.isdisjoint(open_numbers):
                continue
            if batch.op == Op.MCAST:
                self.messages_lost += len(open_numbers)
            requests.fail(batch, Disconnected("its outcome is unknown: the ring process died"))

    def settled(self, number: int) -> None:
        """Every request up to this one is accepted or answered."""
        self.requests.settled(number)
        if self.owner is not None:
            self.owner.on_progress()

    def replied(self, rows: list[list[Any]]) -> None:
        """Answers and refusals, `[number, code, result]`."""
        for number, code, result in rows:
            if code == Code.OK:
                self.requests.resolve(number, result=result)
            elif code == Code.LIBRARY:
                self._set_aside(number)
            else:
                self._refused(number, code)
        if self.owner is not None:
            self.owner.on_progress()

    def _set_aside(self, number: int) -> None:
        """Totem died before it accepted this request, which had no effect. A C program is not told. Messages and
        queries are queued again in the next log, where the owner also repeats joins and leaves."""
        batch = self.requests.find(number)
        if batch is not None:
            del self.requests.unresolved[batch.first]
            self.requests.set_aside.append(batch)

    def _refused(self, number: int, code: int) -> None:
        batch = self.requests.resolve(number, error_of(code, ""))
        if batch is not None and batch.op == Op.MCAST:
            self.messages_refused += 1

    def received(self, last: int, events: list[Event]) -> None:
        """Process events up to position `last`. Some of them may have come before."""
        if last <= self.position:
            return
        if events and events[0][0] <= self.position:
            events = [event for event in events if event[0] > self.position]
        self.position = last
        for event in events:
            self._resolve(event)
        if self.owner is not None:
            self.owner.on_events(events, last)
        else:
            self.acknowledged = last

    def _resolve(self, event: Event) -> None:
        """Record the outcome of own requests. The body of a batch is decoded here, once for all later steps."""
        kind = event[1]
        if kind == bus_events.BATCH:
            event[6] = decode_body(event[6])
            if event[7] is not None:
                self.requests.resolve_messages(event[7], event[7] + len(event[6]) - 1)
        elif kind == bus_events.MESSAGE:
            if event[7] is not None:
                self.requests.resolve_messages(event[7], event[7])
        elif kind == bus_events.MEMBERSHIP:
            if event[6] is not None:
                self.requests.resolve(event[6])
        elif kind == bus_events.RING:
            self.ring = event[2:5]
        elif kind == bus_events.FAILED:
            self._refused(event[2], event[3])
