"""One request, and the batch in which it travels: its arguments and its outcome."""

from collections.abc import Callable
from typing import Any, ClassVar

from rondo._client.unpicklable import Unpicklable
from rondo.errors import Error
from rondo.protocol.batch import encode_body
from rondo.protocol.requests import Op

ORDERED = (Op.JOIN, Op.LEAVE, Op.MCAST)

REQUEST_BYTES = 320
"""What a request takes of the window besides its payload: the executive adds a header and bookkeeping."""


class Batch:
    """Requests `first` to `first + count - 1`: messages to one group, or one request of another kind."""

    __slots__ = (
        "arguments", "count", "deadline_s", "done", "dropped", "errors", "first", "group", "is_accepted", "is_open",
        "op", "owner", "payload_bytes", "payloads", "result", "was_sent",
    )  # fmt: skip

    def __init__(
        self, owner: Any, first: int, op: int, arguments: tuple[Any, ...], group: str | None, is_open: bool
    ) -> None:
        self.owner = owner
        """The object by which a thread can wait for these requests."""
        self.first = first
        """It may still change until a request is accepted."""
        self.op = op
        self.arguments = arguments
        """The arguments of the request, without the payload of a message."""
        self.group = group
        self.is_open = is_open
        """True while messages may be added."""
        self.payloads: list[bytes] = []
        self.payload_bytes = 0
        self.count = 1
        self.is_accepted = False
        self.done = 0
        """How many are done. They are done in their order."""
        self.errors: dict[int, Error] | None = None
        """By index: the error with which it failed."""
        self.result: Any = None
        """The answer to a query."""
        self.was_sent = False
        """A connection has carried it, so the executive may have accepted it."""
        self.dropped: set[int] | None = None
        """By index: requests that were given up. They are not sent, or not sent again."""
        self.deadline_s: float | None = None
        """If it was not sent by then, it is given up. A time of time.monotonic()."""

    @property
    def last(self) -> int:
        """Number of the last request."""
        return self.first + self.count - 1

    @property
    def size(self) -> int:
        """Bytes that it takes of the window."""
        return self.payload_bytes + REQUEST_BYTES * self.count

    @property
    def is_ordered(self) -> bool:
        """True for a kind of request that comes back as an event in the order."""
        return self.op in ORDERED

    def fail(self, error: Error) -> None:
        """Fail all requests of this batch that are not done."""
        if self.errors is None:
            self.errors = {}
        for index in range(self.done, self.count):
            self.errors[index] = error
        self.done = self.count

    def drop(self) -> None:
        """Give up all requests of this batch."""
        self.dropped = set(range(self.count))
        self.is_open = False

    def encode(self) -> list[list[Any]]:
        """The requests of the protocol."""
        if self.dropped is not None:
            return self._encode_what_is_left(self.dropped)
        if not self.payloads:
            return [[self.first, self.op, *self.arguments]]
        if self.count == 1:
            return [[self.first, self.op, *self.arguments, self.payloads[0]]]
        return [[self.first, int(Op.BATCH), *self.arguments, encode_body(self.payloads)]]

    def _encode_what_is_left(self, dropped: set[int]) -> list[list[Any]]:
        """The batch without the requests that were given up. A harmless query takes the number of each of those."""
        requests: list[list[Any]] = []
        for index in range(self.count):
            if index in dropped:
                requests.append([self.first + index, int(Op.RING)])
            elif self.payloads:
                requests.append([self.first + index, self.op, *self.arguments, self.payloads[index]])
            else:
                requests.append([self.first + index, self.op, *self.arguments])
        return requests


class Request(Unpicklable):
    """The outcome of one request. The APIs for threads and for asyncio add the waiting.

    `number` is what events and `UnknownOutcome` name it by. It may still change until the request is accepted.
    """

    __slots__ = ("_batch", "_index")
    shown_as: ClassVar[str] = "rondo.Request"

    def __init__(self, batch: Batch, index: int) -> None:
        self._batch = batch
        self._index = index

    def __repr__(self) -> str:
        state = self.error or ("ordered" if self.is_done else "accepted" if self.is_accepted else "queued")
        return f"<{self.shown_as} {self.number}: {state}>"

    @property
    def number(self) -> int:
        """The number of the request in its session."""
        return self._batch.first + self._index

    @property
    def is_done(self) -> bool:
        """True once it was ordered, was answered, or has failed."""
        batch = self._batch
        return self._index < batch.done or (batch.errors is not None and self._index in batch.errors)

    @property
    def is_accepted(self) -> bool:
        """True once the executive has accepted it, unless it has failed since."""
        return (self._batch.is_accepted or self.is_done) and self.error is None

    @property
    def error(self) -> Error | None:
        """The error with which it failed, or None."""
        errors = self._batch.errors
        return errors.get(self._index) if errors is not None else None

    @property
    def result(self) -> Any:
        """The answer to a query."""
        return self._batch.result


RequestFactory = Callable[[Batch, int], Request]
