"""Who waits reads the socket itself: threads that hand it on to each other, and none that is left asleep."""

import os
import threading
import time

import pytest

import rondo
from rondo._client import worker
from tests.unit.gateway.conftest import GatewayProcess
from tests.unit.gateway.loopback import Loopback

LONG_S = 60


def take_all(group: rondo.Group, count: int, found: list[bytes]) -> None:
    """Take so many messages."""
    while len(found) < count:
        event = group.poll(LONG_S)
        assert event is not None
        if isinstance(event, rondo.Message):
            found.append(event.data)


def test_threads_that_wait_for_different_things_all_get_them(loopback: Loopback, gateway: GatewayProcess) -> None:
    with gateway.connect() as cluster:
        groups = [cluster.cpg.join(f"group{number}") for number in range(4)]
        found: list[list[bytes]] = [[] for _ in groups]
        threads = [
            threading.Thread(target=take_all, args=(group, 200, taken), daemon=True)
            for group, taken in zip(groups, found, strict=True)
        ]
        for thread in threads:
            thread.start()
        for number in range(200):
            for group in groups:
                request = group.mcast(b"%d" % number)
            if number % 10 == 0:
                request.ordered(LONG_S)
        for thread in threads:
            thread.join(LONG_S)
            assert not thread.is_alive()
        assert found == [[b"%d" % number for number in range(200)]] * 4


@pytest.mark.parametrize("others", [0, 2])
def test_who_waits_hears_that_the_connection_was_closed(
    loopback: Loopback, gateway: GatewayProcess, others: int
) -> None:
    cluster = gateway.connect()
    ends: list[rondo.Error] = []

    def wait(name: str) -> None:
        group = cluster.cpg.join(name)
        joined.release()
        try:
            while True:
                group.poll(LONG_S)
        except rondo.Error as error:
            ends.append(error)

    joined = threading.Semaphore(0)
    threads = [threading.Thread(target=wait, args=(f"g{number}",), daemon=True) for number in range(1 + others)]
    for thread in threads:
        thread.start()
        assert joined.acquire(timeout=LONG_S)
    cluster.close()
    for thread in threads:
        thread.join(LONG_S)
        assert not thread.is_alive()
    assert all(isinstance(error, rondo.Disconnected) for error in ends)
    assert len(ends) == 1 + others


def test_a_gateway_that_is_killed_while_somebody_reads_is_found_again(
    loopback: Loopback, gateway: GatewayProcess
) -> None:
    with gateway.connect() as cluster:
        group = cluster.cpg.join("g")
        found: list[bytes] = []
        reader = threading.Thread(target=take_all, args=(group, 60, found), daemon=True)
        reader.start()
        for number in range(60):
            if number in (20, 40):
                gateway.process.kill()
                gateway.process.wait()
                gateway.start()
            group.mcast(b"%d" % number)
        reader.join(LONG_S)
        assert found == [b"%d" % number for number in range(60)]


def test_acknowledgements_go_on_while_the_application_computes(loopback: Loopback, gateway: GatewayProcess) -> None:
    """The thread takes the socket back from an application that does not wait any more."""
    with gateway.connect() as cluster:
        group = cluster.cpg.join("g")
        found: list[bytes] = []
        for number in range(20):
            group.mcast(b"%d" % number)
            take_all(group, number + 1, found)
        request = group.mcast(b"last")
        end = time.monotonic() + LONG_S
        while not request.is_done:
            assert time.monotonic() < end
            time.sleep(0.005)
        assert rondo.Member(1, os.getpid()) in group.members


def test_what_becomes_due_while_the_application_reads_is_sent_by_it(
    loopback: Loopback, gateway: GatewayProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The link's own thread sleeps meanwhile, here for a minute."""
    monkeypatch.setattr(worker, "ACK_DELAY_MS", 60_000)
    monkeypatch.setattr(worker, "LED_MS_MAX", 60_000)
    cluster = gateway.connect()
    group = cluster.cpg.join("g")
    loopback.stall(True)
    group.mcast(bytes(300_000))
    waits = group.mcast(b"not due before the first is settled")
    threading.Timer(0.3, loopback.stall, (False,)).start()
    waits.ordered(20)
    cluster.close()


def test_who_only_looks_sees_what_has_come(
    loopback: Loopback, gateway: GatewayProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "ACK_DELAY_MS", 60_000)
    monkeypatch.setattr(worker, "LED_MS_MAX", 60_000)
    cluster = gateway.connect()
    group = cluster.cpg.join("g")
    while group.poll(0.1) is not None:
        pass
    group.mcast(b"x")
    end = time.monotonic() + 20
    while (event := group.poll(0)) is None:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert isinstance(event, rondo.Message)
    cluster.close()


@pytest.mark.parametrize("timeout", [3e6, 1e12, float("inf")])
def test_a_timeout_may_be_of_any_length(loopback: Loopback, gateway: GatewayProcess, timeout: float) -> None:
    with gateway.connect(timeout) as cluster:
        group = cluster.cpg.join("g", timeout)
        assert group.poll(timeout) is not None
        group.mcast(b"x", timeout=timeout).ordered(timeout)
        assert group.poll(timeout) is not None
