"""The shell for threads: one thread takes the events of the group, another carries out the calls of the application.

A signal handler may raise at any point of a call, because it runs in the main thread, and the main thread may call.
So a caller changes no shared state. It hands a job to the second thread and waits on a lock of its own. Signal handlers
never run in the threads of this module.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from rondo import BadHandle, BadOperation, Disconnected, Error, Guarantee, NotExist
from rondo.quorum import Quorate
from rondo.recipes.arguments import number_of, seconds_of
from rondo.recipes.desk import TICK_S, TIMEOUT_S, Call, Desk, Hooks, log
from rondo.recipes.errors import StoreError
from rondo.recipes.keeper import Keeper
from rondo.recipes.machines import unpack
from rondo.recipes.quorum_feed import subscribe, unsubscribe
from rondo.recipes.steps import Do, Read, Steps, Until, undone

if TYPE_CHECKING:
    from rondo import Cluster
    from rondo.recipes.core.machine import Machine
    from rondo.recipes.store import Store

T = TypeVar("T")
LEAVE_S = 2.0
WAIT_S_MAX = 3600.0
"""The longest single wait on a lock. `Lock.acquire` refuses time-outs of years, so a longer wait is repeated."""
EVENTS_IN_WRITE = 256
"""At most this many events are handled before their writes are carried out."""


class Waiter:
    """A caller that waits until it is woken."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def wake(self) -> None:
        """End the wait."""
        if self._lock.locked():
            self._lock.release()

    def wait(self, deadline_s: float) -> bool:
        """Wait until `deadline_s` of the monotonic clock. False if that comes first."""
        while True:
            left_s = deadline_s - time.monotonic()
            if self._lock.acquire(timeout=min(max(0.0, left_s), WAIT_S_MAX)):
                return True
            if left_s <= WAIT_S_MAX:
                return False


class Asked:
    """A command or read that its caller hands to the second thread."""

    def __init__(self, desk: Desk, make: Callable[[Callable[[], None]], Call]) -> None:
        self.waiter = Waiter()
        self.call: Call | None = None
        self.error: Error | None = None
        """The error to raise in the caller: a refusal, or the end of its time."""
        self._desk = desk
        self._make = make
        self._is_given_up = False

    def begin(self) -> None:
        """Issue the call, unless its caller has given up. Runs in the second thread."""
        if self._is_given_up:
            return
        try:
            self.call = self._make(self.waiter.wake)
        except Error as error:
            self.error = error
            self.waiter.wake()

    def give_up(self) -> None:
        """Drop the call: its caller no longer waits."""
        self._is_given_up = True
        if self.call is None:
            self.error = self.error or self._desk.late()
        elif not self.call.is_over:
            self.error = self._desk.give_up(self.call)


