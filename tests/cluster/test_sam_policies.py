"""SAM's quorum policies in a cluster of three real nodes, of which two are killed, and through a death of control."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from rondo.sam import Policy
from rondo.sam.commands import Sam
from rondo.testing import rondo_cluster
from rondo.testing.cluster import SERVICES, TestCluster
from rondo.testing.lab.waiting import wait_for

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0
SLEEP = ["sleep", "1000"]
REGISTERS = """
    import time
    from rondo import sam
    sam.initialize(0, sam.Policy.RESTART | sam.Policy.QUORUM)
    sam.register()
    sam.start()
    time.sleep(1000)
"""


def eventually(true: Callable[[], object], what: str) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end_s, f"not within {PATIENCE_S:g} s: {what}"
        time.sleep(0.02)


class Watched:
    """Node 1 of a cluster, with a SAM."""

    def __init__(self, cluster: TestCluster, stack: ExitStack) -> None:
        self.cluster = cluster
        self._stack = stack
        self._directory = cluster[1].run_dir.parent
        self.start("sam")
        self.sam = stack.enter_context(Sam(cluster[1].endpoint))
        self.client = stack.enter_context(cluster[1].connect())

    def start(self, service: str) -> "subprocess.Popen[bytes]":
        """Start a service of node 1, until the end of the test."""
        options = ["-c", str(self._directory / "corosync.conf"), "--run-dir", str(self.cluster[1].run_dir)]
        options += ["--state-dir", str(self._directory / "state1"), "--nodeid", "1"]
        with (self._directory / f"{service}.log").open("ab") as log:
            argv = [sys.executable, "-m", f"services.{service}", *options]
            process = subprocess.Popen(argv, cwd=ROOT, stdout=log, stderr=log)
        self._stack.callback(process.wait, PATIENCE_S)
        self._stack.callback(process.terminate)
        return process

    def run(self, policy: Policy, command: list[str] | None = None) -> str:
        environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
        return str(self.sam.run(command or SLEEP, policy=policy, environment=environment, directory="/")["id"])

    def of(self, application_id: str) -> dict[str, Any]:
        (found,) = self.sam.status(application_id)
        return found

    def wait(self, application_id: str, state: str, instance: int = 0) -> dict[str, Any]:
        return wait_for(
            lambda: self.of(application_id),
            lambda found: (found["state"], found["instance"]) == (state, instance),
            f"{application_id} is {state}, instance {instance}",
            PATIENCE_S,
        )

    def shown(self) -> dict[str, Any]:
        found = self.client.cmap.items("resources.process.")
        return {key.removeprefix("resources.process."): value for key, value in found.items()}


@pytest.fixture
def watched() -> Iterator[Watched]:
    with rondo_cluster(nodes=3, network=False) as cluster, ExitStack() as stack:
        yield Watched(cluster, stack)


@pytest.mark.slow
def test_a_loss_of_quorum_and_its_return(watched: Watched) -> None:
    restarts, quits, ever = (watched.run(each) for each in (Policy.QUORUM_RESTART, Policy.QUORUM_QUIT, Policy.RESTART))
    for each in (restarts, quits, ever):
        watched.wait(each, "started")
    registers = watched.run(Policy.QUIT, [sys.executable, "-c", textwrap.dedent(REGISTERS)])
    eventually(lambda: watched.of(registers)["policy"] == "quorum-restart", "it has registered")
    watched.wait(registers, "started")
    pids = {each: watched.of(each)["pid"] for each in (restarts, quits, ever, registers)}
    names = ("recovery", "poll_period", "state", "last_updated")
    keys = {f"{pid}.{name}" for pid in pids.values() for name in names}
    eventually(lambda: watched.shown().keys() == keys, "all processes are in cmap")
    keys_of_state = [f"{pid}.state" for pid in pids.values()]
    shown = watched.shown()
    assert [shown[f"{pids[each]}.recovery"] for each in (restarts, quits)] == ["restart", "quit"]
    running = dict.fromkeys(keys_of_state, "running")
    eventually(lambda: running.items() <= watched.shown().items(), "cmap has heard that all of them run")

    for node in (2, 3):
        watched.cluster.kill(node)
    for each in (restarts, registers):
        waiting = watched.wait(each, "waiting for quorum", instance=1)
        assert waiting["history"][-1]["why"] == "quorum was lost"
        assert waiting["pid"] is None
    assert "loss of quorum" in watched.wait(quits, "stopped")["message"]
    assert watched.of(ever)["pid"] == pids[ever]
    eventually(lambda: {key.split(".")[0] for key in watched.shown()} == {str(pids[ever])}, "no key of a dead process")
    late = watched.run(Policy.QUORUM_QUIT)
    assert watched.of(late)["state"] == "waiting for quorum"

    watched.cluster.restart(2)
    for each in (restarts, registers):
        watched.wait(each, "started", instance=1)
    watched.wait(late, "started")
    assert watched.of(quits)["state"] == "stopped"


@pytest.mark.slow
def test_a_death_of_control_is_no_loss_and_hides_none(watched: Watched) -> None:
    application = watched.run(Policy.QUORUM_RESTART)
    pid = watched.wait(application, "started")["pid"]
    eventually(lambda: f"{pid}.state" in watched.shown(), "it is in cmap")
    os.kill(watched.cluster[1].pids[SERVICES.index("control")], signal.SIGKILL)
    control = watched.start("control")
    assert watched.client.quorum.status().quorate
    assert watched.shown()[f"{pid}.state"] == "running"
    found = watched.of(application)
    assert (found["pid"], found["state"]) == (pid, "started")

    control.kill()
    control.wait()
    for node in (2, 3):
        watched.cluster.kill(node)
    assert watched.of(application)["pid"] == pid, "nobody has said anything of quorum"
    watched.start("control")
    watched.wait(application, "waiting for quorum", instance=1)
