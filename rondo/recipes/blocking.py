"""The recipes of operations, for threads."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from rondo import BadHandle, BadOperation, Disconnected, Error, NoQuorum, Timeout
from rondo.recipes import steps
from rondo.recipes.arguments import cluster_of, function_of, key_of, name_of, number_of, seconds_of, truth_of, value_of
from rondo.recipes.desk import TIMEOUT_S
from rondo.recipes.machines import Jobs, Meetings, Number, Operations, Permits, Single, Table, Ticket
from rondo.recipes.runner import Runner
from rondo.recipes.state_machine import Recipe

if TYPE_CHECKING:
    from rondo import Cluster

ITEMS_MAX = 1_000_000


class Of(Recipe):
    """A recipe of operations."""

    MACHINE: ClassVar[type[Operations]]

    def __init__(self, cluster: Cluster, name: str, *, timeout: float = TIMEOUT_S) -> None:
        """Joins; returns when this process has the state. Raises NoQuorum, Timeout.

        `timeout`: seconds for this and for every call that is given none.
        """
        self._machine: Any = self.MACHINE()
        cluster_of(cluster)
        self._runner = Runner(cluster, self.PREFIX + name_of(name), self._machine, None, timeout)


class Dict(Of):
    """A dictionary that all processes of the group share. Keys and values are what msgpack can hold.

    Reading is local, unless `get` is told otherwise.
    """

    PREFIX = "dict:"
    MACHINE = Table
    _machine: Table

    def __setitem__(self, key: Any, value: Any) -> None:
        key_of(key)
        value_of(value, "value")
        self._runner.run(steps.one("put", key, value))

    def __delitem__(self, key: Any) -> None:
        self._runner.run(steps.remove(key_of(key)))

    def __getitem__(self, key: Any) -> Any:
        return self._runner.local(lambda: copy.deepcopy(self._machine.items[key]))

    def __contains__(self, key: Any) -> bool:
        return self._runner.local(lambda: key in self._machine.items)

    def __len__(self) -> int:
        return self._runner.local(lambda: len(self._machine.items))

    def __iter__(self) -> Iterator[Any]:
        return iter(self._runner.local(lambda: list(self._machine.items)))

    def items(self) -> list[tuple[Any, Any]]:
        """All keys and values, as they are here and now."""
        return self._runner.local(lambda: copy.deepcopy(list(self._machine.items.items())))

    def get(self, key: Any, default: Any = None, *, linearizable: bool = False, timeout: float | None = None) -> Any:
        """A value. `linearizable`: what was set by anybody before this call is seen; raises NoQuorum, Timeout."""
        seconds_of(timeout, 0.0)
        if truth_of(linearizable, "linearizable"):
            return copy.deepcopy(self._runner.run(steps.get(self._machine, key, default), timeout))
        return self._runner.local(lambda: copy.deepcopy(self._machine.items.get(key, default)))

    def put_if(self, key: Any, expected: Any, value: Any, timeout: float | None = None) -> bool:
        """Set a key if its value is the expected one (None: there is none): whether it was."""
        key_of(key)
        value_of(expected, "expected")
        value_of(value, "value")
        was: bool = self._runner.run(steps.one("put_if", key, expected, value), timeout)
        return was

    def clear(self) -> None:
        """Remove all."""
        self._runner.run(steps.one("clear"))

    def watch(self, watcher: Callable[[Any, Any, Any], None]) -> None:
        """Call `watcher(key, old, new)` for every change from now on (None: there is none), in a thread of the
        recipe."""
        function_of(watcher, "watcher")
        desk = self._runner.desk
        self._runner.local(
            lambda: self._machine.watchers.append(lambda key, old, new: desk.tell(lambda: watcher(key, old, new)))
        )


class Counter(Of):
    """An integer that all processes of the group share."""

    PREFIX = "counter:"
    MACHINE = Number
    _machine: Number

    def add(self, step: int = 1, timeout: float | None = None) -> int:
        """Add; the new value, which nobody else gets for a step that is not 0."""
        value: int = self._runner.run(steps.one("add", number_of(step, "step")), timeout)
        return value

    def set(self, value: int, timeout: float | None = None) -> int:
        """Set; the old value."""
        old: int = self._runner.run(steps.one("put", number_of(value, "value")), timeout)
        return old

    @property
    def value(self) -> int:
        """As it is here and now."""
        return self._runner.local(lambda: self._machine.value)

    def get(self, timeout: float | None = None) -> int:
        """As it is for everybody (linearizable)."""
        return self._runner.run(steps.value(self._machine), timeout)


class Permit:
    """A permit that is held. `fencing` is larger than that of all permits before: give it to what you protect, so that
    it can refuse who comes late."""

    def __init__(self, fencing: int, is_held: Callable[[], bool]) -> None:
        self.fencing = fencing
        self._is_held = is_held

    @property
    def is_held(self) -> bool:
        """Whether it is held still, as far as this process knows. Who was cut off holds nothing."""
        return self._is_held()

    def __repr__(self) -> str:
        return f"<rondo.recipes.Permit {self.fencing}>"


class Semaphore(Of):
    """So many may go on at once. What a process holds is given back when it dies, or is cut off from the majority."""

    PREFIX = "semaphore:"
    MACHINE = Permits
    _machine: Permits

    def __init__(self, cluster: Cluster, name: str, permits: int, *, timeout: float = TIMEOUT_S) -> None:
        """`permits`: how many; all processes should say the same."""
        self._permits = number_of(permits, "permits", 1)
        self._tickets: dict[Ticket, bool] = {}
        """Permits that were asked for, in that order, and whether the caller was told that it has one. Of a caller that
        was interrupted nobody knows; the state does."""
        self._given_back: set[Ticket] = set()
        super().__init__(cluster, name, timeout=timeout)

    def acquire(self, timeout: float | None = None, *, blocking: bool = True, says: Any = None) -> Permit | None:
        """A permit; None if not `blocking` and there is none. Raises NoQuorum, Timeout."""
        value_of(says, "says")
        truth_of(blocking, "blocking")
        desk, machine = self._runner.desk, self._machine
        ticket = self._runner.local(desk.next_ticket)
        # First of all: an exception of a signal handler may come at any place behind, and the permit must not get lost.
        self._tickets[ticket] = False
        try:
            fencing = self._runner.run(steps.acquire(machine, ticket, self._permits, says, blocking), timeout)
        except Error:
            self._forget(ticket)
            raise
        if fencing is None:
            self._forget(ticket)
            return None
        self._tickets[ticket] = True
        return Permit(fencing, lambda: desk.is_ready and machine.fencing(ticket) == fencing)

    def release(self, timeout: float | None = None) -> bool:
        """Give back the permit that was taken first: whether it was held still."""
        seconds_of(timeout, 0.0)
        ticket = self._runner.local(self._first)
        if ticket is None:
            raise BadOperation(f"{self.name}: this process has no permit to give back")
        try:
            was_held = self._runner.run(steps.give_back("release", ticket[1]), timeout)
        except Error:  # it is given back once the group goes on
            self._forget(ticket)
            raise
        self._forget(ticket)
        return was_held

    def _first(self) -> Ticket | None:
        """The permit to give back next: one that is held and that no other thread gives back, if there is one."""
        held = [each for each in self._tickets if self._machine.fencing(each) is not None]
        free = [each for each in held if each not in self._given_back]
        known = [each for each, is_known in self._tickets.items() if is_known]
        found = next(iter([each for each in free if each in known] or free or held or known), None)
        if found is not None:
            self._given_back.add(found)
        return found

    def _forget(self, ticket: Ticket) -> None:
        self._tickets.pop(ticket, None)
        self._given_back.discard(ticket)

    def __enter__(self) -> Any:
        permit = self.acquire()
        assert permit is not None
        return permit

    def __exit__(self, *_: object) -> None:
        # Who cannot say that it gives it back is cut off, and holds nothing.
        # In a child process it is the parent's.
        with contextlib.suppress(NoQuorum, Timeout, Disconnected, BadHandle):
            self.release()


class Lock(Semaphore):
    """One at a time. `with Lock(cluster, "backup") as token:` takes it, and closes it at the end."""

    PREFIX = "lock:"

    def __init__(self, cluster: Cluster, name: str, *, timeout: float = TIMEOUT_S) -> None:
        super().__init__(cluster, name, 1, timeout=timeout)

    def __exit__(self, *_: object) -> None:
        try:
            super().__exit__()
        finally:
            self.close()


class Election(Of):
    """One of all leads: who came first, of those that live."""

    PREFIX = "election:"
    MACHINE = Permits
    _machine: Permits
    _ticket: Ticket | None = None

    def lead(self, says: Any = None, timeout: float | None = None) -> Permit:
        """Stand for election, and return when elected. `says` is what the others see of the leader."""
        value_of(says, "says")
        desk, machine = self._runner.desk, self._machine
        ticket = self._ticket = self._runner.local(desk.next_ticket)
        fencing = self._runner.run(steps.acquire(machine, ticket, 1, says, True), timeout)
        assert fencing is not None
        return Permit(fencing, lambda: desk.is_ready and machine.fencing(ticket) == fencing)

    def resign(self, timeout: float | None = None) -> bool:
        """Lead no more: whether it did."""
        if self._ticket is None:
            raise BadOperation(f"{self.name}: this process has not stood for election")
        return self._runner.run(steps.give_back("release", self._ticket[1]), timeout)

    @property
    def leader(self) -> tuple[int, Any] | None:
        """The leader's fencing token and what it says, as they are here and now."""
        return self._runner.local(lambda: next(iter(self._machine.held.values()), None))


