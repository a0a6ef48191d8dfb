"""Requests on their way: numbered, sent in batches, sent again after a broken connection, and resolved.

A request is *queued* here until SETTLED says that it was *accepted*; up to then it is kept, because a new connection
must repeat it. What is kept is bounded by the window that the gateway grants: that is the flow control that a sender
feels. A message is *ordered* once it comes back as an event; a join or leave is done by the event that it causes, a
query by its reply.

Messages to one group that follow each other directly and have not been sent yet share a `Batch`, which travels and
comes back as one run: what is done here is done per batch, but for the payload itself and the `Request` that tells the
application what becomes of it.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

from rondo.errors import Error, TryAgain
from rondo.protocol.batch import encode_body
from rondo.protocol.envelope import ENVELOPE_BYTES_TARGET
from rondo.protocol.requests import REQUESTS_PER_BLOB_MAX, RUN_PAYLOAD_BYTES_MAX, Op, encode_requests

ORDERED = (Op.JOIN, Op.LEAVE, Op.MCAST)
REQUEST_BYTES = 320
"""What a request counts for in the window besides its payload: the executive adds a header and keeps books of it."""

BATCH_PAYLOAD_BYTES = 192 * 1024
"""A batch is closed once it has this much."""
BATCH_MESSAGES_MAX = 4096


BULK_BYTES = 256 * 1024
"""With more than this under way and not settled, a sender is at full speed: what it queues then waits for more, ..."""
BULK_SEND_BYTES = 128 * 1024
"""... up to this much, or until something is settled. Larger batches cost less at every hop, and nothing waits for a
clock: what is settled sets the pace (Nagle, RFC 896)."""


class Batch:
    """Requests `first` to `first + count - 1`: messages to one group, or one request of another kind."""

    __slots__ = (
        "arguments", "count", "done", "error", "errors", "first", "group", "is_accepted", "is_open", "op", "owner",
        "payload_bytes", "payloads", "result", "size",
    )  # fmt: skip

    def __init__(
        self, owner: Any, first: int, op: int, arguments: tuple[Any, ...], group: str | None, is_open: bool
    ) -> None:
        self.owner = owner
        """Whoever waits for requests needs it."""
        self.first = first
        """May still change while nothing is accepted."""
        self.op = op
        self.arguments = arguments
        """All, or all but the payload."""
        self.group = group
        self.is_open = is_open
        """Whether messages may be added."""
        self.payloads: list[bytes] = []
        self.payload_bytes = 0
        self.count = 1
        self.size = 0
        """In the window."""
        self.is_accepted = False
        self.done = 0
        """How many are done; they are done in their order."""
        self.errors: dict[int, Error] | None = None
        """By index: why it failed."""
        self.result: Any = None
        """The answer to a query."""

    @property
    def last(self) -> int:
        """Number of the last request."""
        return self.first + self.count - 1

    @property
    def is_ordered(self) -> bool:
        """Whether it is of a kind that comes back as an event in the order."""
        return self.op in ORDERED

    def fail(self, error: Error) -> None:
        """What is not done has failed."""
        if self.errors is None:
            self.errors = {}
        for index in range(self.done, self.count):
            self.errors[index] = error
        self.done = self.count

    def encode(self) -> list[Any]:
        """The request of the protocol."""
        if not self.payloads:
            return [self.first, self.op, *self.arguments]
        if self.count == 1:
            return [self.first, self.op, *self.arguments, self.payloads[0]]
        return [self.first, int(Op.RUN), *self.arguments, encode_body(self.payloads)]


class Request:
    """What became of one request. The fronts add to it how to wait for that.

    `number` is what events and `UnknownOutcome` name it by; it may still change while the request is not accepted.
    """

    __slots__ = ("_batch", "_index")

    def __init__(self, batch: Batch, index: int) -> None:
        self._batch = batch
        self._index = index

    @property
    def number(self) -> int:
        """Number of the request in its session."""
        return self._batch.first + self._index

    @property
    def is_done(self) -> bool:
        """Whether it is ordered or answered, or has failed."""
        return self._index < self._batch.done

    @property
    def is_accepted(self) -> bool:
        """Whether the executive has taken it, and it has not failed since."""
        return (self._batch.is_accepted or self.is_done) and self.error is None

    @property
    def error(self) -> Error | None:
        """Why it failed, if it did."""
        errors = self._batch.errors
        return errors.get(self._index) if errors is not None else None

    @property
    def result(self) -> Any:
        """The answer to a query."""
        return self._batch.result


RequestFactory = Callable[[Batch, int], Request]


class Requests:
    """All requests of one session that are not resolved or not settled yet."""

    def __init__(self, factory: RequestFactory, owner: Any = None) -> None:
        self.window_bytes = 0
        self.window_requests = 0
        self.unresolved: dict[int, Batch] = {}
        """By their first number."""
        self.unsent: deque[Batch] = deque()
        self.unsettled: deque[Batch] = deque()
        """Sent, and to be sent again if the connection breaks."""
        self.set_aside: list[Batch] = []
        """Refused without effect because totem died: to be queued again in the next epoch."""
        self.bytes_kept = 0
        """In the window: unsent and unsettled."""
        self.bytes_unsent = 0
        self.count_kept = 0
        self.last_number = 0
        self.settled_number = 0
        self._ordered_number = 0
        self._factory = factory
        self._owner = owner

    def add(self, op: int, arguments: tuple[Any, ...], group: str | None = None) -> Request:
        """Queue a request other than a message; it goes out with the next `blobs`."""
        return self._factory(self._add_batch(op, arguments, group, is_open=False), 0)

    def _add_batch(self, op: int, arguments: tuple[Any, ...], group: str | None, *, is_open: bool) -> Batch:
        self.last_number = number = self.last_number + 1
        batch = Batch(self._owner, number, op, arguments, group, is_open)
        batch.size = REQUEST_BYTES
        self.unsent.append(batch)
        self.bytes_kept += REQUEST_BYTES
        self.bytes_unsent += REQUEST_BYTES
        self.count_kept += 1
        self.unresolved[number] = batch
        return batch

    def add_message(self, group: str, wire_name: bytes, guarantee: int, data: bytes) -> Request | None:
        """Queue a message; None if the window has no room for it. A single one has room whatever its size."""
        size = len(data)
        cost = size + REQUEST_BYTES
        kept = self.count_kept
        if kept >= self.window_requests or (kept and self.bytes_kept + cost > self.window_bytes):
            return None
        last = self.unsent[-1] if self.unsent else None
        if last is not None and last.is_open and last.group == group and last.arguments[1] == guarantee:
            index = last.count
            if size <= RUN_PAYLOAD_BYTES_MAX and index < BATCH_MESSAGES_MAX:
                last.payloads.append(data)
                last.count = index + 1
                last.size += cost
                last.payload_bytes += size
                if last.payload_bytes >= BATCH_PAYLOAD_BYTES:
                    last.is_open = False
                self.last_number += 1
                self.bytes_kept += cost
                self.bytes_unsent += cost
                self.count_kept = kept + 1
                return self._factory(last, index)
        batch = self._add_batch(Op.MCAST, (wire_name, guarantee), group, is_open=size <= RUN_PAYLOAD_BYTES_MAX)
        batch.payloads.append(data)
        batch.payload_bytes = size
        batch.size = cost
        self.bytes_kept += size
        self.bytes_unsent += size
        return self._factory(batch, 0)

    @property
    def is_due(self) -> bool:
        """Whether there is something that should be sent now."""
        unsent = self.bytes_unsent
        return unsent >= BULK_SEND_BYTES or (unsent > 0 and self.bytes_kept - unsent <= BULK_BYTES)

    def blobs(self) -> list[tuple[int, int, bytes]]:
        """First number, last number and blob of all that this connection has not carried yet."""
        blobs = []
        requests: list[list[Any]] = []
        first = last = size = 0
        self.bytes_unsent = 0
        while self.unsent:
            batch = self.unsent.popleft()
            batch.is_open = False
            self.unsettled.append(batch)
            count = batch.last - first + 1
            if requests and (size + batch.payload_bytes > ENVELOPE_BYTES_TARGET or count > REQUESTS_PER_BLOB_MAX):
                blobs.append((first, last, encode_requests(requests)))
                requests, size = [], 0
            if not requests:
                first = batch.first
            last = batch.last
            requests.append(batch.encode())
            size += batch.payload_bytes + REQUEST_BYTES
        if requests:
            blobs.append((first, last, encode_requests(requests)))
        return blobs

    def settled(self, number: int) -> None:
        """Everything up to `number` was accepted, or answered before."""
        self.settled_number = max(self.settled_number, number)
        unsettled = self.unsettled
        while unsettled and unsettled[0].last <= number:
            batch = unsettled.popleft()
            self.bytes_kept -= batch.size
            self.count_kept -= batch.count
            if batch not in self.set_aside:
                batch.payloads = []
                batch.is_accepted = True

    def find(self, number: int) -> Batch | None:
        """The batch with this request, unless it is resolved."""
        batch = self.unresolved.get(number)
        if batch is None:
            batch = next((b for b in self.unresolved.values() if b.first <= number <= b.last), None)
        return batch

    def resolve(self, number: int, error: Error | None = None, result: Any = None) -> Batch | None:
        """The request is done: ordered, answered or refused; and so are those before it in its batch."""
        batch = self.find(number)
        if batch is not None:
            done = number - batch.first + 1
            if error is not None:
                if batch.errors is None:
                    batch.errors = {}
                batch.errors[done - 1] = error
            batch.result = result
            batch.done = max(batch.done, done)
            if batch.done == batch.count:
                del self.unresolved[batch.first]
        return batch

    def resolve_messages(self, first: int, last: int) -> None:
        """Messages of one's own were seen at their place in the order.

        Messages come back in the order of their numbers. One before them that was settled and did not come back was
        refused, and the reply that said so was lost with the process that carried it.
        """
        if first > self._ordered_number + 1 and self.unresolved:
            lost = [b for b in self.unresolved.values() if b.last < first and b.is_accepted and b.is_ordered]
            for batch in lost:
                self.fail(batch, TryAgain(f"request {batch.first} was refused, and had no effect"))
        self._ordered_number = last
        whole = self.unresolved.get(first)
        if whole is not None and whole.last == last:
            whole.done = whole.count
            whole.is_accepted = True
            del self.unresolved[first]
        else:
            self.resolve(last)

    def fail(self, batch: Batch, error: Error) -> None:
        """What is not done of an unresolved batch has failed."""
        batch.fail(error)
        del self.unresolved[batch.first]

    def refused_for_now(self, number: int) -> None:
        """The request had no effect because totem died first."""
        batch = self.find(number)
        if batch is not None:
            del self.unresolved[batch.first]
            self.set_aside.append(batch)

    def fail_all(self, error: Error) -> None:
        """All is over."""
        for batch in self.take_queued():
            self.unresolved[batch.first] = batch
        for batch in self.unresolved.values():
            batch.fail(error)
        self.unresolved.clear()

    def repeat(self, taken: int) -> None:
        """A new connection to the same session: what was not settled goes out again, in the same order.

        What was taken already is known to the executive by its number; but queries among it are answered again.
        """
        self.unsent.extendleft(reversed(self.unsettled))
        self.unsettled.clear()
        self.bytes_unsent = self.bytes_kept
        for batch in self.unsent:
            if batch.last > taken:
                break
            batch.is_accepted = True

    def take_queued(self) -> list[Batch]:
        """Take out what is not resolved and was not accepted, to be queued again under other numbers."""
        queued = self.set_aside
        queued += [b for b in (*self.unsettled, *self.unsent) if self.unresolved.pop(b.first, None) is not None]
        self.set_aside = []
        self.unsettled.clear()
        self.unsent.clear()
        self.bytes_kept = self.bytes_unsent = self.count_kept = 0
        return queued

    def renumber(self, queued: list[Batch], last_number: int) -> None:
        """Number from `last_number` on: the requests that were queued since `take_queued`, then those taken out."""
        self.settled_number = self.last_number = self._ordered_number = last_number
        again = [*self.unsent, *queued]
        self.unsent = deque(again)
        self.unresolved.clear()
        self.bytes_kept = self.bytes_unsent = sum(batch.size for batch in again)
        self.count_kept = sum(batch.count for batch in again)
        for batch in again:
            batch.first = self.last_number + 1
            batch.is_open = False
            self.last_number += batch.count
            self.unresolved[batch.first] = batch
