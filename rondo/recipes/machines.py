"""The state machines of the recipes. They are deterministic: only commands and membership change them.

A command is a msgpack array `[operation, argument, ...]`, and its result is packed in the same way. If an operation
raises, the exception is its result, and the caller gets it as `Refused`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Any, ClassVar

import msgpack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

ITEMS_IN_PIECE = 512
INTEGER_MIN, INTEGER_MAX = -(1 << 63), (1 << 64) - 1
"""The integers that msgpack can encode."""
Ticket = tuple[bytes, int]
"""An author, and its number for a request. It identifies who waits for, or holds, something."""


def pack(value: Any) -> bytes:
    """Encode a value. Raises TypeError for a type that msgpack cannot encode."""
    packed: bytes = msgpack.packb(value, use_bin_type=True)
    return packed


def unpack(data: bytes) -> Any:
    """Decode a value."""
    return msgpack.unpackb(data, raw=False, strict_map_key=False)


class Operations(ABC):
    """A machine whose commands call the methods in `OPERATIONS`, with the author as first argument."""

    OPERATIONS: ClassVar[frozenset[str]]

    def apply(self, author: bytes, command: bytes) -> bytes:
        """Carry out an operation. Returns its packed result."""
        name, *arguments = unpack(command)
        if name not in self.OPERATIONS:
            raise ValueError(f"no operation {name!r}: another version of this recipe is in the group")
        return pack(getattr(self, name)(author, *arguments))

    def went_on(self, ring_sequence: int) -> None:  # noqa: B027 - not abstract: most machines do not depend on the ring
        """Note that the group goes on in the ring with this sequence. By default nothing depends on it."""

    def gone(self, author: bytes) -> None:  # noqa: B027 - not abstract: most machines hold nothing for an author
        """Note that an author has died or was cut off. By default nothing depends on it."""

    @abstractmethod
    def snapshot(self) -> Iterable[bytes]:
        """The present state in pieces."""

    @abstractmethod
    def restore(self, pieces: Iterator[bytes]) -> None:
        """Set the state to that of a snapshot."""


class SmallState(Operations):
    """A machine whose whole state is one piece of a snapshot."""

    @abstractmethod
    def state(self) -> Any:
        """The whole state, as values that msgpack can encode."""

    @abstractmethod
    def set_state(self, state: Any) -> None:
        """Set the whole state."""

    def snapshot(self) -> Iterable[bytes]:
        """The present state in one piece."""
        return [pack(self.state())]

    def restore(self, pieces: Iterator[bytes]) -> None:
        """Set the state to that of a snapshot."""
        self.set_state(unpack(b"".join(pieces)))


class Table(Operations):
    """The state of `Dict`: keys and values."""

    OPERATIONS = frozenset({"put", "remove", "put_if", "clear"})

    def __init__(self) -> None:
        self.items: dict[Any, Any] = {}
        self.watchers: list[Callable[[Any, Any, Any], None]] = []
        """Called with key, old and new value for each change. None means that the key does not exist."""

    def put(self, _author: bytes, key: Any, value: Any) -> Any:
        """Set a key. Returns its old value."""
        old = self.items.get(key)
        self.items[key] = value
        self._tell(key, old, value)
        return old

    def remove(self, _author: bytes, key: Any) -> Any:
        """Remove a key. Returns whether it existed, and its value."""
        if key not in self.items:
            return [False, None]
        old = self.items.pop(key)
        self._tell(key, old, None)
        return [True, old]

    def put_if(self, author: bytes, key: Any, expected: Any, value: Any) -> Any:
        """Set a key if it has the expected value (None: if it does not exist). Returns True if it did."""
        if self.items.get(key) != expected:
            return False
        self.put(author, key, value)
        return True

    def clear(self, author: bytes) -> None:
        """Remove all keys."""
        for key in list(self.items):
            self.remove(author, key)

    def _tell(self, key: Any, old: Any, new: Any) -> None:
        if old != new:
            for watcher in self.watchers:
                watcher(key, old, new)

    def snapshot(self) -> Iterable[bytes]:
        """The items in pieces. Values are never changed in place, so a list of them is a snapshot."""
        items = list(self.items.items())
        return (pack(items[at : at + ITEMS_IN_PIECE]) for at in range(0, len(items), ITEMS_IN_PIECE))

    def restore(self, pieces: Iterator[bytes]) -> None:
        """Set the state to that of a snapshot, and tell watchers what is different."""
        old = self.items
        self.items = {key: value for piece in pieces for key, value in unpack(piece)}
        for key in [*old, *(key for key in self.items if key not in old)]:
            self._tell(key, old.get(key), self.items.get(key))


class Number(SmallState):
    """The state of `Counter`: an integer."""

    OPERATIONS = frozenset({"add", "put"})

    def __init__(self) -> None:
        self.value = 0

    def add(self, _author: bytes, step: int) -> int:
        """Add `step`. Returns the new value. Raises OverflowError, and keeps the value then."""
        return self._be(self.value + step)

    def put(self, _author: bytes, value: int) -> int:
        """Set the value. Returns the old one."""
        old = self.value
        self._be(value)
        return old

    def _be(self, value: int) -> int:
        # A value that msgpack cannot encode could not be transferred to a member that joins.
        if type(value) is not int or not INTEGER_MIN <= value <= INTEGER_MAX:
            raise OverflowError(f"a counter goes from {INTEGER_MIN} to {INTEGER_MAX}, and cannot be {value!r:.80}")
        self.value = value
        return value

    def state(self) -> Any:
        return self.value

    def set_state(self, state: Any) -> None:
        self.value = state


def _check_count(count: int) -> None:
    """Raise ValueError for a count that a well-behaved process does not send: it would break the state for all."""
    if type(count) is not int or count < 1:
        raise ValueError(f"a number from 1 on; not {count!r:.80}")


CLOCK_BITS = 40
RING_BITS = 48
"""A node without a ring file begins with seconds since 1970 * 65536: 48 bits are enough until 2106."""
RING_SHIFT = 14
"""A new ring's sequence is higher by 4. So it counts as much as 65 seconds of the clock, and the sum, with all tokens
that are counted up from there, is a signed number of 64 bits."""


class Permits(SmallState):
    """The state of `Lock`, `Semaphore` and `Election`: a number of permits, and a queue of those who wait for one.

    Each permit gets a fencing token that is larger than all before, also than those of a state that was lost. It is one
    more than the last one, and more than the sum of two numbers: the sequence of the ring in which the group last went
    on, and the time at which a process asked. A new state begins in a later ring, or in the same ring after all
    processes of the group have ended. In a later ring the clock may be 65 seconds behind.
    """

    OPERATIONS = frozenset({"acquire", "release"})

    def __init__(self) -> None:
        self.held: dict[Ticket, tuple[int, Any]] = {}
        """Fencing token and the holder's description of itself, in the order in which the permits were given."""
        self.line: dict[Ticket, Any] = {}
        self.last_fencing = 0
        self.ring = 0
        self.clock_ms = 0
        self.permits = 1

    def went_on(self, ring_sequence: int) -> None:
        self.ring = ring_sequence % (1 << RING_BITS)
        self._raise()

    def acquire(self, author: bytes, number: int, permits: int, says: Any, waits: bool, clock_ms: int) -> int | None:
        """Ask for a permit. Returns its fencing token, or None if none is free. Queues the ticket if it `waits`.
        `clock_ms` is the time of the process that asks."""
        _check_count(permits)
        if type(clock_ms) is not int or not 0 <= clock_ms < 1 << CLOCK_BITS:
            raise ValueError(f"a time of {CLOCK_BITS} bits; not {clock_ms!r:.80}")
        self.clock_ms = max(self.clock_ms, clock_ms)
        self._raise()
        self.permits = permits
        ticket = (author, number)
        if ticket not in self.held:
            self.line[ticket] = says
        self._give()
        if not waits:
            self.line.pop(ticket, None)
        return self.fencing(ticket)

    def release(self, author: bytes, number: int) -> bool:
        """Give a permit back, or leave the queue. Returns True if the permit was held."""
        was_held = self.held.pop((author, number), None) is not None
        self.line.pop((author, number), None)
        self._give()
        return was_held

    def gone(self, author: bytes) -> None:
        for table in (self.held, self.line):
            for ticket in [each for each in table if each[0] == author]:
                del table[ticket]
        self._give()

    def _raise(self) -> None:
        self.last_fencing = max(self.last_fencing, (self.ring << RING_SHIFT) + self.clock_ms)

    def _give(self) -> None:
        while self.line and len(self.held) < self.permits:
            ticket = next(iter(self.line))
            self.last_fencing += 1
            self.held[ticket] = (self.last_fencing, self.line.pop(ticket))

    def fencing(self, ticket: Ticket) -> int | None:
        """The fencing token of a ticket; None if it holds no permit."""
        held = self.held.get(ticket)
        return held[0] if held is not None else None

    def state(self) -> Any:
        held = [[*ticket, *value] for ticket, value in self.held.items()]
        line = [[*ticket, says] for ticket, says in self.line.items()]
        return [held, line, self.last_fencing, self.ring, self.clock_ms, self.permits]

    def set_state(self, state: Any) -> None:
        held, line, self.last_fencing, self.ring, self.clock_ms, self.permits = state
        self.held = {(author, number): (fencing, says) for author, number, fencing, says in held}
        self.line = {(author, number): says for author, number, says in line}