class Barrier(Of):
    """Parties that wait until so many are there."""

    PREFIX = "barrier:"
    MACHINE = Meetings
    _machine: Meetings

    def __init__(self, cluster: Cluster, name: str, parties: int, *, timeout: float = TIMEOUT_S) -> None:
        """`parties`: how many wait for each other."""
        self._parties = number_of(parties, "parties", 1)
        super().__init__(cluster, name, timeout=timeout)

    def wait(self, timeout: float | None = None) -> None:
        """Return when all are there. Raises Timeout, NoQuorum."""
        ticket = self._runner.local(self._runner.desk.next_ticket)
        self._runner.run(steps.meet(self._machine, ticket, self._parties), timeout)


class Job:
    """An item of a queue, while this process has it: `with job:` it is done at the end, or goes back if that raises."""

    def __init__(self, queue: Queue, item: int, value: Any) -> None:
        self._queue = queue
        self.item = item
        self.value = value

    def done(self, timeout: float | None = None) -> None:
        """It is done. Raises NotExist if this process was cut off, and somebody else has it."""
        self._queue.done(self.item, timeout)

    def back(self, timeout: float | None = None) -> bool:
        """It is not done, and the next one gets it: whether it was this process's still."""
        return self._queue.back(self.item, timeout)

    def __enter__(self) -> Any:
        return self.value

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.done()
        else:
            self.back()


