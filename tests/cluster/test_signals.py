"""Signals to the processes of a node, and descriptors that the caller of `rondo start` had open or closed."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from rondo.testing.lab.waiting import wait_for
from tests.cluster.test_node import (
    ALL,
    COMMAND_SECONDS,
    RONDO,
    RUNNING,
    Node,
    debug,
    make_nodes,
    node,
    wait_until_whole,
)

__all__ = ["make_nodes", "node"]

DESCRIPTORS_MAX = 60
"""A process of an idle node has far fewer."""
BUSY_S = 60.0


def start_with(node: Node, redirections: str) -> None:
    """`rondo start` from a shell with these redirections."""
    argv = [*RONDO, *node.start_arguments, "--run-dir", str(node.run_dir)]
    shell = ["bash", "-c", f'exec "$@" {redirections}', "start", *argv]
    subprocess.run(shell, timeout=COMMAND_SECONDS, check=True)
    wait_until_whole(node)


def next_lives(node: Node, before: dict[str, int], names: tuple[str, ...]) -> dict[str, int]:
    """The pids when each of these services runs as another process."""
    return wait_for(
        node.pids,
        lambda now: now.keys() >= ALL and all(now[name] != before[name] for name in names),
        "all are back",
        BUSY_S,
    )


@pytest.mark.parametrize(
    "redirections",
    [
        "3</dev/null 4</dev/null 5</dev/null",
        "<&- >&- 2>&-",
        " ".join(f"{number}</dev/null" for number in range(3, 250)),
    ],
    ids=["3 to 5 are open", "all are closed", "many are open"],
)
@pytest.mark.slow
def test_a_restart_by_sighup_however_the_node_was_started(node: Node, redirections: str) -> None:
    start_with(node, redirections)
    before = node.pids()
    for pid in before.values():
        assert len(os.listdir(f"/proc/{pid}/fd")) < DESCRIPTORS_MAX
    for _ in range(2):
        os.kill(before["supervisord"], signal.SIGHUP)
        now = next_lives(node, before, RUNNING)
        wait_until_whole(node)
        assert now["supervisord"] == before["supervisord"]
        refused = node.start(check=False)
        assert "a node runs here already" in refused.stderr  # the locks are still held
        before = node.pids()
    # The alarm and the watchdog are those of the new life: what is killed is started at once.
    os.kill(before["cpg"], signal.SIGKILL)
    next_lives(node, before, ("cpg",))
    assert node.command("stop").returncode == 0
    assert node.pids() == {}


@pytest.mark.slow
def test_signals_to_services(node: Node) -> None:
    node.start()
    before = node.pids()
    for name in RUNNING:
        os.kill(before[name], signal.SIGHUP)
    for name in RUNNING:
        debug(node, name)  # it has been round since
    assert node.pids() == before
    for number in (signal.SIGTERM, signal.SIGINT):
        before = node.pids()
        for name in RUNNING:
            os.kill(before[name], number)
        next_lives(node, before, RUNNING)
        wait_until_whole(node)
    log = node.command("logs", "supervisord").stdout
    for name in RUNNING:
        assert log.count(f"exited: {name} (exit status 0; not expected)") == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_signals_that_stop_the_node(node: Node, number: signal.Signals) -> None:
    node.start()
    os.kill(node.pids()["supervisord"], number)
    wait_for(node.pids, lambda now: not now, "all has stopped", BUSY_S)
    assert "Left the ring" in node.command("logs", "totem", "-n", "1").stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_start_that_a_signal_ends_leaves_nothing(node: Node, number: signal.Signals) -> None:
    # It waits for its ring for longer than this test.
    node.config.write_text(node.config.read_text().replace("token: 1000", "token: 60000"))
    argv = [*RONDO, *node.start_arguments, "--run-dir", str(node.run_dir)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as start:
        wait_for(node.pids, lambda now: now.keys() >= ALL, "all processes are there", BUSY_S)
        start.send_signal(number)
        said = start.communicate(timeout=BUSY_S)[0]
    assert (start.returncode, said) == (128 + number, b"")
    assert node.pids() == {}


def test_logs_that_were_moved_are_made_anew(node: Node) -> None:
    node.start()
    log = Path(node.run_dir) / "log" / "supervisord.log"
    log.rename(log.with_name("moved"))
    os.kill(node.pids()["supervisord"], signal.SIGUSR2)
    said = "received SIGUSR2 indicating log reopen request"
    # The file is there, and empty, before its first line is.
    wait_for(lambda: log.exists() and said in log.read_text(), bool, "a new log with the line", BUSY_S)
