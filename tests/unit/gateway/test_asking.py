"""Requests to control and SAM: their deadlines hold, nothing of them outlives its caller, and waiting costs nothing."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

import rondo
from rondo import curve
from rondo._client import absence, ask_link
from rondo._client.arrival import ARRIVALS
from rondo._client.control import Cmap as BlockingCmap
from rondo._client.control import Control, Quorum
from rondo._client.control_aio import Cmap
from rondo._client.control_aio import Quorum as AioQuorum
from rondo._client.descriptors import poll
from rondo._client.endpoint import Endpoint, Keys, endpoint_of
from rondo.ipc.local_dealer import LocalDealer
from rondo.ipc.local_router import LocalRouter
from rondo.protocol.client_gateway import FROM_CLIENT, Kind, decode, encode
from rondo.protocol.codes import Code
from rondo.protocol.control_gateway import Op, decode_request
from rondo.protocol.envelope import pack
from tests.ports import free_tcp_port
from tests.unit.gateway.conftest import ROOT

SOON_S = 20.0
"""Far more than is needed, and far less than the time-outs that must not be waited for."""
SENT_S = 0.5
"""A request with so much time is sent, also where a thread is held for a while. It is not answered."""
WAITERS = 40


class Node:
    """A gateway with its control process, as far as these clients see it. Watches begin, and are told nothing."""

    def __init__(self, endpoint: str) -> None:
        self._router = LocalRouter(endpoint)
        self._over = threading.Event()
        self.asked: list[int] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(0.002):
            for identity, envelope in self._router.receive():
                kind, _, (number, blob) = decode(envelope or b"", FROM_CLIENT)
                assert kind == Kind.CONTROL_REQUEST
                op, arguments = decode_request(blob)
                self.asked.append(op)
                if op == Op.WATCH and "after" not in arguments:
                    answer = {"number": 0, "events": [], "lost": False}
                elif op == Op.GET:
                    answer = [6, 7]  # type: ignore[assignment]
                else:
                    continue
                self._router.send(identity, encode(Kind.CONTROL_REPLY, 0, number, int(Code.OK), pack(answer)))

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self._router.close()


@pytest.fixture
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"ipc://{tmp_path_factory.mktemp('g', numbered=True)}/gateway.sock"


@pytest.fixture
def control(endpoint: str) -> Iterator[Control]:
    made = Control(endpoint_of(endpoint))
    yield made
    made.close()


@pytest.fixture
def node(endpoint: str) -> Iterator[Node]:
    made = Node(endpoint)
    yield made
    made.close()


def waiting(call: Callable[[], Any]) -> threading.Thread:
    def run() -> None:
        with pytest.raises(rondo.BadHandle):
            call()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def eventually(true: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end_s, "not in time"
        threading.Event().wait(0.005)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def connections_to(endpoint: str) -> int:
    """How many sockets of this process are connected to the node."""
    found = 0
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError), socket.fromfd(int(descriptor), socket.AF_UNIX, socket.SOCK_STREAM) as copy:
            found += copy.getpeername() == endpoint.removeprefix("ipc://")
    return found


def test_who_waits_for_its_turn_has_a_deadline_too(control: Control) -> None:
    asked = Quorum(control)
    thread = waiting(lambda: asked.status(None))
    eventually(lambda: control.link is not None and control.link.holder != 0)
    began_s = time.monotonic()
    with pytest.raises(rondo.Timeout, match="was not sent"):
        asked.status(0.2)
    assert time.monotonic() < began_s + SOON_S
    control.close()
    thread.join(SOON_S)
    assert not thread.is_alive()


def test_close_from_another_thread_ends_all_who_wait(control: Control) -> None:
    threads = [waiting(lambda: Quorum(control).status(None)) for _ in range(4)]
    eventually(lambda: control.link is not None and control.link.holder != 0)
    control.close()
    for thread in threads:
        thread.join(SOON_S)
        assert not thread.is_alive()


def test_what_was_asked_in_vain_is_not_sent_when_the_node_comes(endpoint: str, control: Control) -> None:
    for timeout in (0.3, 0, -1):
        with pytest.raises(rondo.Timeout):
            BlockingCmap(control).delete("my.key", timeout=timeout)
    node = Node(endpoint)
    try:
        assert BlockingCmap(control).get("my.key", timeout=30) == 7
        assert node.asked == [Op.GET]
    finally:
        node.close()


def test_nor_is_it_by_libzmq_from_another_host(tmp_path: Path) -> None:
    """It sends by itself whatever it was given, as soon as somebody is there."""
    server, client = curve.make_key_pair(), curve.make_key_pair()
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        with context.socket(zmq.ROUTER) as router:
            router.setsockopt(zmq.CURVE_SERVER, 1)
            router.setsockopt(zmq.CURVE_SECRETKEY, server.secret)
            router.linger = 0
            port = free_tcp_port()
            control = Control(Endpoint(f"tcp://127.0.0.1:{port}", Keys(client, server.public)))
            with pytest.raises(rondo.Timeout):
                BlockingCmap(control).delete("my.key", timeout=0.3)
            router.bind(f"tcp://127.0.0.1:{port}")
            thread = waiting(lambda: BlockingCmap(control).get("my.key", timeout=None))
            assert router.poll(30_000)
            _, _, (_, blob) = decode(router.recv_multipart()[-1], FROM_CLIENT)
            assert decode_request(blob)[0] == Op.GET, "the first that is heard is what is asked now"
            control.close()
            thread.join(SOON_S)
    finally:
        context.destroy(linger=0)


def test_where_another_service_has_the_port_it_is_known_that_nothing_was_done() -> None:
    """It hangs up at the greeting, so that nobody has heard what was asked."""
    with socket.create_server(("127.0.0.1", 0)) as other:

        def hang_up() -> None:
            with contextlib.suppress(OSError):
                while True:
                    other.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        keys = Keys(curve.make_key_pair(), curve.make_key_pair().public)
        control = Control(Endpoint(f"tcp://127.0.0.1:{other.getsockname()[1]}", keys))
        try:
            for _ in range(2):
                with pytest.raises(rondo.Timeout, match="no node answers"):
                    BlockingCmap(control).delete("my.key", timeout=0.5)
        finally:
            control.close()
            other.shutdown(socket.SHUT_RDWR)
            thread.join(SOON_S)
    assert not thread.is_alive()


def test_waiting_for_a_node_that_is_away_costs_nothing(
    endpoint: str, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(absence, "QUICK_S", 0.2)
    values: list[Any] = []
    before = len(ARRIVALS)
    thread = threading.Thread(target=lambda: values.append(BlockingCmap(control).get("my.key", timeout=None)))
    thread.start()
    eventually(lambda: len(ARRIVALS) > before)
    turns = 0

    def counted(timeout_s: float | None, *descriptors: int) -> list[int]:
        nonlocal turns
        turns += 1
        return poll(timeout_s, *descriptors)

    monkeypatch.setattr(ask_link, "poll", counted)
    time.sleep(2.0)
    assert turns <= 2, "it looked twenty times a second"
    node = Node(endpoint)
    began_s = time.monotonic()
    thread.join(30)
    node.close()
    assert values == [7]
    assert time.monotonic() < began_s + SOON_S, "it was not told"


def test_a_watch_that_nobody_looks_at_is_closed_when_it_is_forgotten(node: Node, control: Control) -> None:
    before = descriptors()
    for _ in range(20):
        Quorum(control).watch()
        BlockingCmap(control).watch("my.")
    gc.collect()
    assert not control.watches
    eventually(lambda: descriptors() <= before + 8)  # the node closes its ends in its own thread


def test_a_control_connection_that_is_forgotten_is_closed_before_the_collector_comes(node: Node, endpoint: str) -> None:
    """Its warning of a socket that was not closed would come at any later moment, and fail somebody else's test."""
    gc.collect()
    gc.disable()
    try:
        made = Control(endpoint_of(endpoint))
        assert BlockingCmap(made).get("my.key") == 7
        link = made.link
        assert link is not None
        del made
        with pytest.raises(rondo.BadHandle):
            link.ask(Op.GET, {"key": "my.key"})
        assert link.shut(), "nobody uses it, so it is closed"
    finally:
        gc.enable()


