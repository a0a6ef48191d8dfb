"""What the asyncio client does in one turn of the loop: what it sends together, whom it lets run, who may use it.

The node is the other end of the socket in the same thread, so each turn is looked at. No test depends on the clock: the
limits of time are set to never or to at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

import rondo
import rondo.aio
from rondo._client import aio_link
from rondo._client.requests import BULK_SEND_BYTES
from rondo.ipc.local_router import LocalRouter
from rondo.protocol import events
from rondo.protocol.batch import decode_body
from rondo.protocol.client_gateway import FROM_CLIENT, VERSION, Kind, decode, encode
from rondo.protocol.requests import Op, decode_requests

NODE, PID, EPOCH = 3, 4711, 7
LIMITS = [8 << 20, 16384, 1 << 26, 10_000]
NEVER_S = 3600.0
LONG_S = 60.0


class Node:
    """The gateway's end of the connection. It reads and answers when the test says so."""

    def __init__(self, endpoint: str) -> None:
        self._router = LocalRouter(endpoint)
        self._client = b""
        self._position = 0

    def hear(self) -> list[list[bytes]]:
        """The payloads of each envelope with messages since the last call. Joins are answered."""
        found = []
        for client, envelope in self._router.receive():
            self._client = client
            kind, _, fields = decode(envelope or b"", FROM_CLIENT)
            if kind == Kind.HELLO:
                self.say(Kind.WELCOME, VERSION, NODE, PID, 99, b"s" * 16, 0, 0, None, LIMITS)
            elif kind == Kind.REQUEST:
                found.append(self._payloads(fields[2]))
        return [each for each in found if each]

    def _payloads(self, blob: bytes) -> list[bytes]:
        payloads: list[bytes] = []
        for number, op, *arguments in decode_requests(blob):
            if op == Op.JOIN:
                me = [NODE, PID]
                self.settle(number)
                self.order([events.MEMBERSHIP, arguments[0], [me], [[*me, events.Reason.JOIN]], [], number])
            elif op == Op.BATCH:
                payloads += decode_body(arguments[2])
            elif op == Op.MCAST:
                payloads.append(arguments[2])
        return payloads

    def settle(self, number: int) -> None:
        """Accept all requests up to this one."""
        self.say(Kind.SETTLED, number)

    def order(self, *made: list[Any]) -> None:
        """Send these events in one envelope."""
        first = self._position + 1
        self._position += len(made)
        blob = events.encode_events([[number, *event] for number, event in enumerate(made, first)])
        self.say(Kind.EVENTS, first, self._position, blob)

    def messages(self, count: int) -> None:
        """Messages of another member, none of them in a batch."""
        self.order(*([events.MESSAGE, b"g", NODE, PID + 1, False, b"%d" % i, None] for i in range(count)))

    def say(self, kind: Kind, *fields: object) -> None:
        assert self._router.send(self._client, encode(kind, EPOCH, *fields))

    def close(self) -> None:
        self._router.close()


@contextlib.asynccontextmanager
async def joined(directory: Path) -> AsyncIterator[tuple[Node, rondo.aio.Group]]:
    """A node, and a member of group g."""
    node = Node(f"ipc://{directory}/gateway.sock")

    async def serve() -> None:
        while True:
            node.hear()
            await asyncio.sleep(0)

    serving = asyncio.create_task(serve())
    cluster = await rondo.aio.connect(f"ipc://{directory}/gateway.sock", LONG_S)
    try:
        group = await cluster.cpg.join("g", LONG_S)
        assert isinstance(await group.poll(LONG_S), rondo.Membership)
        serving.cancel()
        yield node, group
    finally:
        await asyncio.gather(serving, return_exceptions=True)
        await cluster.close()
        node.close()


@pytest.fixture
def run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Callable[..., Coroutine[Any, Any, None]]], None]:
    """Runs a test with its node and its group."""

    def run(test: Callable[..., Coroutine[Any, Any, None]]) -> None:
        async def main() -> None:
            async with joined(tmp_path_factory.mktemp("t", numbered=True)) as (node, group):
                await test(node, group)

        asyncio.run(main())

    return run


Run = Callable[[Callable[..., Coroutine[Any, Any, None]]], None]


async def turn() -> None:
    """Let everything else that is ready run once."""
    await asyncio.sleep(0)


def test_what_is_sent_while_nothing_is_under_way_leaves_at_the_end_of_the_turn(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aio_link, "GATHER_S", NEVER_S)

    async def main(node: Node, group: rondo.aio.Group) -> None:
        await group.mcast(b"a")
        await group.mcast(b"b")
        assert node.hear() == []
        await turn()
        assert node.hear() == [[b"a", b"b"]]

    run(main)