class Meetings(SmallState):
    """The state of `Barrier`: parties that wait for each other, in one generation after another."""

    OPERATIONS = frozenset({"arrive", "withdraw"})

    def __init__(self) -> None:
        self.waiting: dict[Ticket, None] = {}
        self.generation = 0
        self.met: deque[Ticket] = deque(maxlen=65536)
        """The latest tickets whose wait is over. Their callers may not have looked yet."""

    def arrive(self, author: bytes, number: int, parties: int) -> None:
        """Arrive at the barrier. The last of `parties` ends the wait of all."""
        _check_count(parties)
        self.waiting[author, number] = None
        if len(self.waiting) >= parties:
            self.met.extend(self.waiting)
            self.waiting.clear()
            self.generation += 1

    def withdraw(self, author: bytes, number: int) -> bool:
        """Leave the barrier. Returns True if the ticket was still waiting."""
        there = (author, number) in self.waiting
        self.waiting.pop((author, number), None)
        return there

    def gone(self, author: bytes) -> None:
        for ticket in [each for each in self.waiting if each[0] == author]:
            del self.waiting[ticket]

    def state(self) -> Any:
        return [[list(ticket) for ticket in self.waiting], self.generation, [list(ticket) for ticket in self.met]]

    def set_state(self, state: Any) -> None:
        waiting, self.generation, met = state
        self.waiting = dict.fromkeys((author, number) for author, number in waiting)
        self.met = deque(((author, number) for author, number in met), maxlen=65536)


