"""Many clients of one node, killed at once: their groups are empty within a second, and memory returns.

200 clients in CI; `make crowd` has 1,000.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import rondo
from rondo.node.supervision import processes
from rondo.testing.lab.waiting import wait_for
from tests.cluster.test_node import Node, make_nodes, node

__all__ = ["make_nodes", "node"]

CLIENTS = int(os.environ.get("RONDO_CROWD", "200"))
GROUPS = 20
JOIN_SECONDS = 120
EMPTY_SECONDS = 1.0
ATTEMPTS_MAX = 6
"""Attempts, of which one must be in time, because a machine may be busy. A second one shows that memory returns."""
GROWTH_BYTES_MAX = 16 * 1024 * 1024
"""Growth that is allowed: caches of the allocator and of Python. A crowd of 200 takes about as much."""
USUAL_LIMIT = 1024
"""The usual soft limit of open files. A thousand clients need more descriptors."""


def resident_bytes(one: Node) -> dict[str, int]:
    """Resident memory of each process of the node."""
    page = os.sysconf("SC_PAGE_SIZE")
    found = processes.find(one.run_dir)
    return {each.name: int(Path(f"/proc/{each.pid}/statm").read_text().split()[1]) * page for each in found}


def crowd_comes_and_dies(one: Node, cluster: rondo.Cluster) -> float:
    """All join, are seen in their groups, and are killed with SIGKILL. How long until the groups are empty, seconds."""
    argv = [sys.executable, "-m", "tests.cluster.crowd", str(one.run_dir / "gateway.sock"), str(CLIENTS), str(GROUPS)]
    crowd = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    assert crowd.stdin is not None
    assert crowd.stdout is not None
    try:
        assert crowd.stdout.readline() == b"joined\n"
        groups = cluster.cpg.groups(timeout=JOIN_SECONDS)
        assert [len(group["members"]) for group in groups] == [CLIENTS // GROUPS] * GROUPS
        assert len({member["pid"] for group in groups for member in group["members"]}) == CLIENTS
    finally:
        os.killpg(crowd.pid, signal.SIGKILL)
        killed = time.monotonic()
    wait_for(lambda: cluster.cpg.groups(timeout=JOIN_SECONDS), lambda left: left == [], "empty groups", 60.0)
    empty_s = time.monotonic() - killed
    crowd.wait()
    crowd.stdin.close()
    crowd.stdout.close()
    return empty_s


def test_a_crowd_is_killed_at_once(node: Node) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, USUAL_LIMIT), hard))
    try:
        node.start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with rondo.connect(node.endpoint, timeout=60) as cluster:
        before = resident_bytes(node)
        took = [crowd_comes_and_dies(node, cluster) for _ in range(2)]
        while min(took) >= EMPTY_SECONDS and len(took) < ATTEMPTS_MAX:
            took.append(crowd_comes_and_dies(node, cluster))
        assert min(took) < EMPTY_SECONDS, took
        wait_for(
            lambda: {name: now - before[name] for name, now in resident_bytes(node).items()},
            lambda grown: max(grown.values()) < GROWTH_BYTES_MAX,
            "memory returns",
            60.0,
        )
    status = node.status()
    assert {each["restarts"] for each in status["services"].values()} == {0}
