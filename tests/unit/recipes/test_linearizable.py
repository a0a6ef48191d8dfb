"""A register, a queue and a lock under random faults are linearizable, and fencing tokens never go back."""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Iterable
from typing import Any

import pytest

from rondo.recipes.machines import Permits, SmallState, Table, pack, unpack
from tests.checker.recipes.linearizability import Apply, Operation, Silent, is_linearizable
from tests.unit.recipes.faults import Faults
from tests.unit.recipes.world import Process, World

SEEDS = 40
READ = ("read",)


class Fifo(SmallState):
    """A queue as somebody may write one."""

    OPERATIONS = frozenset({"put", "pop"})

    def __init__(self) -> None:
        self.items: list[Any] = []

    def put(self, _author: bytes, value: Any) -> int:
        self.items.append(value)
        return len(self.items)

    def pop(self, _author: bytes) -> Any:
        return self.items.pop(0) if self.items else None

    def state(self) -> Any:
        return self.items

    def set_state(self, state: Any) -> None:
        self.items = list(state)


class Client:
    """Does one thing after the other on its process, and keeps what it saw."""

    def __init__(self, process: Process, look: Callable[[Any], Any]) -> None:
        self.process = process
        self._look = look
        self._number: int | None = None
        self._pending: Operation | None = None
        self.is_read = False

    def begin(self, what: tuple[Any, ...], now: int) -> None:
        self._pending = Operation(self.process.name, what, now)
        self.is_read = what == READ
        self._number = self.process.read() if self.is_read else self.process.do_bytes(pack(list(what)))

    @property
    def is_free(self) -> bool:
        return self._pending is None

    def ended(self, now: int) -> Operation | None:
        """What has come to its end just now."""
        pending, number = self._pending, self._number
        if pending is None or number not in self.process.outcomes:
            return None
        outcome = self.process.outcomes[number]
        assert outcome.is_done, outcome
        result = self.process.seen[number] if self.is_read else unpack(outcome.value)
        self._pending = None
        return Operation(pending.who, pending.what, pending.began, now, result)

    @property
    def pending(self) -> Operation | None:
        return self._pending


def history_of(
    seed: int,
    machine: type[Any],
    look: Callable[[Any], Any],
    choose: Callable[[random.Random, Client, int], tuple[Any, ...]],
) -> list[Operation]:
    """What three clients see while faults happen."""
    draw = random.Random(seed)
    world = World(3, seed=seed, machine=machine, look=look)
    clients = [Client(world.start(node, f"p{node}"), look) for node in (1, 2, 3)]
    world.settle(2)
    world.loopback.hold()
    faults = Faults(world, draw, may_replace=False)
    history: list[Operation] = []

    def note(now: int) -> None:
        history.extend(done for client in clients if (done := client.ended(now)) is not None)

    now = 0
    for n in range(70):
        if draw.random() < 0.15:
            faults.one()
        client = draw.choice(clients)
        if client.is_free:
            now += 1
            client.begin(choose(draw, client, n), now)
        for _ in range(draw.randint(0, 30)):
            world.loopback.step()
            process = draw.choice(world.processes)
            process.look_at_quorum() if draw.random() < 0.1 else process.turn()
            now += 1
            note(now)
    faults.mend()
    for _ in range(3):
        world.settle(3)
        note(now)
    return history + [client.pending for client in clients if client.pending is not None]


def register(state: Any, operation: Operation) -> tuple[Hashable, Any]:
    if operation.what == READ:
        return state, state
    name, _, *arguments = operation.what
    if name == "put":
        return arguments[0], state
    expected, value = arguments
    return (value, True) if state == expected else (state, False)


def queue(state: Any, operation: Operation) -> tuple[Hashable, Any]:
    if operation.what[0] == "put":
        return (*state, operation.what[1]), len(state) + 1
    return state[1:], state[0] if state else None


def lock(state: Any, operation: Operation) -> tuple[Hashable, Any]:
    """Who holds it, and the last fencing token."""
    holder, last = state
    if operation.what[0] == "acquire":
        if holder not in (None, operation.who):
            return state, None
        # A token may be left out.
        fencing = max(last + (holder is None), operation.result or 0)
        return (operation.who, fencing), fencing
    if holder == operation.who:
        return (None, last), True
    return state, False


def holder_gone(state: Any) -> Iterable[Hashable]:
    holder, last = state
    return [(None, last)] if holder is not None else []


def choose_register(draw: random.Random, client: Client, n: int) -> tuple[Any, ...]:
    return draw.choice([READ, ("put", "k", n), ("put_if", "k", draw.randint(0, 70), n)])


def choose_queue(draw: random.Random, client: Client, n: int) -> tuple[Any, ...]:
    return draw.choice([("put", n), ("pop",)])


def choose_lock(draw: random.Random, client: Client, n: int) -> tuple[Any, ...]:
    return draw.choice([("acquire", 1, 1, None, False, 0), ("release", 1)])


CASES: dict[str, tuple[Any, Any, Any, Hashable, Apply, Silent]] = {
    "register": (Table, lambda table: table.items.get("k"), choose_register, None, register, lambda _: ()),
    "queue": (Fifo, lambda fifo: None, choose_queue, (), queue, lambda _: ()),
    "lock": (Permits, lambda permits: None, choose_lock, (None, 0), lock, holder_gone),
}


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("case", CASES)
def test_under_faults(case: str, seed: int) -> None:
    machine, look, choose, start, apply, silent = CASES[case]
    history = history_of(seed, machine, look, choose)
    assert sum(operation.has_ended for operation in history) >= 3
    assert is_linearizable(history, start, apply, silent), history
    if case == "lock":
        got = [(op.began, op.ended, op.result) for op in history if op.what[0] == "acquire" and op.result]
        for began, _, fencing in got:
            assert all(fencing >= earlier for _, ended, earlier in got if ended < began), "fencing never goes back"


def test_the_checker_finds_what_is_wrong() -> None:
    def put(who: str, value: int, began: int, ended: int, old: Any) -> Operation:
        return Operation(who, ("put", "k", value), began, ended, old)

    good = [put("a", 1, 1, 2, None), put("b", 2, 3, 6, 1), Operation("a", READ, 4, 5, 1), Operation("a", READ, 7, 8, 2)]
    assert is_linearizable(good, None, register)
    assert not is_linearizable([*good[:3], Operation("a", READ, 7, 8, 1)], None, register), "a stale read"
    assert not is_linearizable([*good[:2], Operation("a", READ, 4, 5, 3)], None, register), "never written"
    unknown = Operation("c", ("put", "k", 9), 1)
    assert is_linearizable([unknown, Operation("a", READ, 3, 4, 9)], None, register)
    assert is_linearizable([unknown, Operation("a", READ, 3, 4, None)], None, register)
    assert not is_linearizable(
        [unknown, Operation("a", READ, 3, 4, 9), Operation("a", READ, 5, 6, None)], None, register
    )
    twice = [Operation("a", ("pop",), 3, 4, 1), Operation("b", ("pop",), 3, 4, 1)]
    assert not is_linearizable([Operation("a", ("put", 1), 1, 2, 1), *twice], (), queue), "one item for two"
    both = [Operation(who, ("acquire", 1, 1, None, False, 0), 1, 2, 1) for who in "ab"]
    assert not is_linearizable(both, (None, 0), lock, holder_gone), "two with one token"
