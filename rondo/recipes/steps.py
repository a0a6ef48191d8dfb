"""What the recipes do, as steps that both shells carry out: a blocking one waits, that of asyncio awaits.

    def acquire(...) -> Steps[int]:
        token = yield Do(...)          # the result of a command
        yield Until(lambda: ...)       # until the state is such

A step that has no time left raises `Timeout` (or `NoQuorum`) in the generator, which may then undo what it has begun.
What gives something back is never left undone: refused, or late, it is done once the group goes on again. A process
that lives would otherwise hold for ever what it believes it has given back.
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
    """A command; gives what comes of it. `must`: also when there is no time left, and without waiting for it."""

    operation: tuple[Any, ...]
    must: bool = False

    def packed(self) -> bytes:
        """The command."""
        return pack(self.operation)


@dataclass(frozen=True, slots=True)
class Read:
    """Look at the state at a place in the order; gives what is seen."""

    look: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Until:
    """Wait until the own state is such, and the group goes on."""

    true: Callable[[], bool]


class Cancelled(Error):  # noqa: N818 - nobody sees it
    """Thrown into a recipe whose caller does not wait any more: an exception of a signal handler, or of asyncio."""


Step = Do | Read | Until
Steps = Generator[Step, Any, T]


def get(table: Table, key: Any, default: Any) -> Steps[Any]:
    """A value, as it is at a place in the order."""
    return (yield Read(lambda: table.items.get(key, default)))


def remove(key: Any) -> Steps[Any]:
    """Remove a key; gives its value. Raises KeyError."""
    was_there, old = yield Do(("remove", key))
    if not was_there:
        raise KeyError(key)
    return old


def one(*operation: Any) -> Steps[Any]:
    """A single command."""
    return (yield Do(operation))


def value(number: Number) -> Steps[int]:
    """The value at a place in the order."""
    found: int = yield Read(lambda: number.value)
    return found


def acquire(permits: Permits, me: tuple[bytes, int], count: int, says: Any, waits: bool) -> Steps[int | None]:
    """A permit: its fencing token; None if it does not wait and there is none."""
    _, number = me
    try:
        yield Do(("acquire", number, count, says, waits))
        if not waits:
            return permits.fencing(me)
        yield Until(lambda: permits.fencing(me) is not None)
    except Error:
        yield Do(("release", number), must=True)
        raise
    return permits.fencing(me)


def give_back(*operation: Any) -> Steps[bool]:
    """A command that gives something back, now or later: whether it was this one's still."""
    try:
        was_held: bool = yield Do(operation)
    except Error:
        yield Do(operation, must=True)
        raise
    return was_held


def meet(meetings: Meetings, me: tuple[bytes, int], parties: int) -> Steps[None]:
    """Wait until so many are here."""
    _, number = me
    try:
        yield Do(("arrive", number, parties))
        yield Until(lambda: me in meetings.met)
    except Error:
        yield Do(("withdraw", number), must=True)
        raise


def put(item: Any, items_max: int) -> Steps[int]:
    """One more item; its number. Raises QueueFull."""
    number: int | None = yield Do(("put", item, items_max))
    if number is None:
        raise QueueFull(f"{items_max} items wait already")
    return number


def take(jobs: Jobs, me: tuple[bytes, int], waits: bool) -> Steps[tuple[int, Any] | None]:
    """An item and its number; None if it does not wait and there is none."""
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
    """An item is done. Raises NotExist if somebody else has it meanwhile."""
    if not (yield from give_back("done", item)):
        raise NotExist(f"item {item} is not this worker's any more")


def back(jobs: Jobs, item: int) -> Steps[bool]:
    """An item is not done: whether it was this worker's still."""
    # The ticket is named: done late, this must not take an item away that the same worker was given once more.
    (_, number), _ = jobs.taken.get(item, ((b"", 0), None))
    return (yield from give_back("back", item, number))


def claim(single: Single, me: tuple[bytes, int]) -> Steps[bool]:
    """Whether it is this one's to do; False: it is done."""
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
    """It was not done: somebody else may do it. Nobody waits for that."""
    yield Do(("give_up", me[1]), must=True)


def undone(steps: Steps[Any]) -> Do | None:
    """What gives back what these steps have begun, when their caller does not wait any more."""
    undo = None
    try:
        step = steps.throw(Cancelled("cancelled"))
        if isinstance(step, Do) and step.must:
            undo = step
    except (Cancelled, StopIteration):
        pass
    steps.close()
    return undo
