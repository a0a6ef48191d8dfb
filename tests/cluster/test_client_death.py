"""The other members hear at once that a process is dead, also if its connection had ended before. Needs no root."""

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import rondo
from rondo.ipc.control import ask
from rondo.testing.lab.waiting import wait_for
from tests.cluster.test_node import Node, make_nodes, node
from tests.documents.blocks import ROOT

__all__ = ["make_nodes", "node"]

KILLS = 8
NOTICED_S_MAX = 0.2
"""A gateway that was not woken would notice it when it looks by itself, once a second."""
ROUNDS_MAX = 3
"""Of which one must be that soon: the machine may be busy with other things."""
QUIET_S = 0.3
"""A pause after which nothing else is in flight that would wake the gateway."""
LONG_S = 60.0

MEMBER = """
import sys, time
from tests.unit.gateway.raw import RawClient
with RawClient(sys.argv[1]) as raw:
    raw.hello()
    raw.requests([1, 1, b"g"])
    print("joined", flush=True)
    sys.stdin.readline()
print("closed", flush=True)
time.sleep(600)
"""


@contextmanager
def detached_member(node: Node) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is a member of the group, and has lost its connection; it may come back, so it stays a member."""
    command = [sys.executable, "-c", MEMBER, node.endpoint]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == b"joined\n"
        child.stdin.close()
        assert child.stdout.readline() == b"closed\n"
        try:
            yield child
        finally:
            child.kill()


def connected_of(node: Node, pid: int) -> bool:
    sessions = ask(node.run_dir, "ipc_gateway", "status", LONG_S)["sessions"]
    return any(each["pid"] == pid and each["connected"] for each in sessions)


@pytest.mark.slow
def test_the_death_of_a_process_without_a_connection_is_told_at_once(node: Node) -> None:
    node.start()
    medians_s: list[float] = []
    with rondo.connect(node.endpoint, timeout=LONG_S) as cluster:
        group = cluster.cpg.join("g", LONG_S)
        while not medians_s or (min(medians_s) >= NOTICED_S_MAX and len(medians_s) < ROUNDS_MAX):
            # One of them may be late, because the machine may be busy.
            medians_s.append(statistics.median(noticed_after_s(node, group) for _ in range(KILLS)))
    assert min(medians_s) < NOTICED_S_MAX, medians_s


def noticed_after_s(node: Node, group: rondo.Group) -> float:
    """How long after the death of such a process the group is told of it, s."""
    with detached_member(node) as child:
        member = rondo.Member(group.me.node, child.pid)
        while not (isinstance(event := group.poll(LONG_S), rondo.Membership) and member in event.members):
            assert event is not None
        wait_for(lambda: connected_of(node, child.pid), lambda is_there: not is_there, "it hung up", LONG_S)
        assert group.poll(QUIET_S) is None
        killed_s = time.monotonic()
        child.kill()
        event = group.poll(LONG_S)
        noticed_s = time.monotonic() - killed_s
        assert isinstance(event, rondo.Membership)
        assert event.left == (rondo.Change(member, rondo.Reason.PROCDOWN),)
        return noticed_s
