"""A node whose run or state directory is moved away while it runs, or cannot be written. Needs no root.

With `test_full_disks.py` these are the columns of the table in docs/FAULTS.md.
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import rondo
from rondo.testing.lab.waiting import wait_for
from tests.cluster.test_full_disks import BUSY_S, Confined, confined
from tests.cluster.test_node import COMMAND_SECONDS, RONDO, Node, make_nodes, node, wait_until_whole

__all__ = ["confined", "make_nodes", "node"]

AWAY_S = 0.5
LONG_S = 60.0


@contextlib.contextmanager
def moved(directory: Path) -> Iterator[Path]:
    """Give a directory another name for a while."""
    away = directory.with_name("away")
    directory.rename(away)
    yield away
    away.rename(directory)


def make_read_only(confined: Confined, directory: Path) -> None:
    """Make a directory of the node's mount namespace read-only."""
    enter = ["nsenter", "-t", str(confined.holder.pid), "-U", "-m", "--preserve-credentials", "--"]
    # This option is for the mount alone. Without root the file system itself takes no more options.
    subprocess.run([*enter, "mount", "-o", "remount,bind,ro", str(directory)], check=True)


@pytest.mark.parametrize("which", ["run", "state"])
def test_a_start_where_nothing_can_be_written_is_refused_and_leaves_nothing(confined: Confined, which: str) -> None:
    directory = {"run": confined.run_dir, "state": confined.state_dir}[which]
    make_read_only(confined, directory)
    refused = confined.start(check=False)
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"error: {directory}: Read-only file system")
    assert f"RONDO_{which.upper()}_DIR" in refused.stderr
    assert confined.pids() == {}


def test_while_the_run_directory_is_away_clients_go_on_and_nobody_new_comes(node: Node) -> None:
    node.start()
    before = node.pids()
    with rondo.connect(node.endpoint, LONG_S) as cluster:
        group = cluster.cpg.join("g", LONG_S)
        with moved(node.run_dir) as away:
            group.mcast(b"meanwhile").ordered(LONG_S)
            with pytest.raises(rondo.Timeout):
                rondo.connect(node.endpoint, AWAY_S)
            assert "Waiting for clients" in (away / "log" / "ipc_gateway.log").read_text()
        group.mcast(b"afterwards").ordered(LONG_S)
    rondo.connect(node.endpoint, LONG_S).close()
    assert node.pids() == before
    wait_for(
        lambda: node.command("logs", "ipc_gateway").stdout,
        lambda log: log.count(": opened") == log.count(": closed") >= 2,  # those of the time in between, too
        "all sessions are closed",
        BUSY_S,
    )


def test_a_service_that_dies_while_the_run_directory_is_away_stops_the_node_in_order(node: Node) -> None:
    node.start()
    with moved(node.run_dir):
        os.kill(node.pids()["cpg"], signal.SIGKILL)
        wait_for(node.pids, lambda now: not now, "the node has stopped", BUSY_S)
    assert "the node stops" in node.command("logs", "supervisord").stdout


def test_a_ring_process_that_dies_while_the_state_directory_is_away_comes_back(node: Node) -> None:
    node.start()
    with moved(node.state_dir):
        before = node.pids()["totem"]
        os.kill(before, signal.SIGKILL)
        wait_for(node.pids, lambda now: now.get("totem", before) != before, "totem is back", BUSY_S)
        wait_until_whole(node)
        if node.state_dir.exists():
            node.state_dir.rename(node.state_dir.with_name("made-anew"))


def start_without_power(node: Node) -> "subprocess.CompletedProcess[str]":
    """`rondo start` by somebody to whom permissions apply: root without its capabilities."""
    powerless = ["setpriv", "--inh-caps=-all", "--bounding-set=-all", "--"] if os.geteuid() == 0 else []
    return subprocess.run(
        [*powerless, *RONDO, *node.start_arguments, "--run-dir", str(node.run_dir)],
        capture_output=True, text=True, timeout=COMMAND_SECONDS, stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.mark.parametrize("which", ["run", "state"])
def test_a_start_without_permission_is_refused_and_leaves_nothing(node: Node, which: str) -> None:
    directory = {"run": node.run_dir, "state": node.state_dir}[which]
    directory.mkdir(mode=0o500)
    refused = start_without_power(node)
    assert refused.returncode == 1
    assert refused.stderr == (
        f"error: {directory}: not writable for you; set RONDO_{which.upper()}_DIR to a directory of yours\n"
    )
    assert node.pids() == {}


def test_a_node_that_loses_its_permission_goes_on_until_a_service_needs_its_socket(node: Node) -> None:
    assert start_without_power(node).returncode == 0
    node.run_dir.chmod(0o500)
    try:
        with rondo.connect(node.endpoint, LONG_S) as cluster:
            group = cluster.cpg.join("g", LONG_S)
            group.mcast(b"x").ordered(LONG_S)
            os.kill(node.pids()["cpg"], signal.SIGKILL)
            wait_for(node.pids, lambda now: not now, "the node has stopped", BUSY_S)
    finally:
        node.run_dir.chmod(0o755)
    log = node.command("logs", "supervisord").stdout
    assert "the node stops" in log
    assert "Permission denied" in log
