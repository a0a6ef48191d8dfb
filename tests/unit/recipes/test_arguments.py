"""What makes no sense is refused where it is given, by name, and never reaches the other processes."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

import rondo
from rondo.aio import recipes as aio
from rondo.recipes import (
    Barrier,
    Counter,
    Dict,
    Election,
    Lock,
    Once,
    Queue,
    Refused,
    Semaphore,
    StateMachine,
    Store,
)
from rondo.recipes.machines import Meetings, Number, Permits
from rondo.testing import Loopback
from tests.unit.recipes.conftest import cluster_on

NO_NUMBERS: tuple[Any, ...] = ("3", 1.5, True, None)
NO_SECONDS: tuple[Any, ...] = ("5", True, math.nan, b"1")
FOR_EVER: tuple[float, ...] = (math.inf, 1e12, 1e300)


class Log(StateMachine):
    """Commands, one after the other."""

    def __init__(self, cluster: rondo.Cluster, name: str = "log", **named: Any) -> None:
        self.commands: list[bytes] = []
        self.fails = False
        super().__init__(cluster, name, **named)

    def apply(self, command: bytes) -> bytes:
        self.commands.append(command)
        return command

    def snapshot(self) -> Iterable[bytes]:
        if self.fails:
            raise ZeroDivisionError("a fault of the application")
        return list(self.commands)

    def restore(self, pieces: Iterable[bytes]) -> None:
        self.commands = list(pieces)


@pytest.fixture
def cluster(loopback: Loopback) -> Any:
    return cluster_on(loopback, 1)


def refused(argument: str, call: Callable[[], Any]) -> None:
    with pytest.raises(rondo.InvalidParameter, match=f"^{argument}: "):
        call()


@pytest.mark.parametrize("name", [5, None, b"x", "", "\ud800"])
def test_a_name_is_a_text(cluster: Any, name: Any) -> None:
    refused("name", lambda: Lock(cluster, name))


def test_the_connection_is_of_the_kind_that_the_recipe_is_for(loopback: Loopback) -> None:
    for none in ("node", None, asyncio.run(loopback.connect_aio(1))):
        refused("cluster", lambda none=none: Lock(none, "x"))  # type: ignore[misc]
    refused("cluster", lambda: aio.Lock(cluster_on(loopback, 1), "x"))


@pytest.mark.parametrize("timeout", NO_SECONDS)
def test_a_time_out_is_a_number_of_seconds(cluster: Any, timeout: Any) -> None:
    refused("timeout", lambda: Dict(cluster, "x", timeout=timeout))
    table, barrier, lock = Dict(cluster, "d"), Barrier(cluster, "b", 2), Lock(cluster, "l")
    refused("timeout", lambda: table.put_if("key", None, 1, timeout))
    refused("timeout", lambda: barrier.wait(timeout))
    refused("timeout", lambda: lock.acquire(timeout))
    lock.acquire()
    refused("timeout", lambda: lock.release(timeout))
    assert lock.release(), "a call that was refused has let go of nothing"


@pytest.mark.parametrize("timeout", FOR_EVER)
def test_a_time_out_of_any_length_is_taken(cluster: Any, timeout: float) -> None:
    table = Dict(cluster, "d", timeout=timeout)
    assert table.put_if("key", None, 1)
    Barrier(cluster, "b", 1).wait(timeout)


def test_no_time_is_a_time_out(cluster: Any) -> None:
    barrier = Barrier(cluster, "b", 2)
    for timeout in (0, -1, -math.inf):
        with pytest.raises(rondo.Timeout):
            barrier.wait(timeout)


@pytest.mark.parametrize("number", [*NO_NUMBERS, 0, -1])
def test_numbers_of_parties_permits_and_items_are_from_one_on(cluster: Any, number: Any) -> None:
    refused("permits", lambda: Semaphore(cluster, "s", number))
    refused("parties", lambda: Barrier(cluster, "b", number))
    refused("items_max", lambda: Queue(cluster, "q", items_max=number))
    refused("nodes_min", lambda: Queue(cluster, "q", nodes_min=number))


@pytest.mark.parametrize("number", [*NO_NUMBERS, 1 << 70, -1 << 70])
def test_a_counter_counts_whole_numbers(cluster: Any, number: Any) -> None:
    counter = Counter(cluster, "c")
    refused("step", lambda: counter.add(number))
    refused("value", lambda: counter.set(number))


def test_a_counter_that_is_full_stays_as_it_is_and_others_can_join(loopback: Loopback) -> None:
    counter = Counter(cluster_on(loopback, 1), "c")
    counter.set((1 << 64) - 1)
    with pytest.raises(Refused, match="OverflowError"):
        counter.add(1)
    assert Counter(cluster_on(loopback, 2), "c", timeout=10).value == (1 << 64) - 1


@pytest.mark.parametrize(
    ("machine", "operation"),
    [(Permits, ("acquire", 1, "3", None, True, 0)), (Meetings, ("arrive", 1, "2")), (Number, ("put", "x"))],
)
def test_what_others_send_does_no_harm(machine: Any, operation: tuple[Any, ...]) -> None:
    """A process of another version may not look at its arguments."""
    from rondo.recipes.machines import pack

    state = machine()
    before = state.state()
    with pytest.raises((ValueError, OverflowError)):
        state.apply(b"a" * 12, pack(operation))
    assert state.state() == before
    state.gone(b"a" * 12)


@pytest.mark.parametrize("key", [[1], (1, 2), {}, object(), 1 << 70, math.nan, "\ud800"])
def test_keys_are_what_can_be_one_everywhere(cluster: Any, key: Any) -> None:
    table = Dict(cluster, "d")
    refused("key", lambda: table.__setitem__(key, 1))
    refused("key", lambda: table.__delitem__(key))
    refused("key", lambda: table.put_if(key, None, 1))


@pytest.mark.parametrize("value", [object(), {1, 2}, 1 << 70, [object()], "\ud800"])
def test_values_are_what_msgpack_can_hold(cluster: Any, value: Any) -> None:
    refused("value", lambda: Dict(cluster, "d").__setitem__("key", value))
    refused("value", lambda: Queue(cluster, "q").put(value))
    refused("says", lambda: Lock(cluster, "l").acquire(says=value))
    refused("says", lambda: Election(cluster, "e").lead(value))


@pytest.mark.parametrize("command", ["text", 5, [1, 2], None])
def test_a_command_is_bytes(cluster: Any, command: Any) -> None:
    log, bytes_like = Log(cluster), cast("bytes", bytearray(b"bytes"))
    refused("command", lambda: log.do(command))
    assert log.do(bytes_like) == b"bytes"
    assert log.commands == [b"bytes"]


async def _not_to_be_awaited() -> None:
    """Nobody here awaits it."""


@pytest.mark.parametrize("function", [5, None, "f", _not_to_be_awaited])
def test_functions_are_looked_at_before_anything_is_done(cluster: Any, function: Any) -> None:
    once, log = Once(cluster, "o"), Log(cluster)
    refused("do", lambda: once.run(function))
    assert once.run(lambda: 7, timeout=10) == 7, "it was claimed by a call that was refused"
    refused("look", lambda: log.read(function))
    refused("look", lambda: log.local(function))
    refused("watcher", lambda: Dict(cluster, "d").watch(function))


def test_once_with_a_result_that_cannot_be_kept_is_done_by_the_next(cluster: Any) -> None:
    once = Once(cluster, "o")
    with pytest.raises(rondo.InvalidParameter, match="has returned"):
        once.run(object)
    assert once.run(lambda: 7, timeout=10) == 7


def test_nobody_gives_back_what_he_does_not_have(cluster: Any) -> None:
    with pytest.raises(rondo.BadOperation):
        Semaphore(cluster, "s", 1).release()
    with pytest.raises(rondo.BadOperation):
        Election(cluster, "e").resign()


@pytest.mark.parametrize(
    ("argument", "named"),
    [
        ("directory", {"directory": 5}),
        ("directory", {"directory": ""}),
        ("directory", {"directory": "a\0b"}),
        ("fsync", {"fsync": "no"}),
        ("abandon", {"abandon": 1}),
        ("compact_bytes", {"compact_bytes": "64M"}),
        ("compact_bytes", {"compact_bytes": 0}),
    ],
)
def test_a_store_says_what_is_wrong_with_it(argument: str, named: dict[str, Any], tmp_path: Path) -> None:
    refused(argument, lambda: Store(**{"directory": tmp_path} | named))


def test_a_store_is_a_store(cluster: Any, tmp_path: Path) -> None:
    refused("store", lambda: Log(cluster, store=str(tmp_path)))


def test_a_state_that_raises_where_nobody_asks_ends_its_recipe_with_the_reason(loopback: Loopback) -> None:
    log = Log(cluster_on(loopback, 1))
    log.fails = True
    other = Log(cluster_on(loopback, 2), timeout=10)
    assert other.do(b"more") == b"more", "the other has left the group"
    with pytest.raises(rondo.FailedOperation, match=r"ZeroDivisionError.*a fault of the application"):
        log.do(b"more", timeout=10)


@pytest.mark.parametrize("value", ["x", 1, 0, None, []])
def test_what_is_neither_true_nor_false(cluster: Any, value: Any) -> None:
    semaphore = Semaphore(cluster, "s", 1)
    with Dict(cluster, "d") as table, Queue(cluster, "q") as queue:
        refused("linearizable", lambda: table.get("key", linearizable=value))
        refused("blocking", lambda: queue.get(blocking=value))
        refused("blocking", lambda: semaphore.acquire(blocking=value))
        assert semaphore.acquire(blocking=False) is not None, "none was taken"


def test_a_time_out_that_is_not_needed_is_one(cluster: Any) -> None:
    with Dict(cluster, "d") as table:
        for seconds in NO_SECONDS:
            refused("timeout", partial(table.get, "key", timeout=seconds))


def test_asyncio_refuses_the_same(loopback: Loopback) -> None:
    async def run() -> None:
        cluster: Any = await loopback.connect_aio(1)
        no_function: Any = 5
        no_number: Any = "1"
        unused = aio.Dict(cluster, "unused")
        with pytest.raises(rondo.BadOperation, match="has not joined yet"):
            await unused.set("key", 1)
        async with aio.Dict(cluster, "d") as table, aio.Queue(cluster, "q") as queue, aio.Once(cluster, "o") as once:
            with pytest.raises(rondo.BadOperation, match="has joined already"):
                await table
            calls: list[tuple[str, Any]] = [
                ("key", lambda: table.set([1], 1)),
                ("value", lambda: table.set("key", object())),
                ("timeout", lambda: table.set("key", 1, math.nan)),
                ("value", lambda: queue.put(object())),
                ("item", lambda: queue.done(no_number)),
                ("do", lambda: once.run(no_function)),
                ("linearizable", lambda: table.get("key", linearizable=no_number)),
                ("timeout", lambda: table.get("key", timeout=math.nan)),
                ("blocking", lambda: queue.get(blocking=no_number)),
            ]
            for argument, call in calls:
                with pytest.raises(rondo.InvalidParameter, match=f"^{argument}: "):
                    await asyncio.wait_for(call(), 10)
            assert await once.run(lambda: 7, timeout=10) == 7
        async with aio.Semaphore(cluster, "s", 1):
            pass
        numbers: tuple[Any, ...] = (0, "1", True)
        for number in numbers:
            with pytest.raises(rondo.InvalidParameter, match=r"^permits: "):
                aio.Semaphore(cluster, "s", number)

    asyncio.run(run())
