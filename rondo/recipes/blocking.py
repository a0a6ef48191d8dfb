"""The recipes with ready-made operations (dictionary, counter, lock, queue ...), for threads."""

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
    """What these recipes have in common."""

    MACHINE: ClassVar[type[Operations]]

    def __init__(self, cluster: Cluster, name: str, *, nodes_min: int = 1, timeout: float = TIMEOUT_S) -> None:
        """Join the group. Returns when this process has the state. Raises NoQuorum, Timeout.

        `timeout`: seconds, for this call and for each later call that is given none. `nodes_min`: a group in which
        nobody has a state begins with processes on so many nodes. With a majority of all nodes, no process begins alone
        a state that it would lose if it were cut off. All processes should give the same number.
        """
        self._machine: Any = self.MACHINE()
        cluster_of(cluster)
        self._runner = Runner(cluster, self.PREFIX + name_of(name), self._machine, None, timeout, nodes_min)


class Dict(Of):
    """A dictionary that all processes of the group share. Keys and values can be all that msgpack can hold.

    Reads use the copy in this process, unless `get` is called with `linearizable`.
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
        """All keys and values of the copy in this process."""
        return self._runner.local(lambda: copy.deepcopy(list(self._machine.items.items())))

    def get(self, key: Any, default: Any = None, *, linearizable: bool = False, timeout: float | None = None) -> Any:
        """A value. `linearizable`: it is no older than this call; then it may raise NoQuorum, Timeout."""
        seconds_of(timeout, 0.0)
        if truth_of(linearizable, "linearizable"):
            return copy.deepcopy(self._runner.run(steps.get(self._machine, key, default), timeout))
        return self._runner.local(lambda: copy.deepcopy(self._machine.items.get(key, default)))

    def put_if(self, key: Any, expected: Any, value: Any, timeout: float | None = None) -> bool:
        """Set a key if it has the expected value (None: if it does not exist). Returns True if it did."""
        key_of(key)
        value_of(expected, "expected")
        value_of(value, "value")
        was: bool = self._runner.run(steps.one("put_if", key, expected, value), timeout)
        return was

    def clear(self) -> None:
        """Remove all keys."""
        self._runner.run(steps.one("clear"))

    def watch(self, watcher: Callable[[Any, Any, Any], None]) -> None:
        """Call `watcher(key, old, new)` for every change from now on, in a thread of the recipe. A value of None means
        that the key does not exist."""
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
        """Add to the value. Returns the new value; unless the step is 0, no other caller gets the same one."""
        value: int = self._runner.run(steps.one("add", number_of(step, "step")), timeout)
        return value

    def set(self, value: int, timeout: float | None = None) -> int:
        """Set the value. Returns the old one."""
        old: int = self._runner.run(steps.one("put", number_of(value, "value")), timeout)
        return old

    @property
    def value(self) -> int:
        """The value of the copy in this process."""
        return self._runner.local(lambda: self._machine.value)

    def get(self, timeout: float | None = None) -> int:
        """The present value: no older than this call (linearizable). Raises NoQuorum, Timeout."""
        return self._runner.run(steps.value(self._machine), timeout)


class Permit:
    """A permit that is held. `fencing` is larger than that of all permits before: give it to what you protect, so that
    it can refuse a holder that comes too late."""

    def __init__(self, fencing: int, is_held: Callable[[], bool]) -> None:
        self.fencing = fencing
        self._is_held = is_held

    @property
    def is_held(self) -> bool:
        """True if the permit is still held, as far as this process knows. A process that was cut off holds nothing."""
        return self._is_held()

    def __repr__(self) -> str:
        return f"<rondo.recipes.Permit {self.fencing}>"


class Semaphore(Of):
    """A limited number of permits. A process that dies or is cut off from the majority loses those that it holds."""

    PREFIX = "semaphore:"
    MACHINE = Permits
    _machine: Permits

    def __init__(
        self, cluster: Cluster, name: str, permits: int, *, nodes_min: int = 1, timeout: float = TIMEOUT_S
    ) -> None:
        """`permits`: how many there are. All processes should give the same number."""
        self._permits = number_of(permits, "permits", 1)
        self._tickets: dict[Ticket, bool] = {}
        """Permits that were asked for, in that order, and whether the caller was told that it has one. Of a caller that
        was interrupted nobody knows; the state does."""
        self._given_back: set[Ticket] = set()
        super().__init__(cluster, name, nodes_min=nodes_min, timeout=timeout)

    def acquire(self, timeout: float | None = None, *, blocking: bool = True, says: Any = None) -> Permit | None:
        """Wait for a permit and take it. Without `blocking`: None if none is free. Raises NoQuorum, Timeout."""
        value_of(says, "says")
        truth_of(blocking, "blocking")
        desk, machine = self._runner.desk, self._machine
        ticket = self._runner.local(desk.next_ticket)
        # First of all: an exception of a signal handler may come at any place behind, and the permit must not get lost.
        self._tickets[ticket] = False
        try:
            asked = steps.acquire(machine, ticket, self._permits, says, blocking, desk.clock_ms())
            fencing = self._runner.run(asked, timeout)
        except Error:
            self._forget(ticket)
            raise
        if fencing is None:
            self._forget(ticket)
            return None
        self._tickets[ticket] = True
        return Permit(fencing, lambda: desk.is_ready and machine.fencing(ticket) == fencing)

    def release(self, timeout: float | None = None) -> bool:
        """Give back the permit that was taken first. Returns True if it was still held."""
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
    """A lock with one holder at a time. `with Lock(cluster, "backup") as token:` takes it, and closes it at the end."""

    PREFIX = "lock:"

    def __init__(self, cluster: Cluster, name: str, *, nodes_min: int = 1, timeout: float = TIMEOUT_S) -> None:
        super().__init__(cluster, name, 1, nodes_min=nodes_min, timeout=timeout)

    def __exit__(self, *_: object) -> None:
        try:
            super().__exit__()
        finally:
            self.close()


class Election(Of):
    """Elects one process as leader: of those that live, the one that asked first."""

    PREFIX = "election:"
    MACHINE = Permits
    _machine: Permits
    _ticket: Ticket | None = None

    def lead(self, says: Any = None, timeout: float | None = None) -> Permit:
        """Stand for election, and return when elected. `says` is what the others see of the leader."""
        value_of(says, "says")
        desk, machine = self._runner.desk, self._machine
        ticket = self._ticket = self._runner.local(desk.next_ticket)
        fencing = self._runner.run(steps.acquire(machine, ticket, 1, says, True, desk.clock_ms()), timeout)
        assert fencing is not None
        return Permit(fencing, lambda: desk.is_ready and machine.fencing(ticket) == fencing)

    def resign(self, timeout: float | None = None) -> bool:
        """Stop leading. Returns True if this process was the leader."""
        if self._ticket is None:
            raise BadOperation(f"{self.name}: this process has not stood for election")
        return self._runner.run(steps.give_back("release", self._ticket[1]), timeout)

    @property
    def leader(self) -> tuple[int, Any] | None:
        """The leader's fencing token and what it says, by the copy in this process."""
        return self._runner.local(lambda: next(iter(self._machine.held.values()), None))


