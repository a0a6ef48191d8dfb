"""The shell for threads: one thread takes the events of the group; callers send from their own, and wait."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from rondo import BadOperation, Disconnected, Error, Guarantee, NotExist
from rondo.quorum import Quorate
from rondo.recipes.desk import TICK_S, TIMEOUT_S, Call, Desk, Hooks, log
from rondo.recipes.errors import StoreError
from rondo.recipes.keeper import Keeper
from rondo.recipes.machines import unpack
from rondo.recipes.quorum_feed import subscribe, unsubscribe
from rondo.recipes.steps import Do, Read, Steps, Until

if TYPE_CHECKING:
    from rondo import Cluster
    from rondo.recipes.core.machine import Machine
    from rondo.recipes.store import Store

T = TypeVar("T")
LEAVE_S = 2.0
EVENTS_IN_WRITE = 256
"""So many events are taken at most before what they make is written."""


class Waiter:
    """Somebody who waits for a call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def wake(self) -> None:
        """It is over."""
        if self._lock.locked():
            self._lock.release()

    def wait(self, timeout_s: float) -> bool:
        """Whether it is over in time."""
        return self._lock.acquire(timeout=max(0.0, timeout_s))


class Runner:
    """A replica in a group, at work."""

    def __init__(
        self,
        cluster: Cluster,
        group: str,
        machine: Machine,
        hooks: Hooks | None = None,
        timeout: float = TIMEOUT_S,
        store: Store | None = None,
    ) -> None:
        """Joins, and returns when it has the state. Raises NoQuorum, Timeout, Exists, StoreError, ..."""
        self.timeout = timeout
        status = cluster.quorum.status()
        self._keeper = Keeper(store, group) if store is not None else None
        self._changed = threading.Condition(threading.RLock())
        self._is_closing = False
        with contextlib.ExitStack() as stack:
            if self._keeper is not None:
                stack.callback(self._keeper.close)
            self.desk = Desk(cluster, group, machine, status, hooks, self._keeper)
            if self._keeper is not None:
                deque(self._keeper.recover(self.desk.replica), maxlen=0)
            self._group = cluster.cpg.join(group, timeout=timeout)
            stack.pop_all()
        self._cluster = cluster
        subscribe(cluster, self._on_quorum)
        self._thread = threading.Thread(target=self._run, name=f"rondo-recipes {group}", daemon=True)
        self._thread.start()
        try:
            self._wait_until(lambda: True, time.monotonic() + timeout, may_wait_for_quorum=False)
        except BaseException:
            self.close()
            raise

    # -- the thread ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._work()
        except Exception as error:
            with self._changed:
                self.desk.fail(error)
                self._changed.notify_all()
        if not self._is_closing:
            with contextlib.suppress(Error):  # it has failed for good: the others are better off without it
                self._group.leave(timeout=LEAVE_S)

    def _work(self) -> None:
        """Take events until the end."""
        next_tick_s = 0.0
        unwritten = 0
        while not self._is_closing and self.desk.ended is None:
            must_write = self._keeper is not None and self._keeper.is_busy(self.desk.replica)
            try:
                event = self._group.poll(timeout=0 if must_write else TICK_S)
            except (Disconnected, NotExist) as error:
                self._end(error)
                return
            now_s = time.monotonic()
            with self._changed:
                if event is not None:
                    self.desk.event(event, time.monotonic_ns())
                if now_s >= next_tick_s:
                    next_tick_s = now_s + TICK_S
                    self.desk.tick(time.monotonic_ns())
                self._send()
                self._changed.notify_all()
                told = self.desk.take_told()
            unwritten += 1
            if must_write and (event is None or unwritten >= EVENTS_IN_WRITE):
                unwritten = 0
                self._write()
            for call in told:
                try:
                    call()
                except Exception:  # the application's own: it must not end this thread
                    log.exception("%s: a callback has raised", self.desk.name)

    def _write(self) -> None:
        """Have on disk what the replica wants there. Callers go on meanwhile."""
        assert self._keeper is not None
        try:
            with self._changed:
                self._keeper.collect(self.desk.replica)
            written = self._keeper.work()
        except StoreError as error:
            log.error("%s: %s", self.desk.name, error)
            self._end(error)
            return
        with self._changed:
            if written is not None:
                self.desk.written(written, time.monotonic_ns())
                self._send()
                self._changed.notify_all()

    def _on_quorum(self, change: Quorate) -> None:
        with self._changed:
            if self.desk.ended is None and not self._is_closing:
                self.desk.quorate(change, time.monotonic_ns())
                self._send()
                self._changed.notify_all()

    def _send(self) -> None:
        """Send what the replica wants to send. Under the lock, so that it goes in order."""
        outbox = self.desk.replica.outbox
        while outbox:
            try:
                self._group.mcast(outbox.popleft(), Guarantee.SAFE, timeout=None)
            except Error as error:  # for good: what is lost in between is sent again by the replica
                self.desk.end(error)

    def _end(self, error: Error) -> None:
        with self._changed:
            self.desk.end(error)
            self._changed.notify_all()

    # -- callers -------------------------------------------------------------------------------------------------

    def do(self, command: bytes, timeout: float | None = None) -> bytes:
        """A command; what comes of it. Raises Refused, NoQuorum, Timeout."""
        self._check_thread()
        waiter = Waiter()
        with self._changed:
            call = self.desk.do(command, waiter.wake)
            self._send()
        value: bytes = self._wait_for(call, waiter, self._deadline_s(timeout))
        return value

    def read(self, look: Callable[[], T], timeout: float | None = None) -> T:
        """What is seen at a place in the order."""
        self._check_thread()
        waiter = Waiter()
        with self._changed:
            call = self.desk.read(look, waiter.wake)
            self._send()
        value: T = self._wait_for(call, waiter, self._deadline_s(timeout))
        return value

    def _check_thread(self) -> None:
        if threading.current_thread() is self._thread:
            raise BadOperation("called from a callback of the same recipe, whose thread would have to answer it")

    def local(self, look: Callable[[], T]) -> T:
        """What is seen here and now."""
        with self._changed:
            return look()

    def run(self, steps: Steps[T], timeout: float | None = None) -> T:
        """Carry out the steps of a recipe."""
        deadline_s = self._deadline_s(timeout)
        given: Any = None
        error: Error | None = None
        while True:
            try:
                step = steps.throw(error) if error is not None else steps.send(given)
            except StopIteration as stop:
                value: T = stop.value
                return value
            given = error = None
            try:
                given = self._step(step, deadline_s)
            except Error as raised:
                error = raised

    def _step(self, step: Do | Read | Until, deadline_s: float) -> Any:
        match step:
            case Do(must=True):
                with self._changed:
                    self.desk.must_do(step)
                    self._send()
                return None
            case Do():
                return unpack(self.do(step.packed(), deadline_s - time.monotonic()))
            case Read(look=look):
                return self.read(look, deadline_s - time.monotonic())
            case Until(true=true):
                return self._wait_until(true, deadline_s)

    def _wait_for(self, call: Call, waiter: Waiter, deadline_s: float) -> Any:
        is_over = False
        try:
            is_over = waiter.wait(deadline_s - time.monotonic())
        finally:
            if not is_over:
                with self._changed:
                    late = self.desk.give_up(call)
        if not call.is_over:
            raise late
        if call.error is not None:
            raise call.error
        return call.value

    def _wait_until(self, true: Callable[[], bool], deadline_s: float, *, may_wait_for_quorum: bool = True) -> None:
        with self._changed:
            while not (self.desk.is_ready and true()):
                left_s = deadline_s - time.monotonic()
                if not may_wait_for_quorum:
                    self.desk.check()
                if self.desk.ended is not None or left_s <= 0:
                    raise self.desk.late()
                self._changed.wait(left_s)

    def _deadline_s(self, timeout: float | None) -> float:
        return time.monotonic() + (self.timeout if timeout is None else timeout)

    # -- the end -------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Leave the group: for the others this process is gone."""
        self._is_closing = True
        unsubscribe(self._cluster, self._on_quorum)
        with contextlib.suppress(Error):  # it may be out already; a node that is away takes it out
            self._group.leave(timeout=LEAVE_S)
        self._end(Disconnected(f"{self.desk.name} was closed"))
        if threading.current_thread() is not self._thread:
            self._thread.join()
            if self._keeper is not None:
                self._close_keeper(self._keeper)

    def _close_keeper(self, keeper: Keeper) -> None:
        """What came before the end is kept too."""
        self._keeper = None
        with contextlib.suppress(StoreError):  # it was told, or it is lost with what nobody was told is done
            keeper.collect(self.desk.replica)
            keeper.work()
        keeper.close()
