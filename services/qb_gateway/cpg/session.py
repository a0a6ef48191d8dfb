"""One session with cpg, without I/O: what was requested and is not settled, and up to where events have come.

Sessions outlive cpg. What it had not accepted when it died is repeated to its successor (`rondo._client.requests` keeps
the books), and events that were received before are known by their position. When totem dies its log ends: memberships
are void, what totem had accepted and not ordered has an unknown outcome, and all else is requested again, by other
numbers.
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
"""With this much on its way and not accepted nothing more is taken from a client. Besides that comes the batch that was
begun below it, and cpg takes 4 MiB."""
WINDOW_REQUESTS = 8 * 1024
_NO_LIMIT = 1 << 62
"""The window is kept before a message is taken. What was taken has to be queued in any case."""

Event = list[Any]


class Owner(Protocol):
    """Who has the session."""

    def on_progress(self) -> None:
        """Requests were accepted or answered."""

    def on_events(self, events: list[Event], last: int) -> None:
        """Events up to this position."""

    def on_new_log(self) -> None:
        """There are no memberships any more: what is wanted must be requested again, before all that is queued."""

    def on_end(self, reason: str) -> None:
        """cpg has ended the session."""


class Session:
    """Everything about one session but the envelopes."""

    def __init__(self, number: int, pid: int, uid: int, gid: int, flags: int) -> None:
        self.number = number
        self.owner: Owner | None = None
        """None while its connection is gone and only what was requested has to be brought to its end."""
        self.requests = Requests(Request)
        self.requests.window_bytes = self.requests.window_requests = _NO_LIMIT
        self.is_open = False
        self.resume: list[int] | None = None
        self.epoch = 0
        """In which it was opened last."""
        self.position = 0
        self.acknowledged = 0
        self.acknowledged_told = 0
        self.ring: list[Any] | None = None
        """[representative, sequence, members] as of `position`; None before the first ring."""
        self.messages_lost = 0
        """Own messages whose outcome is unknown."""
        self.messages_refused = 0
        self._who = [number, pid, 0, uid, gid, flags, b""]
        self._is_log_over = False

    @property
    def has_room(self) -> bool:
        """Whether another request may be taken from the client."""
        return self.requests.bytes_kept < WINDOW_BYTES and self.requests.count_kept < WINDOW_REQUESTS

    @property
    def is_idle(self) -> bool:
        """Whether all that was requested is accepted or answered."""
        return not self.requests.unsent and not self.requests.unsettled

    def row(self) -> list[Any]:
        """What OPEN says of it."""
        return [*self._who, self.resume]

    def request(self, op: Op, *arguments: Any) -> Request:
        """Queue a request other than a message."""
        return self.requests.add(op, arguments)

    def detach(self) -> None:
        """What was opened is not any more: the connection to cpg broke."""
        if self.is_open:
            self.is_open = False
            self.resume = [self.epoch, self.position, self.requests.settled_number]

    def welcome(self, epoch: int, position: int, taken: int, ring: list[Any] | None) -> None:
        """cpg has opened it."""
        if self.resume is None or self.resume[0] == epoch:
            if self.resume is None:
                self.position = self.acknowledged = position
            self.requests.repeat(taken)
        else:
            self._begin_anew(position)
        self.epoch = epoch
        self.ring = ring
        self.is_open = True
        self.acknowledged_told = 0
        self.resume = [epoch, position, self.requests.settled_number]

    def _begin_anew(self, position: int) -> None:
        if not self._is_log_over:
            # No word came of the end of that log: whatever was sent may have been accepted.
            self._give_up({n for batch in self.requests.unsettled for n in range(batch.first, batch.last + 1)})
        self._is_log_over = False
        assert self.resume is not None
        queued = [batch for batch in self.requests.take_queued() if batch.op not in (Op.JOIN, Op.LEAVE)]
        self.position = self.acknowledged = position
        if self.owner is not None:
            self.owner.on_new_log()
        # cpg was told where the numbers go on.
        self.requests.renumber(queued if self.owner is not None else [], self.resume[2])

    def lost(self, numbers: list[int]) -> None:
        """The log is over; these requests were in totem's hands."""
        if self.is_open:
            self.is_open = False
            self.resume = [self.epoch, self.position, self.requests.last_number]
        self._is_log_over = True
        self._give_up(set(numbers))

    def _give_up(self, numbers: set[int]) -> None:
        """`numbers`, and all that was accepted and has not come back, will never be known."""
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
        """Everything up to this request is accepted, or was answered."""
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
        """Totem died before it took this, so that it had no effect. A C program is not told: messages and questions are
        queued again in the next log, and its owner joins or leaves again there."""
        batch = self.requests.find(number)
        if batch is not None:
            del self.requests.unresolved[batch.first]
            self.requests.set_aside.append(batch)

    def _refused(self, number: int, code: int) -> None:
        batch = self.requests.resolve(number, error_of(code, ""))
        if batch is not None and batch.op == Op.MCAST:
            self.messages_refused += 1

    def received(self, last: int, events: list[Event]) -> None:
        """Events up to position `last`, some of which may have come before."""
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
        """Note what became of the own requests. The body of a batch is taken apart here, for all that follows."""
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
