"""The states of the recipes: what their commands do. Each changes by the order alone, and so alike everywhere.

A command is a msgpack array `[operation, argument, ...]`; its result is packed the same way. What an operation raises
is its result, and the caller gets it as `Refused`.
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
"""What msgpack can hold."""
Ticket = tuple[bytes, int]
"""An author, and its number for what it asks for."""


def pack(value: Any) -> bytes:
    """As bytes. Raises TypeError for what msgpack cannot hold."""
    packed: bytes = msgpack.packb(value, use_bin_type=True)
    return packed


def unpack(data: bytes) -> Any:
    """The value in these bytes."""
    return msgpack.unpackb(data, raw=False, strict_map_key=False)


class Operations(ABC):
    """A machine whose commands are operations: methods that `OPERATIONS` names, called with the author first."""

    OPERATIONS: ClassVar[frozenset[str]]

    def apply(self, author: bytes, command: bytes) -> bytes:
        """Carry out an operation."""
        name, *arguments = unpack(command)
        if name not in self.OPERATIONS:
            raise ValueError(f"no operation {name!r}: another version of this recipe is in the group")
        return pack(getattr(self, name)(author, *arguments))

    def gone(self, author: bytes) -> None:  # noqa: B027 - it may stay as it is
        """Nothing depends on who lives."""

    @abstractmethod
    def snapshot(self) -> Iterable[bytes]:
        """The state as it is now, in pieces."""

    @abstractmethod
    def restore(self, pieces: Iterator[bytes]) -> None:
        """Be what the snapshot says."""


class SmallState(Operations):
    """One whose state goes into one piece."""

    @abstractmethod
    def state(self) -> Any:
        """All of it."""

    @abstractmethod
    def set_state(self, state: Any) -> None:
        """Be that."""

    def snapshot(self) -> Iterable[bytes]:
        """The state as it is now."""
        return [pack(self.state())]

    def restore(self, pieces: Iterator[bytes]) -> None:
        """Be what the snapshot says."""
        self.set_state(unpack(b"".join(pieces)))


class Table(Operations):
    """Keys and values."""

    OPERATIONS = frozenset({"put", "remove", "put_if", "clear"})

    def __init__(self) -> None:
        self.items: dict[Any, Any] = {}
        self.watchers: list[Callable[[Any, Any, Any], None]] = []
        """Called with key, old and new value (None: there is none) where a command changes it."""

    def put(self, _author: bytes, key: Any, value: Any) -> Any:
        """Set a key; its old value."""
        old = self.items.get(key)
        self.items[key] = value
        self._tell(key, old, value)
        return old

    def remove(self, _author: bytes, key: Any) -> Any:
        """Remove a key: whether it was there, and its value."""
        if key not in self.items:
            return [False, None]
        old = self.items.pop(key)
        self._tell(key, old, None)
        return [True, old]

    def put_if(self, author: bytes, key: Any, expected: Any, value: Any) -> Any:
        """Set a key if its value is the expected one (None: there is none): whether it was."""
        if self.items.get(key) != expected:
            return False
        self.put(author, key, value)
        return True

    def clear(self, author: bytes) -> None:
        """Remove all."""
        for key in list(self.items):
            self.remove(author, key)

    def _tell(self, key: Any, old: Any, new: Any) -> None:
        if old != new:
            for watcher in self.watchers:
                watcher(key, old, new)

    def snapshot(self) -> Iterable[bytes]:
        """Some hundred items in a piece. Values are never changed in place, so a list of them is a snapshot."""
        items = list(self.items.items())
        return (pack(items[at : at + ITEMS_IN_PIECE]) for at in range(0, len(items), ITEMS_IN_PIECE))

    def restore(self, pieces: Iterator[bytes]) -> None:
        """Be what the snapshot says; watchers are told what is different."""
        old = self.items
        self.items = {key: value for piece in pieces for key, value in unpack(piece)}
        for key in [*old, *(key for key in self.items if key not in old)]:
            self._tell(key, old.get(key), self.items.get(key))


class Number(SmallState):
    """An integer."""

    OPERATIONS = frozenset({"add", "put"})

    def __init__(self) -> None:
        self.value = 0

    def add(self, _author: bytes, step: int) -> int:
        """Add; the new value. Raises OverflowError: then it is as it was."""
        return self._be(self.value + step)

    def put(self, _author: bytes, value: int) -> int:
        """Set; the old value."""
        old = self.value
        self._be(value)
        return old

    def _be(self, value: int) -> int:
        # What cannot be told to who joins must not come to be.
        if type(value) is not int or not INTEGER_MIN <= value <= INTEGER_MAX:
            raise OverflowError(f"a counter goes from {INTEGER_MIN} to {INTEGER_MAX}, and cannot be {value!r:.80}")
        self.value = value
        return value

    def state(self) -> Any:
        return self.value

    def set_state(self, state: Any) -> None:
        self.value = state


def _check_count(count: int) -> None:
    """What no process of this version sends must not harm the others."""
    if type(count) is not int or count < 1:
        raise ValueError(f"a number from 1 on; not {count!r:.80}")


class Permits(SmallState):
    """So many permits, and a line of those who wait for one: lock, semaphore, election.

    Each permit that is given has a fencing token, larger than all before.
    """

    OPERATIONS = frozenset({"acquire", "release"})

    def __init__(self) -> None:
        self.held: dict[Ticket, tuple[int, Any]] = {}
        """Fencing token, and what the holder says of itself; in the order in which they were given."""
        self.line: dict[Ticket, Any] = {}
        self.last_fencing = 0
        self.permits = 1

    def acquire(self, author: bytes, number: int, permits: int, says: Any, waits: bool) -> int | None:
        """Ask for a permit: the fencing token, or None, and a place in the line if it `waits`."""
        _check_count(permits)
        self.permits = permits
        ticket = (author, number)
        if ticket not in self.held:
            self.line[ticket] = says
        self._give()
        if not waits:
            self.line.pop(ticket, None)
        return self.fencing(ticket)

    def release(self, author: bytes, number: int) -> bool:
        """Give it back, or leave the line: whether it was held."""
        was_held = self.held.pop((author, number), None) is not None
        self.line.pop((author, number), None)
        self._give()
        return was_held

    def gone(self, author: bytes) -> None:
        for table in (self.held, self.line):
            for ticket in [each for each in table if each[0] == author]:
                del table[ticket]
        self._give()

    def _give(self) -> None:
        while self.line and len(self.held) < self.permits:
            ticket = next(iter(self.line))
            self.last_fencing += 1
            self.held[ticket] = (self.last_fencing, self.line.pop(ticket))

    def fencing(self, ticket: Ticket) -> int | None:
        """The token of a permit that is held."""
        held = self.held.get(ticket)
        return held[0] if held is not None else None

    def state(self) -> Any:
        held = [[*ticket, *value] for ticket, value in self.held.items()]
        return [held, [[*ticket, says] for ticket, says in self.line.items()], self.last_fencing, self.permits]

    def set_state(self, state: Any) -> None:
        held, line, self.last_fencing, self.permits = state
        self.held = {(author, number): (fencing, says) for author, number, fencing, says in held}
        self.line = {(author, number): says for author, number, says in line}


class Meetings(SmallState):
    """Parties that wait for each other, again and again."""

    OPERATIONS = frozenset({"arrive", "withdraw"})

    def __init__(self) -> None:
        self.waiting: dict[Ticket, None] = {}
        self.generation = 0
        self.met: deque[Ticket] = deque(maxlen=65536)
        """Who has met lately and may not know yet."""

    def arrive(self, author: bytes, number: int, parties: int) -> None:
        """One more is here."""
        _check_count(parties)
        self.waiting[author, number] = None
        if len(self.waiting) >= parties:
            self.met.extend(self.waiting)
            self.waiting.clear()
            self.generation += 1

    def withdraw(self, author: bytes, number: int) -> bool:
        """Do not wait any more: whether it had to."""
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
    """Items in a line, and workers that take them. An item whose worker is gone is the next one again."""

    OPERATIONS = frozenset({"put", "take", "done", "back", "withdraw"})

    def __init__(self) -> None:
        self.line: deque[tuple[int, Any]] = deque()
        self.taken: dict[int, tuple[Ticket, Any]] = {}
        """By item."""
        self.workers: dict[Ticket, None] = {}
        """Who waits for an item."""
        self.last_item = 0

    def put(self, _author: bytes, value: Any, items_max: int) -> int | None:
        """One more at the end: its number; None if the line is full."""
        if len(self.line) >= items_max:
            return None
        self.last_item += 1
        self.line.append((self.last_item, value))
        self._give()
        return self.last_item

    def take(self, author: bytes, number: int, waits: bool) -> bool:
        """Ask for an item: whether there is one at once."""
        self.workers[author, number] = None
        self._give()
        is_given = (author, number) not in self.workers
        if not is_given and not waits:
            del self.workers[author, number]
        return is_given

    def done(self, author: bytes, item: int) -> bool:
        """It is done: whether it was this author's still."""
        if item not in self.taken or self.taken[item][0][0] != author:
            return False
        del self.taken[item]
        return True

    def back(self, author: bytes, item: int, number: int) -> bool:
        """It is not done, and is the next one again: whether it was still what this ticket was given."""
        if item not in self.taken or self.taken[item][0] != (author, number):
            return False
        self._put_back([item])
        return True

    def withdraw(self, author: bytes, number: int) -> None:
        """Do not wait any more; an item that was given goes back."""
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
        """The item that this ticket was given."""
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
    """Something that is done once, by one of all."""

    OPERATIONS = frozenset({"claim", "finish", "give_up"})

    def __init__(self) -> None:
        self.by: Ticket | None = None
        """Who does it now."""
        self.is_done = False
        self.result: Any = None

    def claim(self, author: bytes, number: int) -> bool:
        """Whether it is this one's to do."""
        if self.by is None and not self.is_done:
            self.by = (author, number)
        return self.by == (author, number)

    def finish(self, author: bytes, number: int, result: Any) -> bool:
        """It is done: whether it was this one's still."""
        if self.by != (author, number):
            return False
        self.by, self.is_done, self.result = None, True, result
        return True

    def give_up(self, author: bytes, number: int) -> None:
        """Somebody else may do it."""
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