def test_a_cancelled_call_of_asyncio_lets_the_next_have_its_turn(node: Node, control: Control) -> None:
    """The node never answers what is asked of quorum."""

    async def run() -> None:
        for _ in range(WAITERS):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(AioQuorum(control).status(timeout=None), 0.01)
        assert await asyncio.wait_for(Cmap(control).get("my.key", timeout=None), SOON_S) == 7
        before = descriptors()
        for turn in range(WAITERS):
            task: asyncio.Future[Any] = asyncio.ensure_future(anext(Cmap(control).watch("my.")))
            await asyncio.sleep(0.0003 * (turn % 12))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        # Threads that were given up close their connections; some spare descriptors stay, however many there were.
        while control.watches or descriptors() > before + 8:
            gc.collect()
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(run(), 60))


@pytest.mark.parametrize("from_handler", [False, True])
def test_who_closes_it_while_a_request_ends_leaves_no_descriptor_open(
    node: Node, control: Control, endpoint: str, monkeypatch: pytest.MonkeyPatch, from_handler: bool
) -> None:
    """At the last moment: the request has looked whether it is closed, and the turn is not passed on yet."""
    renew = LocalDealer.renew

    def close_meanwhile(dealer: LocalDealer) -> None:
        renew(dealer)
        if from_handler:
            control.shut()
        else:
            closing = threading.Thread(target=control.shut)
            closing.start()
            closing.join()

    with pytest.raises(rondo.Timeout):
        Quorum(control).status(SENT_S)
    assert connections_to(endpoint) > 0
    with monkeypatch.context() as patch:
        patch.setattr(LocalDealer, "renew", close_meanwhile)
        with pytest.raises(rondo.Timeout):
            Quorum(control).status(SENT_S)
    assert connections_to(endpoint) == 0


