"""The shell for asyncio: tasks take the group's events, send, write to disk and watch the time, while callers wait."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from rondo import BadOperation, Disconnected, Error, Guarantee, NotExist
from rondo.quorum import Quorate
from rondo.recipes.arguments import number_of, seconds_of
from rondo.recipes.desk import TICK_S, TIMEOUT_S, Desk, Hooks, log
from rondo.recipes.errors import StoreError
from rondo.recipes.keeper import Keeper, Written
from rondo.recipes.machines import unpack
from rondo.recipes.quorum_feed import RETRY_S
from rondo.recipes.runner import LEAVE_S
from rondo.recipes.steps import Do, Read, Steps, Until, undone

if TYPE_CHECKING:
    from rondo.aio import Cluster, Group
    from rondo.recipes.core.machine import Machine
    from rondo.recipes.store import Store

T = TypeVar("T")


class Runner:
    """A replica in a group, with the tasks that drive it."""

    def __init__(
        self,
        cluster: Cluster,
        group: str,
        machine: Machine,
        hooks: Hooks | None,
        timeout: float,
        nodes_min: int,
        store: Store | None = None,
    ) -> None:
        self._cluster = cluster
        self.group_name = group
        self.timeout = seconds_of(timeout, TIMEOUT_S)
        self._nodes_min = number_of(nodes_min, "nodes_min", 1)
        self._desk: Desk | None = None
        self._machine = machine
        self._hooks = hooks
        self._group: Group
        self._tasks: list[asyncio.Task[None]] = []
        self._waiters: set[asyncio.Event] = set()
        self._to_send = asyncio.Event()
        self._is_started = self._is_leaving = False
        self._store = store
        self._keeper: Keeper | None = None
        self._to_write = asyncio.Event()
        self._writing: asyncio.Future[Written | None] | None = None

    @property
    def desk(self) -> Desk:
        """The replica and its callers. Raises BadOperation before it has joined."""
        if self._desk is None:
            raise BadOperation(f"{self.group_name}: it has not joined yet: `await` it, or use it in an `async with`")
        return self._desk

    async def start(self) -> None:
        """Join the group. Returns when the replica has the state.

        Raises NoQuorum, Timeout, Exists, StoreError, ...; BadOperation if it is called a second time.
        """
        if self._is_started:
            raise BadOperation(f"{self.group_name}: it has joined already; make another one after a `close`")
        self._is_started = True
        status = await self._cluster.quorum.status(self.timeout)
        try:
            if self._store is not None:
                self._keeper = Keeper(self._store, self.group_name)
            desk = Desk(
                self._cluster, self.group_name, self._machine, status, self._hooks, self._keeper, self._nodes_min
            )
            if self._keeper is not None:
                for _ in self._keeper.recover(desk.replica):
                    await asyncio.sleep(0)
            self._group = await self._cluster.cpg.join(self.group_name, timeout=self.timeout)
            self._desk = desk
        except BaseException:
            if self._keeper is not None:
                self._keeper.close()
            raise
        works = [self._take(), self._send(), self._tick(), self._feed()]
        if self._keeper is not None:
            works.append(self._write(self._keeper))
        self._tasks = [asyncio.create_task(each) for each in works]
        for task in self._tasks:
            task.add_done_callback(self._has_ended)
        try:
            await self._wait_until(lambda: True, self._deadline_s(None), may_wait_for_quorum=False)
        except BaseException:
            await self.close()
            raise

    # -- tasks ---------------------------------------------------------------------------------------------------

    async def _take(self) -> None:
        while True:
            try:
                event = await self._group.poll()
            except (Disconnected, NotExist) as error:
                self.desk.end(error)
                self._something_happened()
                return
            if event is not None:
                self.desk.event(event, time.monotonic_ns())
                self._something_happened()

    def _has_ended(self, task: asyncio.Task[None]) -> None:
        """End the recipe if one of its tasks has failed. All callers get the reason."""
        error = None if task.cancelled() else task.exception()
        if error is not None and self.desk.ended is None:
            self.desk.fail(error)
            self._something_happened()

    async def _send(self) -> None:
        outbox = self.desk.replica.outbox
        while True:
            await self._to_send.wait()
            self._to_send.clear()
            while outbox:
                try:
                    await self._group.mcast(outbox.popleft(), Guarantee.SAFE, timeout=None)
                except Error as error:
                    self.desk.end(error)
                    self._something_happened()

    async def _write(self, keeper: Keeper) -> None:
        """Carry out the replica's writes in a thread, so the event loop is not blocked by the disk."""
        while True:
            await self._to_write.wait()
            self._to_write.clear()
            try:
                while keeper.is_busy(self.desk.replica):
                    keeper.collect(self.desk.replica)
                    self._writing = asyncio.ensure_future(asyncio.to_thread(keeper.work))
                    written = await asyncio.shield(self._writing)
                    if written is not None:
                        self.desk.written(written, time.monotonic_ns())
                        self._something_happened()
            except StoreError as error:
                log.error("%s: %s", self.group_name, error)
                self.desk.end(error)
                self._something_happened()
                return

    async def _close_keeper(self, keeper: Keeper) -> None:
        """Write what came before the end, and release the disk."""
        with contextlib.suppress(StoreError):  # it was reported, or what is lost was not acknowledged
            if self._writing is not None:
                await self._writing
            keeper.collect(self.desk.replica)
            await asyncio.to_thread(keeper.work)
        keeper.close()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self.desk.tick(time.monotonic_ns())
            self._something_happened()

    async def _feed(self) -> None:
        while not self._cluster.is_closed:
            with contextlib.suppress(Error):  # the node or its control process may be away: ask again
                async for change in self._cluster.quorum.watch(current=True):
                    if isinstance(change, Quorate):
                        self.desk.quorate(change, time.monotonic_ns())
                        self._something_happened()
            await asyncio.sleep(RETRY_S)

    def _something_happened(self) -> None:
        if self.desk.replica.outbox:
            self._to_send.set()
        if self._keeper is not None and self._keeper.is_busy(self.desk.replica):
            self._to_write.set()
        if self.desk.ended is not None and not self._is_leaving:
            self._is_leaving = True
            self._tasks.append(asyncio.create_task(self._leave()))
        for waiter in self._waiters:
            waiter.set()
        for call in self.desk.take_told():
            try:
                call()
            except Exception:  # of the application: it must not end this task
                log.exception("%s: a callback has raised", self.group_name)

    # -- callers -------------------------------------------------------------------------------------------------

    async def do(self, command: bytes, timeout: float | None = None) -> bytes:
        """Have a command carried out. Returns its result. Raises Refused, NoQuorum, Timeout."""
        over = asyncio.Event()
        value: bytes = await self._wait_for(self.desk.do(command, over.set), over, self._deadline_s(timeout))
        return value

    async def read(self, look: Callable[[], T], timeout: float | None = None) -> T:
        """What `look()` returns once all earlier commands are applied (linearizable)."""
        over = asyncio.Event()
        value: T = await self._wait_for(self.desk.read(look, over.set), over, self._deadline_s(timeout))
        return value

    async def _wait_for(self, call: Any, over: asyncio.Event, deadline_s: float) -> Any:
        self._something_happened()
        late: Error | None = None
        try:
            async with asyncio.timeout(deadline_s - time.monotonic()):
                await over.wait()
        except TimeoutError:
            pass
        finally:
            if not call.is_over:
                late = self.desk.give_up(call)
        if late is not None:
            raise late
        if call.error is not None:
            raise call.error
        return call.value

    async def run(self, recipe: Steps[T], timeout: float | None = None) -> T:
        """Carry out the steps of a recipe."""
        deadline_s = self._deadline_s(timeout)
        given: Any = None
        error: BaseException | None = None
        while True:
            try:
                step = recipe.throw(error) if error is not None else recipe.send(given)
            except StopIteration as stop:
                value: T = stop.value
                return value
            given = error = None
            try:
                given = await self._step(step, deadline_s)
            except Error as raised:
                error = raised
            except BaseException:  # a cancellation, or an exception of `look`
                self._undo(recipe)
                raise

    def _undo(self, recipe: Steps[T]) -> None:
        """Give back what the steps of a cancelled caller have acquired."""
        step = undone(recipe)
        if step is not None:
            self.desk.must_do(step)
            self._something_happened()

    async def _step(self, step: Do | Read | Until, deadline_s: float) -> Any:
        match step:
            case Do(must=True):
                self.desk.must_do(step)
                self._something_happened()
                return None
            case Do():
                return unpack(await self.do(step.packed(), deadline_s - time.monotonic()))
            case Read(look=look):
                return await self.read(look, deadline_s - time.monotonic())
            case Until(true=true):
                return await self._wait_until(true, deadline_s)

    async def _wait_until(
        self, true: Callable[[], bool], deadline_s: float, *, may_wait_for_quorum: bool = True
    ) -> None:
        changed = asyncio.Event()
        self._waiters.add(changed)
        try:
            async with asyncio.timeout(deadline_s - time.monotonic()):
                while not (self.desk.is_ready and true()):
                    if not may_wait_for_quorum:
                        self.desk.check()
                    if self.desk.ended is not None:
                        raise self.desk.ended
                    await changed.wait()
                    changed.clear()
        except TimeoutError:
            raise self.desk.late() from None
        finally:
            self._waiters.discard(changed)

    def _deadline_s(self, timeout: float | None) -> float:
        return time.monotonic() + seconds_of(timeout, self.timeout)

    async def _leave(self) -> None:
        with contextlib.suppress(Error):  # it may have left already; a node that is away removes it
            await self._group.leave(timeout=LEAVE_S)

    async def close(self) -> None:
        """Leave the group. The others give up all that this process holds there."""
        if self._desk is None:
            return
        self._is_leaving = True
        await self._leave()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._keeper is not None:
            keeper, self._keeper = self._keeper, None
            await self._close_keeper(keeper)
        self.desk.end(Disconnected(f"{self.group_name} was closed"))
        self._something_happened()
