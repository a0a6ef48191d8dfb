"""Whatever is killed, nothing is lost or doubled, and who is dead is known to be dead."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

import rondo
from rondo.ipc.control import ask
from rondo.protocol.client_gateway import Kind
from rondo.protocol.cpg_gateway import CloseReason
from services.ipc_gateway.session_registry import RESUME_MS
from tests.unit.gateway.conftest import ROOT, GatewayProcess, StartGateway, eventually
from tests.unit.gateway.loopback import Loopback
from tests.unit.gateway.raw import RawClient
from tests.unit.gateway.test_clients import messages

CHILD = """
import rondo, sys, time
cluster = rondo.connect(sys.argv[1], timeout=60)
group = cluster.cpg.join("g")
group.mcast(b"alive").ordered(60)
print("joined", flush=True)
time.sleep(60)
"""


def test_a_killed_client_is_known_at_once(loopback: Loopback, gateway: GatewayProcess) -> None:
    with gateway.connect() as cluster:
        group = cluster.cpg.join("g")
        command = [sys.executable, "-c", CHILD, gateway.endpoint]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"joined\n"
            killed = time.monotonic()
            child.kill()
            gone = rondo.Change(rondo.Member(1, child.pid), rondo.Reason.PROCDOWN)
            seen = [group.poll(60) for _ in range(4)]
            noticed_s = time.monotonic() - killed
        assert isinstance(seen[-1], rondo.Membership)
        assert seen[-1].left == (gone,)
        assert noticed_s < RESUME_MS / 2000, "its session was not kept for a client that may come back"
        assert [reason for _, reason in loopback.closed] == [CloseReason.DIED]


def test_a_dead_process_is_known_even_if_a_child_holds_its_connection(
    loopback: Loopback, gateway: GatewayProcess
) -> None:
    holder = CHILD.replace('print("joined"', 'import os\nif os.fork() == 0: time.sleep(60)\nprint("joined"')
    with gateway.connect() as cluster:
        group = cluster.cpg.join("g")
        command = [sys.executable, "-c", holder, gateway.endpoint]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"joined\n"
            child.kill()
            left: tuple[rondo.Change, ...] = ()
            while not left:
                event = group.poll(60)
                left = event.left if isinstance(event, rondo.Membership) else ()
            os.killpg(child.pid, signal.SIGKILL)
        assert left[0].reason is rondo.Reason.PROCDOWN


def test_a_client_that_never_reads_is_cut_off_and_slows_nobody(loopback: Loopback, gateway: GatewayProcess) -> None:
    with gateway.connect() as cluster, RawClient(gateway.endpoint) as stuck:
        # Both are this process, so they are in different groups; the stuck one multicasts to itself.
        group = cluster.cpg.join("fast")
        stuck.hello()
        stuck.requests([1, 1, b"slow"])
        number, rounds, longest_s = 2, 0, 0.0
        while not loopback.closed:
            assert rounds < 500
            if rounds > 50:
                time.sleep(0.02)  # enough is sent; what brings it to the gateway and back may be late
            stuck.requests(*[[number + i, 3, b"slow", 2, b"x" * 50_000] for i in range(5)])
            number += 5
            began = time.monotonic()
            group.mcast(b"tick").ordered(60)
            longest_s = max(longest_s, time.monotonic() - began)
            rounds += 1
            event = group.poll(60)
            while not isinstance(event, rondo.Message):
                event = group.poll(60)
        assert longest_s < 20, "it has waited for the stuck one"
        assert [reason for _, reason in loopback.closed] == [] or rounds > 10
        kinds = []
        while True:
            kind, fields = stuck.receive()
            kinds.append(kind)
            if kind == Kind.BYE:
                break
        assert Kind.SLOW in kinds
        assert "not acknowledged" in fields[1]
    eventually(lambda: "holds back" in gateway.log.read_text())
    eventually(lambda: "cut off" in gateway.log.read_text())


def test_being_cut_off_is_told_and_final(run_dir: object, start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    cpg = Loopback(gateway.run_dir, client_bytes_max=1024 * 1024)
    try:
        with gateway.connect() as cluster:
            group = cluster.cpg.join("g")
            with contextlib.suppress(rondo.QueueFull):
                for _ in range(1000):
                    group.mcast(b"x" * 10_000, timeout=60)
            with pytest.raises(rondo.QueueFull, match="cut off"):
                group.mcast(b"more")
            events = list(group)
            assert isinstance(events[-1], rondo.Disconnected)
            assert "not acknowledged" in events[-1].reason
            with pytest.raises(rondo.QueueFull):
                cluster.cpg.join("h")
    finally:
        cpg.close()


def _exchange_while(gateway: GatewayProcess, disturb: threading.Thread) -> None:
    """Send and receive until the disturbance is over; everything must come once, in order. The node is not lost,
    however long a slow machine takes to start it again."""
    with rondo.connect(gateway.endpoint, 60, session_timeout=60) as cluster:
        group = cluster.cpg.join("g")
        requests: list[rondo.Request] = []

        def give() -> None:
            while disturb.is_alive() or len(requests) < 500:
                requests.append(group.mcast(b"%d" % len(requests)))
                time.sleep(0.0005)

        giver = threading.Thread(target=give)
        giver.start()
        disturb.start()
        got: list[bytes] = []
        while giver.is_alive() or len(got) < len(requests):
            event = group.poll(timeout=0.2)
            if event is not None and not isinstance(event, rondo.Message):
                assert isinstance(event, rondo.Membership | rondo.Suspended | rondo.Resumed), event
            elif event is not None:
                got.append(event.data)
        assert got == [b"%d" % i for i in range(len(requests))]
        assert group.poll(timeout=0.2) is None
        for request in requests:
            request.ordered(0)


def test_a_killed_gateway_loses_and_doubles_nothing(loopback: Loopback, gateway: GatewayProcess) -> None:
    def kill() -> None:
        for _ in range(3):
            time.sleep(0.3)
            gateway.kill()
            gateway.start()
            time.sleep(0.7)

    _exchange_while(gateway, threading.Thread(target=kill))
    data = [data for _, _, data in loopback.taken]
    assert data == [b"%d" % i for i in range(len(data))]


def test_a_killed_cpg_loses_and_doubles_nothing(loopback: Loopback, gateway: GatewayProcess) -> None:
    def kill() -> None:
        for _ in range(3):
            time.sleep(0.3)
            loopback.stop_serving()
            time.sleep(0.1)
            loopback.serve_again()

    _exchange_while(gateway, threading.Thread(target=kill))
    data = [data for _, _, data in loopback.taken]
    assert data == [b"%d" % i for i in range(len(data))]


def test_a_killed_gateway_and_asyncio(loopback: Loopback, gateway: GatewayProcess) -> None:
    async def main() -> None:
        async with rondo.aio.connect(gateway.endpoint, timeout=60) as cluster:
            group = await cluster.cpg.join("g")
            assert await group.poll(60)
            requests = [await group.mcast(b"%d" % i) for i in range(100)]
            await asyncio.to_thread(gateway.kill)
            requests += [await group.mcast(b"%d" % i) for i in range(100, 200)]
            gateway.start()
            await requests[-1].ordered(60)
            got = [await group.poll(60) for _ in range(202)]
            assert [type(event) for event in got if not isinstance(event, rondo.Message)] == [
                rondo.Suspended,
                rondo.Resumed,
            ]
            assert [event.data for event in got if isinstance(event, rondo.Message)] == [b"%d" % i for i in range(200)]

    asyncio.run(main())


def test_clients_that_died_with_the_gateway_are_closed_by_the_next(loopback: Loopback, gateway: GatewayProcess) -> None:
    command = [sys.executable, "-c", CHILD, gateway.endpoint]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"joined\n"
        gateway.kill()
        child.kill()
    gateway.start()
    eventually(lambda: [reason for _, reason in loopback.closed] == [CloseReason.DIED])


def test_the_death_of_totem_is_told_and_the_group_joined_again(loopback: Loopback, gateway: GatewayProcess) -> None:
    me = rondo.Member(1, os.getpid())
    with gateway.connect() as cluster:
        group = cluster.cpg.join("g")
        group.mcast(b"before").ordered(60)
        assert len(messages(group, 1)) == 1
        loopback.stall(True)
        # Messages that travel as one batch share their fate, so those that share it are sent before the others.
        requests = [group.mcast(b"%d" % i) for i in range(2)]
        session = next(iter(loopback.sessions))
        eventually(lambda: loopback.call(lambda: sum(r[2] - r[1] + 1 for r in loopback.stalled)) == 2)
        requests += [group.mcast(b"%d" % i) for i in range(2, 5)]
        eventually(lambda: loopback.call(lambda: sum(r[2] - r[1] + 1 for r in loopback.stalled)) == 5)
        # Two of them were on their way into the ring when totem died; nobody knows what became of these.
        unknown = [requests[0].number, requests[1].number]

        def forget_two() -> None:
            loopback.stalled[:] = [[session, unknown[1] + 1, requests[-1].number, b""]]

        loopback.call(forget_two)
        loopback.lose_totem({session: unknown})
        events = [group.poll(60) for _ in range(4)]
        joined = rondo.Membership("g", (me,), (rondo.Change(me, rondo.Reason.JOIN),), ())
        assert events == [
            rondo.Disconnected("totem died"),
            rondo.UnknownOutcome(tuple(unknown)),
            rondo.Reconnected(),
            joined,
        ]
        # What was not accepted had no effect, and is not sent again.
        for request in requests:
            with pytest.raises(rondo.Disconnected):
                request.ordered(60)
        assert ["unknown" in str(request.error) for request in requests] == [True, True, False, False, False]
        group.mcast(b"after").ordered(60)


def test_a_client_whose_session_is_gone_begins_a_new_one(loopback: Loopback, gateway: GatewayProcess) -> None:
    with gateway.connect() as cluster:
        group = cluster.cpg.join("g")
        assert isinstance(group.poll(60), rondo.Membership)
        gateway.kill()
        loopback.call(lambda: loopback.over(next(iter(loopback.sessions))))
        gateway.start()
        told = [type(group.poll(60)) for _ in range(4)]
        assert told == [rondo.Suspended, rondo.Disconnected, rondo.Reconnected, rondo.Membership]
        group.mcast(b"again").ordered(60)


def test_it_stops_cleanly_and_runs_once(loopback: Loopback, gateway: GatewayProcess) -> None:
    gateway.connect().close()
    status = ask(gateway.run_dir, "ipc_gateway", "status", timeout=20)
    assert (status["state"], status["node_id"], status["pid"]) == ("operational", 1, gateway.process.pid)
    assert ask(gateway.run_dir, "ipc_gateway", "log_level", timeout=20, level="debug")["level"] == "debug"
    command = [sys.executable, "-m", "services.ipc_gateway", "--run-dir", str(gateway.run_dir)]
    command += ["--resolved", str(gateway.run_dir / "node.resolved")]
    second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 18
    assert str(gateway.process.pid) in second.stderr
    assert gateway.stop() == 0
    wrong = subprocess.run([*command[:-1], "/nonexistent"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (wrong.returncode, wrong.stderr.count("\n")) == (8, 1)
