"""C programs on libcfg at Rondo nodes: corosync-cfgtool -R, -L, -k, -H, and one that has a say in shutdowns."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rondo.testing.lab.netns import Lab
from rondo.testing.lab.node import Node
from rondo.testing.lab.waiting import wait_for
from tests.interop.c_programs import nodes_of

pytestmark = [pytest.mark.corosync, pytest.mark.namespaces, pytest.mark.timeout(400)]

PROGRAM = [sys.executable, str(Path(__file__).with_name("cfg_program.py"))]
TIMEOUT_S = 60.0


@pytest.fixture
def nodes(lab: Lab, tmp_path: Path) -> Iterator[list[Node]]:
    with nodes_of(lab, tmp_path) as nodes:
        yield nodes


def _cfgtool(node: Node, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return node.host.run(["corosync-cfgtool", *arguments], check=False)


def test_cfgtool_reloads_reopens_kills_and_shuts_down(nodes: list[Node], tmp_path: Path) -> None:
    one, two, three = nodes
    config = tmp_path / "corosync.conf"
    config.write_text(config.read_text().replace("token: 1000", "token: 1100"))
    assert _cfgtool(one, "-R").returncode == 0
    # Node 1 has changed when the tool ends; node 2 may be a little later.
    wait_for(
        lambda: two.host.run(["corosync-cmapctl", "-g", "runtime.config.totem.token"]).stdout,
        lambda said: said == "runtime.config.totem.token (u32) = 1100\n",
        "node 2 has read the file",
        TIMEOUT_S,
    )
    good = config.read_text()
    config.write_text(good.replace("token: 1100", "token: soon"))
    failed = _cfgtool(one, "-R")
    assert failed.returncode != 0
    assert "CS_ERR_FAILED_OPERATION" in failed.stderr
    config.write_text(good)
    assert _cfgtool(one, "-L").returncode == 0

    # Whoever tracks is asked, and heeded.
    output = tmp_path / "tracker.out"
    with output.open("wb") as file:
        tracker = one.host.popen([*PROGRAM, "track", "no"], stdout=file)
    wait_for(output.read_text, lambda text: "ready" in text, "the program tracks", TIMEOUT_S)
    # A control process that has just started asks to try again (error 6).
    wait_for(
        lambda: _cfgtool(one, "-H"),
        lambda done: "Could not shutdown (error = 10)" in done.stdout + done.stderr,
        "the shutdown is refused",
        TIMEOUT_S,
    )
    wait_for(output.read_text, lambda text: "asked 0 1" in text, "it was asked, and its answer taken", TIMEOUT_S)
    assert one.pids(), "the node goes on"
    # It does not object any more once it is gone.
    tracker.kill()
    tracker.wait()
    assert _cfgtool(one, "-H").returncode == 0
    wait_for(one.pids, lambda pids: not pids, "node 1 has stopped", TIMEOUT_S)

    killing = two.host.run([*PROGRAM, "kill", "3", "its disk is full"])
    assert killing.stdout == "1\n"
    wait_for(three.pids, lambda pids: not pids, "node 3 has stopped", TIMEOUT_S)
    told = "Node 3 is killed by node 2: its disk is full"
    wait_for(lambda: two.log("control"), lambda log: told in log, "node 2 tells of it", TIMEOUT_S)
    # The processes of node 3 are gone before node 2 has a ring without it.
    wait_for(
        lambda: two.host.run([*PROGRAM, "kill", "3", "again"]).stdout,
        lambda said: said == "12\n",
        "node 3 is not there to be killed",
        TIMEOUT_S,
    )