class Barrier(Of):
    """A point at which a number of parties wait for each other."""

    PREFIX = "barrier:"
    MACHINE = Meetings
    _machine: Meetings

    def __init__(
        self, cluster: Cluster, name: str, parties: int, *, nodes_min: int = 1, timeout: float = TIMEOUT_S
    ) -> None:
        """`parties`: how many have to be there."""
        self._parties = number_of(parties, "parties", 1)
        super().__init__(cluster, name, nodes_min=nodes_min, timeout=timeout)

    def wait(self, timeout: float | None = None) -> None:
        """Return when all parties are there. Raises Timeout, NoQuorum."""
        ticket = self._runner.local(self._runner.desk.next_ticket)
        self._runner.run(steps.meet(self._machine, ticket, self._parties), timeout)


class Job:
    """An item of a queue that this process has. After `with job:` it is done; if the block raises, it goes back."""

    def __init__(self, queue: Queue, item: int, value: Any) -> None:
        self._queue = queue
        self.item = item
        self.value = value

    def done(self, timeout: float | None = None) -> None:
        """The item is done. Raises NotExist if this process was cut off, and another one has the item."""
        self._queue.done(self.item, timeout)

    def back(self, timeout: float | None = None) -> bool:
        """The item is not done, and another worker gets it. Returns True if this process still had it."""
        return self._queue.back(self.item, timeout)

    def __enter__(self) -> Any:
        return self.value

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.done()
        else:
            self.back()


class Queue(Of):
    """A queue of items. Each item goes to one worker. If that worker dies, the item is the next one again."""

    PREFIX = "queue:"
    MACHINE = Jobs
    _machine: Jobs

    def __init__(
        self, cluster: Cluster, name: str, *, items_max: int = ITEMS_MAX, nodes_min: int = 1, timeout: float = TIMEOUT_S
    ) -> None:
        """`items_max`: how many items may wait."""
        self._items_max = number_of(items_max, "items_max", 1)
        super().__init__(cluster, name, nodes_min=nodes_min, timeout=timeout)

    def put(self, value: Any, timeout: float | None = None) -> int:
        """Add an item. Returns its number. Raises QueueFull."""
        return self._runner.run(steps.put(value_of(value, "value"), self._items_max), timeout)

    def get(self, timeout: float | None = None, *, blocking: bool = True) -> Job | None:
        """Wait for the next item and take it. Without `blocking`: None if there is none."""
        truth_of(blocking, "blocking")
        ticket = self._runner.local(self._runner.desk.next_ticket)
        given = self._runner.run(steps.take(self._machine, ticket, blocking), timeout)
        return None if given is None else Job(self, *given)

    def done(self, item: int, timeout: float | None = None) -> None:
        """An item is done. Raises NotExist."""
        self._runner.run(steps.done(number_of(item, "item")), timeout)

    def back(self, item: int, timeout: float | None = None) -> bool:
        """An item is not done. Returns True if this worker still had it."""
        return self._runner.run(steps.back(self._machine, number_of(item, "item")), timeout)

    def __len__(self) -> int:
        return self._runner.local(lambda: len(self._machine.line))


class Once(Of):
    """Something that only one of the processes does, and only once."""

    PREFIX = "once:"
    MACHINE = Single
    _machine: Single

    def run(self, do: Callable[[], Any], timeout: float | None = None) -> Any:
        """Call `do()`, unless another process has done so. Returns what it returned, in whichever process that was. If
        the process dies during the call, or `do` raises, another one calls it. Then it began twice, and ended once."""
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
        """True if it is done, by the copy in this process."""
        return self._runner.local(lambda: self._machine.is_done)
