"""The operations of the recipes as generators of steps. Both shells carry them out: one blocks, the other awaits.

    def acquire(...) -> Steps[int]:
        token = yield Do(...)          # the result of a command
        yield Until(lambda: ...)       # wait for a condition of the state

A step that has no time left raises `Timeout` (or `NoQuorum`) in the generator, which may then undo what it has begun.
A step that gives something back has `must=True` as its last resort. It is carried out even after a time-out, as soon as
the group goes on. Otherwise a living process would hold for ever what its caller believes it has given back.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeVar

from rondo.errors import Error, NotExist, QueueFull
from rondo.recipes.machines import Jobs, Meetings, Number, Permits, Single, Table, pack

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Do:
    """Carry out a command; its result is sent into the generator. `must`: carry it out in any case, and do not wait."""

    operation: tuple[Any, ...]
    must: bool = False

    def packed(self) -> bytes:
        """The command as bytes."""
        return pack(self.operation)


@dataclass(frozen=True, slots=True)
class Read:
    """Read the state (linearizable). The value of `look()` is sent into the generator."""

    look: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Until:
    """Wait until `true()` holds for the state here, and the group goes on."""

    true: Callable[[], bool]


class Cancelled(Error):  # noqa: N818 - it never leaves this package
    """Thrown into a generator whose caller was ended by a signal handler's exception, or by a cancellation."""


Step = Do | Read | Until
Steps = Generator[Step, Any, T]


def get(table: Table, key: Any, default: Any) -> Steps[Any]:
    """The value of a key (linearizable)."""
    return (yield Read(lambda: table.items.get(key, default)))


def remove(key: Any) -> Steps[Any]:
    """Remove a key. Returns its value. Raises KeyError."""
    was_there, old = yield Do(("remove", key))
    if not was_there:
        raise KeyError(key)
    return old


def one(*operation: Any) -> Steps[Any]:
    """Carry out a single command. Returns its result."""
    return (yield Do(operation))


def value(number: Number) -> Steps[int]:
    """The value of a counter (linearizable)."""
    found: int = yield Read(lambda: number.value)
    return found


def acquire(
    permits: Permits, me: tuple[bytes, int], count: int, says: Any, waits: bool, clock_ms: int
) -> Steps[int | None]:
    """Acquire a permit. Returns its fencing token; None if none is free and `waits` is False."""
    _, number = me
    try:
        yield Do(("acquire", number, count, says, waits, clock_ms))
        if not waits:
            return permits.fencing(me)
        yield Until(lambda: permits.fencing(me) is not None)
    except Error:
        yield Do(("release", number), must=True)
        raise
    return permits.fencing(me)


def give_back(*operation: Any) -> Steps[bool]:
    """Carry out a command that gives something back, if necessary later. Returns True if this ticket still held it."""
    try:
        was_held: bool = yield Do(operation)
    except Error:
        yield Do(operation, must=True)
        raise
    return was_held


def meet(meetings: Meetings, me: tuple[bytes, int], parties: int) -> Steps[None]:
    """Wait at a barrier until `parties` have arrived."""
    _, number = me
    try:
        yield Do(("arrive", number, parties))
        yield Until(lambda: me in meetings.met)
    except Error:
        yield Do(("withdraw", number), must=True)
        raise


def put(item: Any, items_max: int) -> Steps[int]:
    """Append an item to a queue. Returns its number. Raises QueueFull."""
    number: int | None = yield Do(("put", item, items_max))
    if number is None:
        raise QueueFull(f"{items_max} items wait already")
    return number


def take(jobs: Jobs, me: tuple[bytes, int], waits: bool) -> Steps[tuple[int, Any] | None]:
    """Take an item. Returns its number and the item; None if the queue is empty and `waits` is False."""
    _, number = me
    try:
        yield Do(("take", number, waits))
        if waits:
            yield Until(lambda: jobs.given_to(me) is not None)
    except Error:
        yield Do(("withdraw", number), must=True)
        raise
    return jobs.given_to(me)


def done(item: int) -> Steps[None]:
    """Report an item as done. Raises NotExist if it has been given to another worker."""
    if not (yield from give_back("done", item)):
        raise NotExist(f"item {item} is not this worker's any more")


def back(jobs: Jobs, item: int) -> Steps[bool]:
    """Put an item back. Returns True if this worker still had it."""
    # The command names the ticket. If it is carried out late, the same worker may have been given the item once more.
    (_, number), _ = jobs.taken.get(item, ((b"", 0), None))
    return (yield from give_back("back", item, number))


def claim(single: Single, me: tuple[bytes, int]) -> Steps[bool]:
    """Claim the work, waiting while another process has it. False if it is done already."""
    _, number = me
    try:
        while True:
            if (yield Do(("claim", number))):
                return True
            if single.is_done:
                return False
            yield Until(lambda: single.is_done or single.by is None)
    except Error:
        yield Do(("give_up", number), must=True)
        raise


def give_up(me: tuple[bytes, int]) -> Steps[None]:
    """Give up the claim, so another process may do the work. The caller does not wait for it."""
    yield Do(("give_up", me[1]), must=True)


def undone(steps: Steps[Any]) -> Do | None:
    """End the steps of a caller that was cancelled. Returns the step that gives back what they acquired, if any."""
    undo = None
    try:
        step = steps.throw(Cancelled("cancelled"))
        if isinstance(step, Do) and step.must:
            undo = step
    except (Cancelled, StopIteration):
        pass
    steps.close()
    return undo
