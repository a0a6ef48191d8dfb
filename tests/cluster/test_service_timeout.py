"""`system.service_timeout` is kept: services of a real node are stopped, one by one and all at once. Needs no root."""

import os
import signal
import time

import pytest

import rondo
from rondo.testing.lab.waiting import wait_for
from tests.cluster.test_node import RUNNING, Node, debug, make_nodes, node, wait_for_log, wait_until_whole

__all__ = ["make_nodes", "node"]

TIMEOUT_MS = 3000
"""Long enough for who is not stopped, on a busy machine."""
BUSY_S = 60.0


@pytest.fixture
def watched(node: Node) -> Node:
    """A node with a short time-out, started."""
    with node.config.open("a") as config:
        config.write(f"system {{\n    service_timeout: {TIMEOUT_MS}\n}}\n")
    node.start()
    return node


def test_a_stopped_service_is_killed_and_started_again_and_nothing_is_lost(watched: Node) -> None:
    with rondo.connect(watched.endpoint, timeout=BUSY_S) as cluster:
        group = cluster.cpg.join("bank")
        group.mcast(b"before")
        for name in ("cpg", "control", "ipc_gateway", "sam"):
            stopped = watched.pids()[name]
            began_s = time.monotonic()
            os.kill(stopped, signal.SIGSTOP)
            group.mcast(name.encode())
            wait_for(watched.pids, lambda now, name=name, pid=stopped: now.get(name, pid) != pid, name, BUSY_S)  # type: ignore[misc]
            assert time.monotonic() - began_s >= TIMEOUT_MS / 1000 / 2
            line = f"{name} (process {stopped}) has not moved for {TIMEOUT_MS} ms (system.service_timeout)"
            wait_for_log(watched, "supervisord", f"{line}: it is stopped by a signal.")
        wait_until_whole(watched)
        group.mcast(b"after")
        seen = []
        while b"after" not in seen:
            event = group.poll(timeout=BUSY_S)
            assert event is not None
            if isinstance(event, rondo.Message):
                seen.append(bytes(event.data))
    assert seen == [b"before", b"cpg", b"control", b"ipc_gateway", b"sam", b"after"]


def test_a_stopped_ring_process_leaves_the_ring_and_is_back(watched: Node) -> None:
    stopped = watched.pids()["totem"]
    os.kill(stopped, signal.SIGSTOP)
    wait_for(watched.pids, lambda now: now.get("totem", stopped) != stopped, "totem is back", BUSY_S)
    wait_until_whole(watched)
    assert watched.status()["services"]["totem"]["restarts"] == 1


def test_a_node_that_is_stopped_as_a_whole_kills_nobody(watched: Node) -> None:
    before = watched.pids()
    for pid in before.values():
        os.kill(pid, signal.SIGSTOP)
    time.sleep(3 * TIMEOUT_MS / 1000)  # that much time is what the test is about
    for pid in sorted(before.values()):  # the watchdog first
        os.kill(pid, signal.SIGCONT)
    wait_until_whole(watched)
    time.sleep(2 * TIMEOUT_MS / 1000)
    assert watched.pids() == before
    wait_until_whole(watched)


def test_services_without_their_supervisord_cost_nothing_and_go_on(watched: Node) -> None:
    pids = watched.pids()
    os.kill(pids.pop("supervisord"), signal.SIGKILL)
    for name in RUNNING:
        debug(watched, name)
    began = {pid: _cpu_ticks(pid) for pid in pids.values()}
    time.sleep(1.0)
    spent = {pid: _cpu_ticks(pid) - ticks for pid, ticks in began.items()}
    assert max(spent.values()) < os.sysconf("SC_CLK_TCK") / 4, spent
    assert watched.pids() == pids


def _cpu_ticks(pid: int) -> int:
    """Processor time of a process, in clock ticks (proc_pid_stat(5))."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    return int(fields[11]) + int(fields[12])
