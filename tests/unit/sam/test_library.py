"""`rondo.sam` and `rondo.aio.sam`: what makes no sense is refused at the call, and a child is no part of its parent."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import rondo
from rondo import sam
from rondo.aio import sam as aio_sam
from rondo.ipc.local_router import LocalRouter
from rondo.protocol.client_gateway import FROM_CLIENT, Kind, decode, encode
from rondo.protocol.codes import Code
from rondo.protocol.envelope import pack
from rondo.protocol.sam_gateway import Op, decode_request


class Node:
    """SAM behind a gateway, as far as an application sees it."""

    def __init__(self, directory: Path) -> None:
        self.endpoint = f"ipc://{directory}/gateway.sock"
        self.asked: list[tuple[int, dict[str, Any]]] = []
        self._health = directory / "health"
        os.mkfifo(self._health)
        self.health = os.open(self._health, os.O_RDWR | os.O_NONBLOCK)
        self._router = LocalRouter(self.endpoint)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(0.002):
            for identity, envelope in self._router.receive():
                _, _, (number, blob) = decode(envelope or b"", FROM_CLIENT)
                op, arguments = decode_request(blob)
                self.asked.append((op, arguments))
                answer = {"health": str(self._health), "id": "1", "instance": 0} if op == Op.REGISTER else None
                self._router.send(identity, encode(Kind.SAM_REPLY, 0, number, int(Code.OK), pack(answer)))

    def told_healthy(self) -> bool:
        with contextlib.suppress(BlockingIOError):
            return bool(os.read(self.health, 4096))
        return False

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self._router.close()
        os.close(self.health)


@pytest.fixture
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    made = Node(tmp_path_factory.mktemp("s"))
    yield made
    with contextlib.suppress(rondo.BadHandle):
        sam.finalize()
    made.close()


def refused(argument: str, call: Callable[[], Any]) -> None:
    with pytest.raises(rondo.InvalidParameter, match=f"^{argument}: "):
        call()


async def _to_be_awaited() -> None:
    """A function of the wrong kind."""


def test_initialize_names_what_is_wrong(node: Node) -> None:
    wrong: list[tuple[str, dict[str, Any]]] = [
        *[("interval_ms", {"interval_ms": each}) for each in ("1000", -1, 1.5, True, None, 10**12)],
        *[("policy", {"policy": each}) for each in (5, "x", None, (), sam.Policy.QUORUM)],
        *[("endpoint", {"endpoint": each}) for each in (5, "", b"x")],
        *[("timeout", {"timeout": each}) for each in ("x", math.nan, True)],
    ]
    right = {"interval_ms": 1000, "policy": sam.Policy.QUIT, "endpoint": node.endpoint}
    for argument, named in wrong:
        refused(argument, lambda named=named: sam.initialize(**right | named))  # type: ignore[misc]
    assert node.asked == []


@pytest.mark.parametrize("data", [5, "text", None, [1, 2], 10**10])
def test_what_is_stored_is_bytes(node: Node, data: Any) -> None:
    """bytes(5) would be five NULs."""
    sam.initialize(1000, sam.Policy.QUIT, endpoint=node.endpoint)
    sam.register()
    refused("data", lambda: sam.data_store(data))
    sam.data_store(bytearray(b"state"))  # type: ignore[arg-type]
    assert node.asked[-1] == (Op.STORE, {"data": b"state"})


@pytest.mark.parametrize("number", ["15", [], True, 15.0, 0, -1, 99, None])
def test_a_signal_is_one(node: Node, number: Any) -> None:
    sam.initialize(1000, sam.Policy.QUIT, endpoint=node.endpoint)
    refused("number", lambda: sam.warn_signal_set(number))
    sam.warn_signal_set(signal.SIGUSR1)


@pytest.mark.parametrize("function", [5, "f", _to_be_awaited])
def test_a_health_check_is_a_function(node: Node, function: Any) -> None:
    """One that cannot be called would have the application killed; one to be awaited would always be healthy."""
    sam.initialize(1000, sam.Policy.QUIT, endpoint=node.endpoint)
    refused("function", lambda: sam.health_check_callback(function))
    if function is not _to_be_awaited:
        refused("function", lambda: aio_sam.health_check_callback(function))


def test_a_child_begins_anew_and_does_not_vouch_for_its_parent(node: Node) -> None:
    sam.initialize(1000, sam.Policy.QUIT, endpoint=node.endpoint)
    sam.register()
    child = os.fork()
    if not child:
        code = 1
        with contextlib.suppress(BaseException):
            signal.alarm(20)
            for call in (sam.health_check_send, sam.finalize, sam.register, lambda: sam.data_store(b"x")):
                with pytest.raises(rondo.BadHandle):
                    call()
            sam.initialize(1000, sam.Policy.QUIT, endpoint=node.endpoint)
            sam.finalize()
            code = 7
        os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 7
    assert not node.told_healthy()
    sam.health_check_send()
    assert node.told_healthy(), "the parent goes on"


def test_asyncio_keeps_nothing_of_what_was_cancelled(node: Node) -> None:
    async def run() -> None:
        before = len(os.listdir("/proc/self/fd"))
        for turn in range(40):
            task = asyncio.create_task(aio_sam.initialize(1000, sam.Policy.QUIT, endpoint=node.endpoint))
            await asyncio.sleep(0.0005 * (turn % 12))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            with contextlib.suppress(rondo.BadHandle):
                await aio_sam.finalize()
        while any(thread.name == "rondo-ask" for thread in threading.enumerate()):
            await asyncio.sleep(0.01)
        await asyncio.sleep(0)
        gc.collect()
        # The node closes its ends in a thread of its own.
        while len(os.listdir("/proc/self/fd")) > before + 8:
            await asyncio.sleep(0.01)
        both = [aio_sam.initialize(1000, sam.Policy.QUIT, endpoint=node.endpoint) for _ in range(2)]
        one, other = await asyncio.gather(*both, return_exceptions=True)
        assert {type(one), type(other)} == {type(None), rondo.Exists}
        await aio_sam.finalize()

    asyncio.run(asyncio.wait_for(run(), 60))
