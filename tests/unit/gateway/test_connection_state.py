"""How a connection stands: the property, the listeners, the log, and the warning of being too slow."""

import asyncio
import logging
import queue
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import rondo
import rondo.aio
from rondo._client import listeners
from rondo._client.listeners import Listeners, ThreadListeners
from rondo.events import ConnectionChange, ConnectionState, SlowConsumer
from tests.unit.gateway.conftest import ROOT, GatewayProcess, StartGateway, eventually
from tests.unit.gateway.loopback import Loopback

LONG_S = 60
CLIENT_BYTES_MAX = 200_000
CONNECTED, SUSPENDED, LOST = ConnectionState
Told = queue.Queue[rondo.ConnectionEvent]


def kinds(told: Told, count: int) -> list[tuple[ConnectionState, bool]]:
    """The next changes."""
    changes = [told.get(timeout=LONG_S) for _ in range(count)]
    assert all(isinstance(each, ConnectionChange) for each in changes)
    return [(each.state, each.is_final) for each in changes if isinstance(each, ConnectionChange)]


def test_a_listener_is_told_every_change_in_its_order(loopback: Loopback, gateway: GatewayProcess) -> None:
    told: Told = queue.Queue()
    with gateway.connect() as cluster:
        cluster.add_listener(told.put)
        assert cluster.state is CONNECTED
        gateway.kill()
        assert kinds(told, 1) == [(SUSPENDED, False)]
        assert cluster.state is SUSPENDED
        assert repr(cluster).endswith(": suspended>")
        gateway.start()
        assert kinds(told, 1) == [(CONNECTED, False)]
        assert cluster.state is CONNECTED
        eventually(lambda: gateway.log.read_text().count("Waiting for clients") == 2)
        gateway.stop()
        assert kinds(told, 1) == [(LOST, False)]
        assert cluster.state is LOST
        assert not cluster.is_closed
        gateway.start()
        assert kinds(told, 1) == [(CONNECTED, False)]
    assert kinds(told, 1) == [(LOST, True)]
    assert cluster.state is LOST
    assert told.empty()


def test_the_same_in_asyncio(loopback: Loopback, gateway: GatewayProcess) -> None:
    async def main() -> None:
        told: asyncio.Queue[rondo.ConnectionEvent] = asyncio.Queue()

        async def next_state() -> ConnectionState:
            change = await asyncio.wait_for(told.get(), LONG_S)
            assert isinstance(change, ConnectionChange)
            assert cluster.state is change.state
            return change.state

        async with rondo.aio.connect(gateway.endpoint, LONG_S) as cluster:
            cluster.add_listener(told.put_nowait)
            assert cluster.state is CONNECTED
            gateway.kill()
            assert await next_state() is SUSPENDED
            gateway.start()
            assert await next_state() is CONNECTED
            with pytest.raises(rondo.InvalidParameter, match="listener"):
                cluster.add_listener(told.put)
        assert await next_state() is LOST

    asyncio.run(main())


def test_a_listener_may_use_the_connection_and_may_raise(loopback: Loopback, gateway: GatewayProcess) -> None:
    told: Told = queue.Queue()
    cluster = gateway.connect()
    group = cluster.cpg.join("g")

    def use(_event: rondo.ConnectionEvent) -> None:
        cluster.remove_listener(use)
        group.mcast(b"x").ordered(LONG_S)
        cluster.close()
        raise RuntimeError

    cluster.add_listener(use)
    cluster.add_listener(told.put)
    gateway.kill()
    gateway.start()
    assert kinds(told, 3) == [(SUSPENDED, False), (CONNECTED, False), (LOST, True)]
    with pytest.raises(rondo.InvalidParameter, match=r"listener.*None"):
        cluster.add_listener(None)  # type: ignore[arg-type]


def test_nobody_waits_for_a_slow_listener_and_the_last_change_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listeners, "WAITING_MAX", 4)
    of_connection = ThreadListeners("ipc://somewhere")
    goes_on, told = threading.Event(), []

    def slow(event: rondo.ConnectionEvent) -> None:
        assert goes_on.wait(LONG_S)
        told.append(event)

    of_connection.add(slow)
    for number in range(20):
        of_connection.put(ConnectionChange(SUSPENDED, str(number)))
        of_connection.flush()
    goes_on.set()
    of_connection.put(last := ConnectionChange(LOST, "over", is_final=True))
    of_connection.flush(is_over=True)
    eventually(lambda: told and told[-1] == last)
    assert of_connection.dropped == 21 - len(told)
    unheard = Listeners("ipc://somewhere")
    for _ in range(6):
        unheard.put(last)
    assert unheard.dropped == 2


