"""The recipes for asyncio: the names of `rondo.recipes`, awaitable.

    async with rondo.aio.connect() as cluster:
        async with Dict(cluster, "settings") as settings:
            await settings.set("colour", "blue")
            settings["colour"]                                  # local, so nothing to wait for
        async with Lock(cluster, "backup") as token: ...

`await Dict(cluster, "settings")` joins without `async with`; `await settings.close()` ends it. What is local is no
coroutine. Callbacks are called in the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from rondo import BadHandle, BadOperation, Disconnected, NoQuorum, Timeout
from rondo.aio.state_machine import Recipe, Replicated, StateMachine, replicated
from rondo.recipes import steps
from rondo.recipes.aio_runner import Runner
from rondo.recipes.arguments import (
    cluster_of,
    function_of,
    key_of,
    name_of,
    number_of,
    seconds_of,
    truth_of,
    value_of,
)
from rondo.recipes.blocking import ITEMS_MAX, Permit
from rondo.recipes.desk import TIMEOUT_S
from rondo.recipes.errors import Refused, StoreError
from rondo.recipes.machines import Jobs, Meetings, Number, Operations, Permits, Single, Table, Ticket
from rondo.recipes.store import Store

if TYPE_CHECKING:
    from rondo.aio import Cluster

__all__ = [
    "Barrier", "Counter", "Dict", "Election", "Job", "Lock", "Once", "Permit", "Queue", "Refused", "Replicated",
    "Semaphore", "StateMachine", "Store", "StoreError", "replicated",
]  # fmt: skip

T = TypeVar("T")


class Of(Recipe):
    """What these recipes have in common."""

    MACHINE: ClassVar[type[Operations]]

    def __init__(self, cluster: Cluster, name: str, *, nodes_min: int = 1, timeout: float = TIMEOUT_S) -> None:
        """`timeout`: seconds for joining, and for every call that is given none. `nodes_min`: a group in which nobody
        has a state begins with processes on so many nodes."""
        self._machine: Any = self.MACHINE()
        cluster_of(cluster, is_aio=True)
        self._runner = Runner(cluster, self.PREFIX + name_of(name), self._machine, None, timeout, nodes_min)


class Dict(Of):
    """See `rondo.recipes.Dict`."""

    PREFIX = "dict:"
    MACHINE = Table
    _machine: Table

    async def set(self, key: Any, value: Any, timeout: float | None = None) -> None:
        """Set a key."""
        key_of(key)
        value_of(value, "value")
        await self._runner.run(steps.one("put", key, value), timeout)

    async def delete(self, key: Any, timeout: float | None = None) -> Any:
        """Remove a key; its value. Raises KeyError."""
        return await self._runner.run(steps.remove(key_of(key)), timeout)

    def __getitem__(self, key: Any) -> Any:
        return copy.deepcopy(self._machine.items[key])

    def __contains__(self, key: Any) -> bool:
        return key in self._machine.items

    def __len__(self) -> int:
        return len(self._machine.items)

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self._machine.items))

    def items(self) -> list[tuple[Any, Any]]:
        """All keys and values of the copy in this process."""
        return copy.deepcopy(list(self._machine.items.items()))

    async def get(
        self, key: Any, default: Any = None, *, linearizable: bool = False, timeout: float | None = None
    ) -> Any:
        """A value. `linearizable`: it is no older than this call."""
        seconds_of(timeout, 0.0)
        if truth_of(linearizable, "linearizable"):
            return copy.deepcopy(await self._runner.run(steps.get(self._machine, key, default), timeout))
        return copy.deepcopy(self._machine.items.get(key, default))

    async def put_if(self, key: Any, expected: Any, value: Any, timeout: float | None = None) -> bool:
        """Set a key if it has the expected value (None: if it does not exist). Returns True if it did."""
        key_of(key)
        value_of(expected, "expected")
        value_of(value, "value")
        was: bool = await self._runner.run(steps.one("put_if", key, expected, value), timeout)
        return was

    async def clear(self) -> None:
        """Remove all keys."""
        await self._runner.run(steps.one("clear"))

    def watch(self, watcher: Callable[[Any, Any, Any], None]) -> None:
        """Call `watcher(key, old, new)` for every change from now on. None: the key does not exist."""
        function_of(watcher, "watcher")
        desk = self._runner.desk
        self._machine.watchers.append(lambda key, old, new: desk.tell(lambda: watcher(key, old, new)))


class Counter(Of):
    """See `rondo.recipes.Counter`."""

    PREFIX = "counter:"
    MACHINE = Number
    _machine: Number

    async def add(self, step: int = 1, timeout: float | None = None) -> int:
        """Add to the value. Returns the new one."""
        value: int = await self._runner.run(steps.one("add", number_of(step, "step")), timeout)
        return value

    async def set(self, value: int, timeout: float | None = None) -> int:
        """Set the value. Returns the old one."""
        old: int = await self._runner.run(steps.one("put", number_of(value, "value")), timeout)
        return old

    @property
    def value(self) -> int:
        """The value of the copy in this process."""
        return self._machine.value

    async def get(self, timeout: float | None = None) -> int:
        """The present value: no older than this call (linearizable)."""
        return await self._runner.run(steps.value(self._machine), timeout)


class Semaphore(Of):
    """See `rondo.recipes.Semaphore`."""

    PREFIX = "semaphore:"
    MACHINE = Permits
    _machine: Permits

    def __init__(
        self, cluster: Cluster, name: str, permits: int, *, nodes_min: int = 1, timeout: float = TIMEOUT_S
    ) -> None:
        self._permits = number_of(permits, "permits", 1)
        self._held: list[Ticket] = []
        super().__init__(cluster, name, nodes_min=nodes_min, timeout=timeout)

    async def acquire(self, timeout: float | None = None, *, blocking: bool = True, says: Any = None) -> Permit | None:
        """Wait for a permit and take it. Without `blocking`: None if none is free."""
        value_of(says, "says")
        truth_of(blocking, "blocking")
        desk, machine = self._runner.desk, self._machine
        ticket = desk.next_ticket()
        asked = steps.acquire(machine, ticket, self._permits, says, blocking, desk.clock_ms())
        fencing = await self._runner.run(asked, timeout)
        if fencing is None:
            return None
        self._held.append(ticket)
        return Permit(fencing, lambda: desk.is_ready and machine.fencing(ticket) == fencing)

    async def release(self, timeout: float | None = None) -> bool:
        """Give back the permit that was taken first. Returns True if it was still held."""
        seconds_of(timeout, 0.0)
        if not self._held:
            raise BadOperation(f"{self.name}: this process has no permit to give back")
        return await self._runner.run(steps.give_back("release", self._held.pop(0)[1]), timeout)

    async def __aenter__(self) -> Any:
        await self._start()
        try:
            return await self.acquire()
        except BaseException:
            await self.close()
            raise

    async def __aexit__(self, *_: object) -> None:
        # Who cannot say that it gives it back is cut off, and holds nothing.
        try:
            with contextlib.suppress(NoQuorum, Timeout, Disconnected, BadHandle):
                await self.release()
        finally:
            await self.close()


class Lock(Semaphore):
    """See `rondo.recipes.Lock`."""

    PREFIX = "lock:"

    def __init__(self, cluster: Cluster, name: str, *, nodes_min: int = 1, timeout: float = TIMEOUT_S) -> None:
        super().__init__(cluster, name, 1, nodes_min=nodes_min, timeout=timeout)


class Election(Of):
    """See `rondo.recipes.Election`."""

    PREFIX = "election:"
    MACHINE = Permits
    _machine: Permits
    _ticket: Ticket | None = None

    async def lead(self, says: Any = None, timeout: float | None = None) -> Permit:
        """Stand for election, and return when elected."""
        value_of(says, "says")
        desk, machine = self._runner.desk, self._machine
        ticket = self._ticket = desk.next_ticket()
        fencing = await self._runner.run(steps.acquire(machine, ticket, 1, says, True, desk.clock_ms()), timeout)
        assert fencing is not None
        return Permit(fencing, lambda: desk.is_ready and machine.fencing(ticket) == fencing)

    async def resign(self, timeout: float | None = None) -> bool:
        """Stop leading. Returns True if this process was the leader."""
        if self._ticket is None:
            raise BadOperation(f"{self.name}: this process has not stood for election")
        return await self._runner.run(steps.give_back("release", self._ticket[1]), timeout)

    @property
    def leader(self) -> tuple[int, Any] | None:
        """The leader's fencing token and what it says, by the copy in this process."""
        return next(iter(self._machine.held.values()), None)


