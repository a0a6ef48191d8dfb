"""Nodes of real processes: the reason of what goes wrong reaches whoever looks, wherever that is. Needs no root."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rondo.demo.cluster import free_port
from rondo.node.supervision import C_PROGRAMS
from rondo.testing.lab.waiting import wait_for

COMMAND_SECONDS = 120
BUSY_S = 60.0
LOGGING = "logging {\n to_stderr: no\n to_logfile: yes\n logfile: node.log\n}\n"


class Node:
    """A node whose configuration is its own file."""

    def __init__(self, directory: Path, port: int, node_id: int, others: dict[int, str], totem: str = "") -> None:
        self.node_id = node_id
        directory.mkdir()
        self.run_dir, self.log, self.config = directory / "r", directory / "node.log", directory / "c.conf"
        self._state_dir = directory / "s"
        nodes = "".join(
            f" node {{\n  ring0_addr: 127.0.0.{number}\n  nodeid: {number}\n  name: {name}\n }}\n"
            for number, name in others.items()
        )
        self.config.write_text(
            f"totem {{\n transport: udpu\n secauth: off\n token: 1000\n{totem}"
            f" interface {{\n  mcastport: {port}\n }}\n}}\n"
            f"nodelist {{\n{nodes}}}\n{LOGGING}"
        )

    def command(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "rondo.cli.main", *arguments, "--run-dir", str(self.run_dir)],
            capture_output=True, text=True, timeout=COMMAND_SECONDS, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def start(self) -> "subprocess.CompletedProcess[str]":
        where = ("-c", str(self.config), "--state-dir", str(self._state_dir), "--nodeid", str(self.node_id))
        return self.command("start", *where)

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.command("status", "--json").stdout)
        return found


@pytest.fixture
def directory() -> Iterator[Path]:
    """Short, for sockets lie in it; at the end all nodes in it are stopped."""
    with tempfile.TemporaryDirectory(dir="/tmp") as made:
        yield Path(made)
        for run_dir in Path(made).glob("*/r"):
            subprocess.run(
                [sys.executable, "-m", "rondo.cli.main", "stop", "--run-dir", str(run_dir)],
                capture_output=True, timeout=COMMAND_SECONDS,
            )  # fmt: skip


BOTH = {1: "alpha", 2: "beta"}


@pytest.mark.slow
def test_an_older_configuration_is_the_reason_everywhere(directory: Path) -> None:
    port = free_port(["127.0.0.1", "127.0.0.2"])
    old = Node(directory / "1", port, 1, BOTH, " config_version: 1\n")
    new = Node(directory / "2", port, 2, BOTH, " config_version: 2\n")
    assert new.start().returncode == 0
    failed = old.start()
    why = "Received config version (2) is different than my config version (1)"
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: the node has stopped: totem exited with 8: totem.config_version: ")
    assert why in failed.stderr
    assert "copy the newest corosync.conf to this node" in failed.stderr
    assert f"crit    [MAIN  ] totem.config_version: {why}" in old.log.read_text()
    assert why in old.command("status").stderr


def test_status_names_who_is_absent_and_what_does_not_run(directory: Path) -> None:
    node = Node(directory / "1", free_port(["127.0.0.1", "127.0.0.2"]), 1, BOTH)
    assert node.start().returncode == 0
    (absent,) = wait_for(node.status, lambda found: len(found["absent"]) == 1, "one is absent", BUSY_S)["absent"]
    assert (absent["node"], absent["name"], absent["addresses"], absent["seen"]) == (2, "beta", ["127.0.0.2"], False)
    # One that a busy machine holds for a second is shown as not answering.
    shown = wait_for(lambda: node.command("status"), lambda done: done.returncode == 0, "all answer", BUSY_S)
    assert "node 2 beta (127.0.0.2) not seen since this node's start" in shown.stdout
    cpg = node.status()["services"]["cpg"]["pid"]
    os.kill(cpg, signal.SIGKILL)
    wait_for(node.status, lambda found: found["services"]["cpg"]["pid"] not in (cpg, None), "cpg is back", BUSY_S)
    assert node.status()["services"]["cpg"]["last_end"].endswith("was killed by SIGKILL")
    assert "error   [SUPERV] cpg was killed by SIGKILL" in node.log.read_text()
    os.kill(node.status()["supervisor"]["pid"], signal.SIGKILL)
    wait_for(node.status, lambda found: found["supervisor"]["state"] == "stopped", "supervisord is gone", BUSY_S)
    shown = node.command("status")
    assert shown.returncode == 1
    assert "warning: supervisord does not run, so nothing is started again" in shown.stderr


def test_processes_have_names(directory: Path) -> None:
    node = Node(directory / "1", free_port(["127.0.0.1", "127.0.0.2"]), 1, {1: "alpha"})
    assert node.start().returncode == 0
    found = node.status()
    pids = {name: each["pid"] for name, each in found["services"].items() if each["pid"] is not None}
    pids["supervisord"] = found["supervisor"]["pid"]
    names = {name: Path(f"/proc/{pid}/comm").read_text().strip() for name, pid in pids.items()}
    assert names.pop("control", "rondo-control") == "rondo-control"
    assert names.pop(C_PROGRAMS, "rondo-qb") == "rondo-qb"
    assert names == {
        "totem": "rondo-totem",
        "cpg": "rondo-cpg",
        "ipc_gateway": "rondo-gateway",
        "sam": "rondo-sam",
        "supervisord": "rondo-supervis",
    }


def test_a_node_that_is_not_in_the_nodelist_is_named_without_packet_security(directory: Path) -> None:
    """Both have the address 127.0.0.2 in their files, under another id."""
    port = free_port(["127.0.0.1", "127.0.0.2"])
    first = Node(directory / "1", port, 1, BOTH)
    second = Node(directory / "2", port, 7, BOTH)
    second.config.write_text(second.config.read_text().replace("nodeid: 2", "nodeid: 7"))
    assert first.start().returncode == 0
    assert second.start().returncode == 0
    found = wait_for(first.status, lambda found: bool(found["strangers"]), "the stranger is seen", BUSY_S)
    assert found["members"] == [1]
    (stranger,) = found["strangers"]
    why = "its node id 7 is not in the nodelist; write the same nodelist on all nodes"
    assert (stranger["address"], stranger["why"]) == ("127.0.0.2", why)
    assert f"warning [TOTEM ] Packet ignored. It came from 127.0.0.2 (node 2): {why}." in first.log.read_text()
    refused = rf"refused: packets from 127\.0\.0\.2, last \d+ s ago: {re.escape(why)}"
    wait_for(lambda: first.command("status").stdout, lambda text: bool(re.search(refused, text)), "it is shown", BUSY_S)