class Jobs(SmallState):
    """The state of `Queue`: items, and workers that take them. If a worker is gone its item returns to the front."""

    OPERATIONS = frozenset({"put", "take", "done", "back", "withdraw"})

    def __init__(self) -> None:
        self.line: deque[tuple[int, Any]] = deque()
        self.taken: dict[int, tuple[Ticket, Any]] = {}
        """By number of the item: the ticket that has it, and the item."""
        self.workers: dict[Ticket, None] = {}
        """The tickets that wait for an item."""
        self.last_item = 0

    def put(self, _author: bytes, value: Any, items_max: int) -> int | None:
        """Append an item. Returns its number; None if `items_max` items wait already."""
        if len(self.line) >= items_max:
            return None
        self.last_item += 1
        self.line.append((self.last_item, value))
        self._give()
        return self.last_item

    def take(self, author: bytes, number: int, waits: bool) -> bool:
        """Ask for an item. Returns True if one was given at once. Otherwise the ticket is queued if it `waits`."""
        self.workers[author, number] = None
        self._give()
        is_given = (author, number) not in self.workers
        if not is_given and not waits:
            del self.workers[author, number]
        return is_given

    def done(self, author: bytes, item: int) -> bool:
        """Remove an item that is done. Returns True if this author still had it."""
        if item not in self.taken or self.taken[item][0][0] != author:
            return False
        del self.taken[item]
        return True

    def back(self, author: bytes, item: int, number: int) -> bool:
        """Return an item to the front. Returns True if this ticket still had it."""
        if item not in self.taken or self.taken[item][0] != (author, number):
            return False
        self._put_back([item])
        return True

    def withdraw(self, author: bytes, number: int) -> None:
        """Stop waiting. An item that was given meanwhile returns to the front."""
        self.workers.pop((author, number), None)
        self._put_back([item for item, (ticket, _) in self.taken.items() if ticket == (author, number)])

    def gone(self, author: bytes) -> None:
        for ticket in [each for each in self.workers if each[0] == author]:
            del self.workers[ticket]
        self._put_back([item for item, (ticket, _) in self.taken.items() if ticket[0] == author])

    def _put_back(self, items: list[int]) -> None:
        for item in sorted(items, reverse=True):
            self.line.appendleft((item, self.taken.pop(item)[1]))
        self._give()

    def _give(self) -> None:
        while self.line and self.workers:
            ticket = next(iter(self.workers))
            del self.workers[ticket]
            item, value = self.line.popleft()
            self.taken[item] = (ticket, value)

    def given_to(self, ticket: Ticket) -> tuple[int, Any] | None:
        """Number and item that this ticket was given; None if it has none."""
        return next(((item, value) for item, (each, value) in self.taken.items() if each == ticket), None)

    def state(self) -> Any:
        taken = [[item, *ticket, value] for item, (ticket, value) in self.taken.items()]
        return [list(map(list, self.line)), taken, [list(ticket) for ticket in self.workers], self.last_item]

    def set_state(self, state: Any) -> None:
        line, taken, workers, self.last_item = state
        self.line = deque((item, value) for item, value in line)
        self.taken = {item: ((author, number), value) for item, author, number, value in taken}
        self.workers = dict.fromkeys((author, number) for author, number in workers)


class Single(SmallState):
    """The state of `Once`: work that one process does once."""

    OPERATIONS = frozenset({"claim", "finish", "give_up"})

    def __init__(self) -> None:
        self.by: Ticket | None = None
        """The ticket that does the work now."""
        self.is_done = False
        self.result: Any = None

    def claim(self, author: bytes, number: int) -> bool:
        """Claim the work. Returns True if this ticket has it."""
        if self.by is None and not self.is_done:
            self.by = (author, number)
        return self.by == (author, number)

    def finish(self, author: bytes, number: int, result: Any) -> bool:
        """Report the work as done, with its result. Returns True if this ticket still had it."""
        if self.by != (author, number):
            return False
        self.by, self.is_done, self.result = None, True, result
        return True

    def give_up(self, author: bytes, number: int) -> None:
        """Give up the claim, so another process may do the work."""
        if self.by == (author, number):
            self.by = None

    def gone(self, author: bytes) -> None:
        if self.by is not None and self.by[0] == author:
            self.by = None

    def state(self) -> Any:
        return [list(self.by) if self.by is not None else None, self.is_done, self.result]

    def set_state(self, state: Any) -> None:
        by, self.is_done, self.result = state
        self.by = (by[0], by[1]) if by is not None else None