class Barrier(Of):
    """See `rondo.recipes.Barrier`."""

    PREFIX = "barrier:"
    MACHINE = Meetings
    _machine: Meetings

    def __init__(
        self, cluster: Cluster, name: str, parties: int, *, nodes_min: int = 1, timeout: float = TIMEOUT_S
    ) -> None:
        self._parties = number_of(parties, "parties", 1)
        super().__init__(cluster, name, nodes_min=nodes_min, timeout=timeout)

    async def wait(self, timeout: float | None = None) -> None:
        """Return when all parties are there."""
        await self._runner.run(steps.meet(self._machine, self._runner.desk.next_ticket(), self._parties), timeout)


class Job:
    """See `rondo.recipes.Job`: `async with job:`."""

    def __init__(self, queue: Queue, item: int, value: Any) -> None:
        self._queue = queue
        self.item = item
        self.value = value

    async def done(self, timeout: float | None = None) -> None:
        """The item is done. Raises NotExist if another process has it meanwhile."""
        await self._queue.done(self.item, timeout)

    async def back(self, timeout: float | None = None) -> bool:
        """The item is not done, and another worker gets it. Returns True if this process still had it."""
        return await self._queue.back(self.item, timeout)

    async def __aenter__(self) -> Any:
        return self.value

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        await (self.done() if kind is None else self.back())


