"""The recipes for asyncio: the same names, the same behaviour."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import pytest

import rondo
from rondo import recipes as blocking
from rondo.aio import recipes
from rondo.aio.recipes import (
    Barrier,
    Counter,
    Dict,
    Election,
    Lock,
    Once,
    Queue,
    Replicated,
    Semaphore,
    StateMachine,
    replicated,
)
from rondo.testing import Loopback


def run(test: Callable[[Loopback, Any, Any], Awaitable[None]]) -> None:
    """With two processes, on nodes 1 and 2 of three."""

    async def with_processes() -> None:
        loopback = Loopback(nodes=3)
        async with await loopback.connect_aio(1) as one, await loopback.connect_aio(2) as two:
            async with asyncio.timeout(60):
                await test(loopback, one, two)

    asyncio.run(with_processes())


def test_the_names_are_the_same() -> None:
    """Where an operator of Python cannot be awaited, there is a method."""
    assert set(blocking.__all__) == set(recipes.__all__)
    for name in blocking.__all__:
        theirs, ours = (
            {each for each in dir(getattr(module, name)) if not each.startswith("_")} for module in (blocking, recipes)
        )
        assert theirs <= ours, name
        assert ours - theirs <= {"set", "delete"}, name


class Sum(StateMachine):
    """Commands add up."""

    total = 0

    def apply(self, command: bytes) -> bytes:
        self.total += int(command)
        return b"%d" % self.total

    def snapshot(self) -> Iterable[bytes]:
        return [json.dumps(self.total).encode()]

    def restore(self, pieces: Iterable[bytes]) -> None:
        self.total = json.loads(b"".join(pieces))


def test_a_state_machine_a_dict_and_a_counter() -> None:
    async def test(_: Loopback, one: Any, two: Any) -> None:
        async with Sum(one, "s") as first, Sum(two, "s") as second:
            assert await first.do(b"3") == b"3"
            assert await second.read(lambda: second.total) == 3
            with pytest.raises(recipes.Refused):
                await first.do(b"x")
        async with Dict(one, "d") as mine, Dict(two, "d") as theirs:
            seen: list[Any] = []
            theirs.watch(lambda *change: seen.append(change))
            await mine.set("a", 1)
            assert await theirs.get("a", linearizable=True) == 1
            assert (theirs["a"], len(theirs), list(theirs), seen) == (1, 1, ["a"], [("a", None, 1)])
            assert await mine.delete("a") == 1
            with pytest.raises(KeyError):
                await mine.delete("a")
        async with Counter(one, "c") as ours, Counter(two, "c") as others:
            values = await asyncio.gather(*(each.add() for each in (ours, others) for _ in range(50)))
            assert sorted(values) == list(range(1, 101))
            assert await ours.get() == 100

    run(test)


class Basket(Replicated):
    """Things, by asyncio."""

    def __init__(self, cluster: Any) -> None:
        self.things: list[str] = []
        super().__init__(cluster, "basket")

    @replicated
    def put(self, thing: str, *, again: bool = False) -> int:
        if thing in self.things and not again:
            raise ValueError(f"{thing} is there")
        self.things.append(thing)
        return len(self.things)


class ThreadsBasket(blocking.Replicated):
    """The same, for threads."""

    def __init__(self, cluster: Any) -> None:
        self.things: list[str] = []
        super().__init__(cluster, "basket")

    @blocking.replicated
    def put(self, thing: str, *, again: bool = False) -> int:
        if thing in self.things and not again:
            raise ValueError(f"{thing} is there")
        self.things.append(thing)
        return len(self.things)


def test_replicated_methods_are_awaited_and_threads_are_in_the_same_group() -> None:
    async def test(loopback: Loopback, one: Any, two: Any) -> None:
        async with Basket(one) as first, Basket(two) as second:
            assert await first.put("apple") == 1
            assert await second.put("apple", again=True) == 2
            with pytest.raises(recipes.Refused, match="apple is there"):
                await first.put("apple")
            threads = await asyncio.to_thread(ThreadsBasket, loopback.connect(3))
            assert await asyncio.to_thread(threads.put, "pear") == 3
            assert await first.read(lambda: first.things) == ["apple", "apple", "pear"]
            assert first.local(lambda: first.things) == ["apple", "apple", "pear"] == threads.things
            await asyncio.to_thread(threads.close)

    run(test)


async def join(cluster: Any) -> Counter:
    return await Counter(cluster, "c", nodes_min=2)


def test_a_group_begins_with_processes_on_as_many_nodes_as_is_asked_for() -> None:
    async def test(_loopback: Loopback, one: Any, two: Any) -> None:
        with pytest.raises(rondo.Timeout, match="it begins once 1 more node has a process of the group"):
            await Counter(one, "c", nodes_min=2, timeout=2)
        first, second = await asyncio.gather(*(join(each) for each in (one, two)))
        assert (await first.add(), await second.add()) == (1, 2)

    run(test)


def test_locks_semaphores_elections_and_barriers() -> None:
    async def test(loopback: Loopback, one: Any, two: Any) -> None:
        lock = await Lock(two, "l")
        async with Lock(one, "l") as token:
            assert token.is_held
            assert await lock.acquire(blocking=False) is None
            cancelled = asyncio.create_task(lock.acquire())
            await asyncio.sleep(0)
            cancelled.cancel()
            with pytest.raises(asyncio.CancelledError):
                await cancelled
        permit = await lock.acquire()
        assert permit is not None
        assert permit.fencing > token.fencing
        assert await lock.release()
        async with Semaphore(one, "s", 2) as first, Semaphore(two, "s", 2) as second:
            assert second.fencing > first.fencing
        first_election, second_election = await Election(one, "e"), await Election(two, "e")
        await first_election.lead("one")
        elected = asyncio.create_task(second_election.lead("two"))
        assert await first_election.resign()
        lead = await elected
        while first_election.leader != (lead.fencing, "two"):
            await asyncio.sleep(0.001)
        barriers = [await Barrier(each, "b", 2) for each in (one, two)]
        await asyncio.gather(*(each.wait() for each in barriers))
        with pytest.raises(rondo.Timeout):
            await barriers[0].wait(timeout=0.1)
        loopback.partition({1}, {2, 3})
        while barriers[0].is_ready:
            await asyncio.sleep(0.01)
        with pytest.raises(rondo.NoQuorum):
            await barriers[0].wait()

    run(test)


def test_queues_and_once() -> None:
    async def test(loopback: Loopback, one: Any, two: Any) -> None:
        mine, theirs = await Queue(one, "q"), await Queue(two, "q")
        await mine.put("a")
        job = await mine.get()
        assert job is not None
        loopback.kill(one.blocking)
        again = await theirs.get()
        assert again is not None
        async with again as value:
            assert value == "a"
        with pytest.raises(rondo.Disconnected):
            await mine.put("b")
        once = await Once(two, "o")

        async def do() -> str:
            return "done"

        assert await once.run(do) == "done"
        assert await once.run(lambda: pytest.fail("again")) == "done"
        assert once.is_done

    run(test)
