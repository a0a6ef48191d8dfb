"""Requests on their way: numbered, sent in batches, sent again after a broken connection, and resolved.

A request is *queued* here until SETTLED says that it was *accepted*; up to then it is kept, because a new connection
must repeat it. What is kept is bounded by the window that the gateway grants: that is the flow control that a sender
feels. A message is *ordered* once it comes back as an event; a join or leave is done by the event that it causes, a
query by its reply.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

from rondo.bus.envelope import ENVELOPE_BYTES_TARGET
from rondo.bus.requests import REQUESTS_PER_BLOB_MAX, Op, encode_requests
from rondo.errors import Error, TryAgain

ORDERED = (Op.JOIN, Op.LEAVE, Op.MCAST)
REQUEST_BYTES = 320
"""What a request counts for in the window besides its payload: the executive adds a header and keeps books of it."""


class Request:
    """What became of one request. The fronts add to it how to wait for that.

    `number` is what events and `UnknownOutcome` name it by; it may still change while the request is not accepted.
    """

    __slots__ = ("arguments", "error", "group", "is_accepted", "is_done", "number", "op", "result", "size")

    def __init__(self, number: int, op: int, arguments: tuple[Any, ...], group: str | None, size: int) -> None:
        self.number = number
        self.op = op
        self.arguments = arguments
        self.group = group
        self.size = size
        self.is_accepted = False
        self.is_done = False
        self.error: Error | None = None
        """Why it failed, if it did."""
        self.result: Any = None
        """The answer to a query."""

    @property
    def is_ordered(self) -> bool:
        """Whether it is of a kind that comes back as an event in the order."""
        return self.op in ORDERED


RequestFactory = Callable[[int, int, tuple[Any, ...], "str | None", int], Request]


class Requests:
    """All requests of one session that are not resolved or not settled yet."""

    def __init__(self, factory: RequestFactory) -> None:
        self.window_bytes = 0
        self.window_requests = 0
        self.unresolved: dict[int, Request] = {}
        self.unsent: deque[Request] = deque()
        self.unsettled: deque[Request] = deque()
        """Sent, and to be sent again if the connection breaks."""
        self.set_aside: list[Request] = []
        """Refused without effect because totem died: to be queued again in the next epoch."""
        self.bytes_kept = 0
        self.last_number = 0
        self.settled_number = 0
        self._ordered_number = 0
        self._factory = factory

    def has_room(self, payload_bytes: int) -> bool:
        """Whether the window has room for one more; a single request has room whatever its size."""
        kept = len(self.unsent) + len(self.unsettled)
        if kept == 0:
            return self.window_requests > 0
        return kept < self.window_requests and self.bytes_kept + payload_bytes + REQUEST_BYTES <= self.window_bytes

    def add(self, op: int, arguments: tuple[Any, ...], group: str | None = None, payload_bytes: int = 0) -> Request:
        """Queue a request; it goes out with the next `blobs`."""
        self.last_number = number = self.last_number + 1
        request = self._factory(number, op, arguments, group, payload_bytes + REQUEST_BYTES)
        self.unsent.append(request)
        self.bytes_kept += request.size
        self.unresolved[number] = request
        return request

    def blobs(self) -> list[tuple[int, int, bytes]]:
        """First number, last number and blob of all that this connection has not carried yet."""
        blobs = []
        batch: list[list[Any]] = []
        batch_bytes = 0
        while self.unsent:
            request = self.unsent.popleft()
            self.unsettled.append(request)
            if batch and (batch_bytes + request.size > ENVELOPE_BYTES_TARGET or len(batch) >= REQUESTS_PER_BLOB_MAX):
                blobs.append((batch[0][0], batch[-1][0], encode_requests(batch)))
                batch, batch_bytes = [], 0
            batch.append([request.number, request.op, *request.arguments])
            batch_bytes += request.size
        if batch:
            blobs.append((batch[0][0], batch[-1][0], encode_requests(batch)))
        return blobs

    def settled(self, number: int) -> None:
        """Everything up to `number` was accepted, or answered before."""
        self.settled_number = max(self.settled_number, number)
        unsettled = self.unsettled
        while unsettled and unsettled[0].number <= number:
            request = unsettled.popleft()
            self.bytes_kept -= request.size
            if request not in self.set_aside:
                request.arguments = ()
                request.is_accepted = request.error is None

    def resolve(self, number: int, error: Error | None = None, result: Any = None) -> Request | None:
        """It is done: ordered, answered or refused."""
        request = self.unresolved.pop(number, None)
        if request is not None:
            request.error = error
            request.result = result
            request.is_accepted = error is None
            request.is_done = True
        return request

    def resolve_message(self, number: int) -> None:
        """A message of one's own was seen at its place in the order.

        Messages come back in the order of their numbers. One before it that was settled and did not come back was
        refused, and the reply that said so was lost with the process that carried it.
        """
        for older in range(self._ordered_number + 1, number):
            request = self.unresolved.get(older)
            if request is not None and request.is_accepted and request.is_ordered:
                self.resolve(older, TryAgain(f"request {older} was refused, and had no effect"))
        self._ordered_number = number
        self.resolve(number)

    def refused_for_now(self, number: int) -> None:
        """The request had no effect because totem died first."""
        request = self.unresolved.pop(number, None)
        if request is not None:
            self.set_aside.append(request)

    def fail_all(self, error: Error) -> None:
        """All is over."""
        for request in self.take_queued():
            self.unresolved[request.number] = request
        for number in list(self.unresolved):
            self.resolve(number, error)

    def repeat(self, taken: int) -> None:
        """A new connection to the same session: what was not settled goes out again, in the same order.

        What was taken already is known to the executive by its number; but queries among it are answered again.
        """
        self.unsent.extendleft(reversed(self.unsettled))
        self.unsettled.clear()
        for request in self.unsent:
            if request.number > taken:
                break
            request.is_accepted = True

    def take_queued(self) -> list[Request]:
        """Take out what is not resolved and was not accepted, to be queued again under other numbers."""
        queued = self.set_aside
        queued += [r for r in (*self.unsettled, *self.unsent) if self.unresolved.pop(r.number, None) is not None]
        self.set_aside = []
        self.unsettled.clear()
        self.unsent.clear()
        self.bytes_kept = 0
        return queued

    def renumber(self, queued: list[Request], last_number: int) -> None:
        """Number from `last_number` on: the requests that were queued since `take_queued`, then those taken out."""
        self.settled_number = self.last_number = self._ordered_number = last_number
        again = [*self.unsent, *queued]
        self.unsent = deque(again)
        self.unresolved.clear()
        self.bytes_kept = sum(request.size for request in again)
        for request in again:
            self.last_number += 1
            request.number = self.last_number
            self.unresolved[request.number] = request
