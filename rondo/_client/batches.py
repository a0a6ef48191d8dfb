"""One request, and the batch in which it travels: what it asks for, and what has become of it."""

from collections.abc import Callable
from typing import Any, ClassVar

from rondo.errors import Error
from rondo.protocol.batch import encode_body
from rondo.protocol.requests import Op

ORDERED = (Op.JOIN, Op.LEAVE, Op.MCAST)


class Batch:
    """Requests `first` to `first + count - 1`: messages to one group, or one request of another kind."""

    __slots__ = (
        "arguments", "count", "deadline_s", "done", "dropped", "errors", "first", "group", "is_accepted", "is_open",
        "op", "owner", "payload_bytes", "payloads", "result", "size", "was_sent",
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
        self.was_sent = False
        """A connection has carried it: it may have been taken."""
        self.dropped: set[int] | None = None
        """By index: what was given up, and is not sent (again)."""
        self.deadline_s: float | None = None
        """When it is given up if it was not sent, by time.monotonic()."""

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

    def drop(self) -> None:
        """All of it is given up."""
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
        """A query that means nothing has the number of what was given up."""
        requests: list[list[Any]] = []
        for index in range(self.count):
            if index in dropped:
                requests.append([self.first + index, int(Op.RING)])
            elif self.payloads:
                requests.append([self.first + index, self.op, *self.arguments, self.payloads[index]])
            else:
                requests.append([self.first + index, self.op, *self.arguments])
        return requests


class Request:
    """What became of one request. The fronts add to it how to wait for that.

    `number` is what events and `UnknownOutcome` name it by; it may still change while the request is not accepted.
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
        """Number of the request in its session."""
        return self._batch.first + self._index

    @property
    def is_done(self) -> bool:
        """Whether it is ordered or answered, or has failed."""
        batch = self._batch
        return self._index < batch.done or (batch.errors is not None and self._index in batch.errors)

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