def test_asyncio_closes_however_many_wait(control: Control) -> None:
    async def run() -> None:
        calls = [asyncio.create_task(AioQuorum(control).status(timeout=None)) for _ in range(WAITERS)]
        await asyncio.sleep(0.2)
        control.shut()
        for error in await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), SOON_S):
            assert isinstance(error, rondo.BadHandle)

    asyncio.run(run())


AT_EXIT = """
import asyncio, sys, threading
from rondo._client.control import Control, Quorum
from rondo._client.control_aio import Quorum as AioQuorum
from rondo._client.endpoint import endpoint_of
control = Control(endpoint_of(sys.argv[1]))
class Closes:
    def __del__(self, close=control.close):
        close()
if sys.argv[2] == "del":
    def wait():
        try:
            Quorum(control).status(None)
        except BaseException:
            pass
    threading.Thread(target=wait, daemon=True).start()
    while control.link is None or not control.link.holder:
        pass
    closes = Closes()
else:
    async def wait():
        task = asyncio.ensure_future(AioQuorum(control).status(None))
        while control.link is None or not control.link.holder:
            await asyncio.sleep(0.01)
        return task
    loop = asyncio.new_event_loop()
    task = loop.run_until_complete(wait())
"""


@pytest.mark.parametrize("how", ["del", "aio"])
def test_the_interpreter_ends_although_a_thread_waits(endpoint: str, how: str) -> None:
    subprocess.run([sys.executable, "-c", AT_EXIT, endpoint, how], cwd=ROOT, timeout=60, check=True)


U8, STR = rondo.cmap.U8, rondo.cmap.Str
WRONG: list[tuple[str, Callable[[Any], Any]]] = [
    *[("key", lambda c, key=key: c.cmap.get(key)) for key in (5, None, b"k", "\udcff", "a\0b", "k" * 5000)],
    *[("value", lambda c, value=value: c.cmap.set("k", value)) for value in (U8(256), U8(-1), STR("a\0b"))],
    *[("which", lambda c, which=which: c.cmap.items(which=which)) for which in ("foo", 5, None)],
    *[("prefix", lambda c, prefix=prefix: c.cmap.watch(prefix)) for prefix in (5, None, "\udcff")],
    *[("step", lambda c, step=step: c.cmap.increment("k", step)) for step in ("1", 1.5, True, 1 << 70)],
    *[("votes", lambda c, votes=votes: c.quorum.set_expected(votes)) for votes in ("1", 0, 256, True)],
    *[("node", lambda c, node=node: c.quorum.set_votes(node, 1)) for node in ("1", -1, 1 << 40)],
    *[("node", lambda c, node=node: c.cfg.kill(node)) for node in ("1", 0, None, True)],
    *[("reason", lambda c, reason=reason: c.cfg.kill(1, reason)) for reason in (5, "\udcff", "r" * 5000)],
    *[("timeout", lambda c, timeout=timeout: c.quorum.status(timeout)) for timeout in ("5", True, float("nan"))],
    ("current", lambda c: c.quorum.watch(current="no")),
    ("force", lambda c: c.cfg.shut_down(force="no")),
]


class Asked:
    """What a cluster offers besides groups."""

    def __init__(self, control: Control) -> None:
        from rondo._client.cfg import Cfg

        self.quorum, self.cmap, self.cfg = Quorum(control), BlockingCmap(control), Cfg(control)


@pytest.mark.parametrize(("argument", "call"), WRONG)
def test_what_makes_no_sense_is_refused_at_the_call(
    control: Control, argument: str, call: Callable[[Any], Any]
) -> None:
    with pytest.raises(rondo.InvalidParameter, match=f"^{argument}: "):
        call(Asked(control))
    assert control.link is None, "nobody was asked"


def test_a_request_that_no_gateway_takes_is_refused_here(node: Node, control: Control) -> None:
    with pytest.raises(rondo.TooBig):
        BlockingCmap(control).set("my.key", b"x" * (64 << 20), timeout=30)
    assert BlockingCmap(control).get("my.key", timeout=30) == 7
    assert node.asked == [Op.GET]


@pytest.mark.parametrize(
    "named", [{"key_file": 5}, {"server_key": 5}, {"server_key": b"00"}], ids=["file", "number", "bytes"]
)
def test_keys_are_named_by_path_and_text(named: dict[str, Any]) -> None:
    (argument,) = named
    with pytest.raises(rondo.InvalidParameter, match=f"^{argument}: "):
        rondo.connect("tcp://127.0.0.1:5410", **named)


def test_an_endpoint_holds_no_nul() -> None:
    with pytest.raises(rondo.InvalidParameter, match=r"^endpoint: "):
        rondo.connect("ipc:///run/a\0b.sock")