class Queue(Of):
    """Items in order, each for one worker; an item whose worker has died is the next one again."""

    PREFIX = "queue:"
    MACHINE = Jobs
    _machine: Jobs

    def __init__(self, cluster: Cluster, name: str, *, items_max: int = ITEMS_MAX, timeout: float = TIMEOUT_S) -> None:
        """`items_max`: so many may wait."""
        self._items_max = number_of(items_max, "items_max", 1)
        super().__init__(cluster, name, timeout=timeout)

    def put(self, value: Any, timeout: float | None = None) -> int:
        """One more item; its number. Raises QueueFull."""
        return self._runner.run(steps.put(value_of(value, "value"), self._items_max), timeout)

    def get(self, timeout: float | None = None, *, blocking: bool = True) -> Job | None:
        """The next item; None if not `blocking` and there is none."""
        truth_of(blocking, "blocking")
        ticket = self._runner.local(self._runner.desk.next_ticket)
        given = self._runner.run(steps.take(self._machine, ticket, blocking), timeout)
        return None if given is None else Job(self, *given)

    def done(self, item: int, timeout: float | None = None) -> None:
        """An item is done. Raises NotExist."""
        self._runner.run(steps.done(number_of(item, "item")), timeout)

    def back(self, item: int, timeout: float | None = None) -> bool:
        """An item is not done: whether it was this worker's still."""
        return self._runner.run(steps.back(self._machine, number_of(item, "item")), timeout)

    def __len__(self) -> int:
        return self._runner.local(lambda: len(self._machine.line))


class Once(Of):
    """Something that one of all processes does, once."""

    PREFIX = "once:"
    MACHINE = Single
    _machine: Single

    def run(self, do: Callable[[], Any], timeout: float | None = None) -> Any:
        """Call `do()`, unless somebody has; what it returned, wherever that was. If its process dies in the middle, or
        it raises, another one calls it: then it was begun twice, and ended once."""
        function_of(do, "do")
        ticket = self._runner.local(self._runner.desk.next_ticket)
        if not self._runner.run(steps.claim(self._machine, ticket), timeout):
            return self._runner.local(lambda: copy.deepcopy(self._machine.result))
        try:
            result = value_of(do(), "what `do` has returned")
        except BaseException:
            self._runner.run(steps.give_up(ticket))
            raise
        self._runner.run(steps.give_back("finish", ticket[1], result), timeout)
        return result

    @property
    def is_done(self) -> bool:
        """As it is here and now."""
        return self._runner.local(lambda: self._machine.is_done)