def test_a_listener_is_told_what_happens_while_it_is_one() -> None:
    """Not what happened just before it came, of which the worker may still have to tell."""
    told: Told = queue.Queue()
    of_connection = ThreadListeners("ipc://somewhere")
    before, during, after = (ConnectionChange(SUSPENDED, text) for text in ("before", "during", "after"))
    removed: list[rondo.ConnectionEvent] = []
    of_connection.put(before)
    of_connection.add(told.put)
    of_connection.add(removed.append)
    of_connection.put(during)
    of_connection.remove(removed.append)
    of_connection.flush()
    of_connection.put(after)
    of_connection.flush(is_over=True)
    assert [told.get(timeout=LONG_S) for _ in range(2)] == [during, after]
    assert removed == []


def slow_gateway(run_dir: Path, start_gateway: StartGateway) -> GatewayProcess:
    gateway = start_gateway()
    eventually(lambda: "Waiting for clients" in gateway.log.read_text())
    return gateway


def test_who_is_too_slow_is_told_before_all_that_waits(run_dir: Path, start_gateway: StartGateway) -> None:
    loopback, told = Loopback(run_dir, client_bytes_max=CLIENT_BYTES_MAX), queue.Queue[rondo.ConnectionEvent]()
    try:
        with slow_gateway(run_dir, start_gateway).connect() as cluster:
            group, other = cluster.cpg.join("g"), cluster.cpg.join("other")
            cluster.add_listener(told.put)
            for _ in range(12):
                group.mcast(bytes(10_000))
            warning = told.get(timeout=LONG_S)
            assert isinstance(warning, SlowConsumer)
            assert CLIENT_BYTES_MAX / 2 < warning.held_bytes <= warning.cut_bytes == CLIENT_BYTES_MAX
            assert group.poll(0) == warning
            assert other.poll(0) == warning
            assert isinstance(group.poll(0), rondo.Membership)
            taken = [group.poll(LONG_S) for _ in range(12)]
            assert all(isinstance(each, rondo.Message) for each in taken)
            group.mcast(b"goes on").ordered(LONG_S)
    finally:
        loopback.close()


PROGRAM = """
import rondo, sys
with rondo.connect(sys.argv[1], 60) as cluster:
    group = cluster.cpg.join("g")
    print(flush=True)
    while not isinstance(group.poll(), rondo.Suspended): pass
"""


def test_nothing_is_printed_unless_the_application_wants_a_log(loopback: Loopback, gateway: GatewayProcess) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, gateway.endpoint], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        gateway.kill()
        said = process.communicate(timeout=LONG_S)
    assert (process.returncode, said) == (0, (b"", b""))
    gateway.start()
    gateway.connect().close()


def test_the_log_tells_what_listeners_are_told_and_no_secrets(
    loopback: Loopback, gateway: GatewayProcess, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "rondo")
    with gateway.connect() as cluster:
        group = cluster.cpg.join("g")
        group.mcast(b"account 4711").ordered(LONG_S)
        gateway.kill()
        eventually(lambda: cluster.state is SUSPENDED)
        gateway.start()
        eventually(lambda: cluster.state is CONNECTED)
    eventually(lambda: len(caplog.records) == 4)
    assert [(each.name, each.levelname) for each in caplog.records] == [
        ("rondo.client", "INFO"), ("rondo.client", "WARNING"), ("rondo.client", "INFO"), ("rondo.client", "INFO")
    ]  # fmt: skip
    assert [each.getMessage() for each in caplog.records] == [
        f"{gateway.endpoint}: connected",
        f"{gateway.endpoint}: suspended: the connection to {gateway.endpoint} has broken",
        f"{gateway.endpoint}: connected",
        f"{gateway.endpoint}: over: the connection was closed",
    ]
    assert "4711" not in caplog.text