def test_messages_of_several_turns_travel_together_while_others_are_under_way(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aio_link, "GATHER_S", NEVER_S)

    async def main(node: Node, group: rondo.aio.Group) -> None:
        await group.mcast(b"first")
        await turn()
        assert node.hear() == [[b"first"]]
        for data in (b"a", b"b", b"c"):
            await group.mcast(data)
            await turn()
            assert node.hear() == []
        await turn()  # nothing more was sent in this turn
        assert node.hear() == [[b"a", b"b", b"c"]]

    run(main)


def test_they_wait_for_others_until_those_under_way_are_settled(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aio_link, "GATHER_S", NEVER_S)

    async def main(node: Node, group: rondo.aio.Group) -> None:
        first = await group.mcast(b"first")
        await turn()
        node.hear()
        node.settle(first.number)
        heard: list[list[bytes]] = []
        while not heard:
            await group.mcast(b"x")
            await turn()
            heard += node.hear()
        assert first.is_accepted

    run(main)


def test_they_wait_a_limited_time(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aio_link, "GATHER_S", 0.0)

    async def main(node: Node, group: rondo.aio.Group) -> None:
        await group.mcast(b"first")
        await turn()
        node.hear()
        for data in (b"a", b"b"):
            await group.mcast(data)
            await turn()
            assert node.hear() == [[data]]

    run(main)


def test_they_do_not_wait_once_they_are_many_bytes(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aio_link, "GATHER_S", NEVER_S)

    async def main(node: Node, group: rondo.aio.Group) -> None:
        await group.mcast(b"first")
        await turn()
        node.hear()
        await group.mcast(b"a")
        await turn()
        await group.mcast(bytes(BULK_SEND_BYTES))
        await turn()
        assert [data for heard in node.hear() for data in heard] == [b"a", bytes(BULK_SEND_BYTES)]

    run(main)


COUNT = 50


async def waiting_messages(node: Node, group: rondo.aio.Group) -> None:
    """Have events wait for the application. What the node says after them is known when they are there."""
    request = await group.mcast(b"x")
    node.messages(COUNT)
    node.settle(request.number)
    await request.accepted(LONG_S)


@pytest.mark.parametrize("way", ["poll", "iteration"])
def test_who_always_finds_events_lets_others_run(run: Run, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    monkeypatch.setattr(aio_link, "TAKING_S", 0.0)

    async def main(node: Node, group: rondo.aio.Group) -> None:
        await waiting_messages(node, group)
        turns_of_other = 0

        async def other() -> None:
            nonlocal turns_of_other
            while True:
                turns_of_other += 1
                await turn()

        task = asyncio.create_task(other())
        if way == "poll":
            for _ in range(COUNT):
                await group.poll(LONG_S)
        else:
            taken = 0
            async for _ in group:
                taken += 1
                if taken == COUNT:
                    break
        assert turns_of_other >= COUNT - 1
        task.cancel()

    run(main)


def test_a_task_that_lets_others_run_keeps_its_events(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aio_link, "TAKING_S", 0.0)

    async def main(node: Node, group: rondo.aio.Group) -> None:
        await waiting_messages(node, group)
        taken = []

        async def take() -> None:
            async for event in group:
                assert isinstance(event, rondo.Message)
                taken.append(event.data)

        for _ in range(COUNT // 2):
            task = asyncio.create_task(take())
            await turn()
            with pytest.raises(rondo.Busy):
                await group.poll(LONG_S)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        task = asyncio.create_task(take())
        while len(taken) < COUNT:
            await turn()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert taken == [b"%d" % i for i in range(COUNT)]

    run(main)


def test_another_loop_may_not_use_it(run: Run) -> None:
    async def main(_node: Node, group: rondo.aio.Group) -> None:
        refused = []

        async def use() -> None:
            for call in (group.mcast(b"x"), group.poll(0), group.leave()):
                with pytest.raises(rondo.BadHandle, match="loop"):
                    await call
                refused.append(call)

        thread = threading.Thread(target=lambda: asyncio.run(use()))
        thread.start()
        await asyncio.get_running_loop().run_in_executor(None, thread.join)
        assert len(refused) == 3

    run(main)


def test_a_later_loop_of_the_same_thread_may_not_use_it(run: Run) -> None:
    groups = []

    async def main(_node: Node, group: rondo.aio.Group) -> None:
        groups.append(group)

    async def use() -> None:
        with pytest.raises(rondo.BadHandle, match="loop"):
            await groups[0].mcast(b"x")

    run(main)
    asyncio.run(use())