class Queue(Of):
    """See `rondo.recipes.Queue`."""

    PREFIX = "queue:"
    MACHINE = Jobs
    _machine: Jobs

    def __init__(
        self, cluster: Cluster, name: str, *, items_max: int = ITEMS_MAX, nodes_min: int = 1, timeout: float = TIMEOUT_S
    ) -> None:
        self._items_max = number_of(items_max, "items_max", 1)
        super().__init__(cluster, name, nodes_min=nodes_min, timeout=timeout)

    async def put(self, value: Any, timeout: float | None = None) -> int:
        """Add an item. Returns its number. Raises QueueFull."""
        return await self._runner.run(steps.put(value_of(value, "value"), self._items_max), timeout)

    async def get(self, timeout: float | None = None, *, blocking: bool = True) -> Job | None:
        """Wait for the next item and take it. Without `blocking`: None if there is none."""
        truth_of(blocking, "blocking")
        given = await self._runner.run(steps.take(self._machine, self._runner.desk.next_ticket(), blocking), timeout)
        return None if given is None else Job(self, *given)

    async def done(self, item: int, timeout: float | None = None) -> None:
        """An item is done. Raises NotExist."""
        await self._runner.run(steps.done(number_of(item, "item")), timeout)

    async def back(self, item: int, timeout: float | None = None) -> bool:
        """An item is not done. Returns True if this worker still had it."""
        return await self._runner.run(steps.back(self._machine, number_of(item, "item")), timeout)

    def __len__(self) -> int:
        return len(self._machine.line)


class Once(Of):
    """See `rondo.recipes.Once`; what is done may be a coroutine function."""

    PREFIX = "once:"
    MACHINE = Single
    _machine: Single

    async def run(self, do: Callable[[], Any], timeout: float | None = None) -> Any:
        """Call `do()`, unless another process has done so. Returns what it returned."""
        function_of(do, "do", may_be_awaited=True)
        ticket = self._runner.desk.next_ticket()
        if not await self._runner.run(steps.claim(self._machine, ticket), timeout):
            return copy.deepcopy(self._machine.result)
        try:
            result = do()
            if asyncio.iscoroutine(result):
                result = await result
            value_of(result, "what `do` has returned")
        except BaseException:
            await self._runner.run(steps.give_up(ticket))
            raise
        await self._runner.run(steps.give_back("finish", ticket[1], result), timeout)
        return result

    @property
    def is_done(self) -> bool:
        """True if it is done, by the copy in this process."""
        return self._machine.is_done