class Runner:
    """A replica in a group, with the threads that drive it."""

    def __init__(
        self,
        cluster: Cluster,
        group: str,
        machine: Machine,
        hooks: Hooks | None = None,
        timeout: float = TIMEOUT_S,
        nodes_min: int = 1,
        store: Store | None = None,
    ) -> None:
        """Join the group. Returns when the replica has the state. Raises NoQuorum, Timeout, Exists, StoreError, ..."""
        self._cluster = cluster  # first of all: who pickles a recipe is told of the connection, and not of a lock
        self.timeout = seconds_of(timeout, TIMEOUT_S)
        number_of(nodes_min, "nodes_min", 1)
        deadline_s = self._deadline_s(None)
        status = cluster.quorum.status(self.timeout)
        self._pid = os.getpid()
        self._keeper = Keeper(store, group) if store is not None else None
        self._lock = threading.RLock()
        """Guards the desk. It is no `threading.Condition`: an exception of a signal handler leaves that broken."""
        self._waiters: set[Waiter] = set()
        """The callers that wait for a condition of the state."""
        self._jobs: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._is_closing = False
        with contextlib.ExitStack() as stack:
            if self._keeper is not None:
                stack.callback(self._keeper.close)
            self.desk = Desk(cluster, group, machine, status, hooks, self._keeper, nodes_min)
            if self._keeper is not None:
                deque(self._keeper.recover(self.desk.replica), maxlen=0)
            self._group = cluster.cpg.join(group, timeout=max(0.0, deadline_s - time.monotonic()))
            stack.pop_all()
        self._thread = threading.Thread(target=self._run, name=f"rondo-recipes {group}", daemon=True)
        self._hands = threading.Thread(target=self._do_jobs, name=f"rondo-recipes {group} calls", daemon=True)
        try:
            subscribe(cluster, self._on_quorum)
            self._thread.start()
            self._hands.start()
            self._wait_until(lambda: True, deadline_s, may_wait_for_quorum=False)
        except BaseException:
            self.close()
            raise

    # -- the threads ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._take_events()
        except Exception as error:  # of the application's state, or ours: the recipe cannot go on without this thread
            with self._lock:
                self.desk.fail(error)
                self._notify()
        if not self._is_closing:
            with contextlib.suppress(Error):  # it has failed for good, and must not hold locks or items in the group
                self._group.leave(timeout=LEAVE_S)

    def _do_jobs(self) -> None:
        while (job := self._jobs.get()) is not None:
            with self._lock:
                job()
                self._send()

    def _take_events(self) -> None:
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
            with self._lock:
                if event is not None:
                    self.desk.event(event, time.monotonic_ns())
                if now_s >= next_tick_s:
                    next_tick_s = now_s + TICK_S
                    self.desk.tick(time.monotonic_ns())
                self._send()
                self._notify()
                told = self.desk.take_told()
            unwritten += 1
            if must_write and (event is None or unwritten >= EVENTS_IN_WRITE):
                unwritten = 0
                self._write()
            for call in told:
                try:
                    call()
                except Exception:  # of the application: it must not end this thread
                    log.exception("%s: a callback has raised", self.desk.name)

    def _write(self) -> None:
        """Carry out the replica's writes. Callers are not blocked by the disk."""
        assert self._keeper is not None
        try:
            with self._lock:
                self._keeper.collect(self.desk.replica)
            written = self._keeper.work()
        except StoreError as error:
            log.error("%s: %s", self.desk.name, error)
            self._end(error)
            return
        with self._lock:
            if written is not None:
                self.desk.written(written, time.monotonic_ns())
                self._send()
                self._notify()

    def _on_quorum(self, change: Quorate) -> None:
        with self._lock:
            if self.desk.ended is None and not self._is_closing:
                self.desk.quorate(change, time.monotonic_ns())
                self._send()
                self._notify()

    def _send(self) -> None:
        """Send the outbox. The caller holds the lock, which keeps the messages in order."""
        outbox = self.desk.replica.outbox
        while outbox:
            try:
                self._group.mcast(outbox.popleft(), Guarantee.SAFE, timeout=None)
            except Error as error:  # it is permanent: the replica itself repeats what a lost connection loses
                self.desk.end(error)

    def _end(self, error: Error) -> None:
        with self._lock:
            self.desk.end(error)
            self._notify()

    def _notify(self) -> None:
        """Wake all that wait for a condition of the state. The caller holds the lock."""
        for waiter in self._waiters:
            waiter.wake()

    # -- callers -------------------------------------------------------------------------------------------------

    def do(self, command: bytes, timeout: float | None = None) -> bytes:
        """Have a command carried out. Returns its result. Raises Refused, NoQuorum, Timeout."""
        value: bytes = self._ask(lambda wake: self.desk.do(command, wake), self._deadline_s(timeout))
        return value

    def read(self, look: Callable[[], T], timeout: float | None = None) -> T:
        """What `look()` returns once all earlier commands are applied (linearizable)."""
        value: T = self._ask(lambda wake: self.desk.read(look, wake), self._deadline_s(timeout))
        return value

    def _ask(self, make: Callable[[Callable[[], None]], Call], deadline_s: float) -> Any:
        self._check_process()
        if threading.current_thread() in (self._thread, self._hands):
            raise BadOperation("called from a callback of the same recipe, whose thread would have to answer it")
        with self._lock:
            self.desk.check()
        asked = Asked(self.desk, make)
        is_over = False
        try:
            self._jobs.put(asked.begin)
            is_over = asked.waiter.wait(deadline_s)
        finally:
            if not is_over:
                self._jobs.put(asked.give_up)
        if not is_over:
            with self._lock:
                asked.give_up()
        if asked.call is None or (not asked.call.is_over and asked.error is not None):
            assert asked.error is not None
            raise asked.error
        if asked.call.error is not None:
            raise asked.call.error
        return asked.call.value

    def _check_process(self) -> None:
        if self._pid != os.getpid():
            raise BadHandle(f"{self.desk.name} belongs to the parent process; after a fork, connect and join anew")
        if sys.is_finalizing():
            raise BadHandle(f"{self.desk.name}: the interpreter ends, and the threads of the recipe have stopped")

    def local(self, look: Callable[[], T]) -> T:
        """What `look()` returns for this process's copy of the state."""
        self._check_process()
        with self._lock:
            return look()

    def run(self, steps: Steps[T], timeout: float | None = None) -> T:
        """Carry out the steps of a recipe."""
        deadline_s = self._deadline_s(timeout)
        given: Any = None
        error: Error | None = None
        try:
            while True:
                step = steps.throw(error) if error is not None else steps.send(given)
                given = error = None
                try:
                    given = self._step(step, deadline_s)
                except Error as raised:
                    error = raised
        except StopIteration as stop:
            value: T = stop.value
            return value
        except Error:
            raise
        except BaseException:  # from a signal handler or from `look`: give back what the steps have acquired
            undo = undone(steps)
            if undo is not None:
                self._jobs.put(lambda: self.desk.must_do(undo))
            raise

    def _step(self, step: Do | Read | Until, deadline_s: float) -> Any:
        match step:
            case Do(must=True):
                self._jobs.put(lambda: self.desk.must_do(step))
                return None
            case Do():
                return unpack(self.do(step.packed(), deadline_s - time.monotonic()))
            case Read(look=look):
                return self.read(look, deadline_s - time.monotonic())
            case Until(true=true):
                return self._wait_until(true, deadline_s)

    def _wait_until(self, true: Callable[[], bool], deadline_s: float, *, may_wait_for_quorum: bool = True) -> None:
        waiter = Waiter()
        try:
            with self._lock:
                self._waiters.add(waiter)
            while True:
                with self._lock:
                    if self.desk.is_ready and true():
                        return
                    if not may_wait_for_quorum:
                        self.desk.check()
                    if self.desk.ended is not None:
                        raise self.desk.ended
                if not waiter.wait(deadline_s):
                    with self._lock:
                        raise self.desk.late()
        finally:
            self._waiters.discard(waiter)

    def _deadline_s(self, timeout: float | None) -> float:
        return time.monotonic() + seconds_of(timeout, self.timeout)

    # -- the end -------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Leave the group. The others give up all that this process holds there."""
        if self._pid != os.getpid() or sys.is_finalizing():
            return  # the parent owns it; or its threads have stopped, and the end of this process is its leave
        self._is_closing = True
        unsubscribe(self._cluster, self._on_quorum)
        with contextlib.suppress(Error):  # it may have left already; a node that is away removes it
            self._group.leave(timeout=LEAVE_S)
        self._end(Disconnected(f"{self.desk.name} was closed"))
        self._jobs.put(None)
        if threading.current_thread() is not self._thread and self._thread.ident is not None:
            self._thread.join()
            if self._keeper is not None:
                self._close_keeper(self._keeper)

    def _close_keeper(self, keeper: Keeper) -> None:
        """Write what came before the end, and release the disk."""
        self._keeper = None
        with contextlib.suppress(StoreError):  # it was reported, or what is lost was not acknowledged
            keeper.collect(self.desk.replica)
            keeper.work()
        keeper.close()
