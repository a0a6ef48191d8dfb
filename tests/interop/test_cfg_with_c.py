"""Reloads and kills in rings of C Corosync and Rondo nodes, asked for by either side."""

import json
import sys
from pathlib import Path

import pytest

from rondo.node.exit_codes import EXIT_KILLED
from rondo.testing.lab.complete_node import CompleteNode
from rondo.testing.lab.corosync import CorosyncNode
from rondo.testing.lab.netns import Host, Lab
from rondo.testing.lab.ring_config import RingConfig
from rondo.testing.lab.ring_nodes import Cluster
from rondo.testing.lab.rondo_node import REPOSITORY, RUN_DIRECTORY
from tests.interop.test_quorum_with_c import Ask, check_agree, of_c, of_rondo, votes

pytestmark = [pytest.mark.corosync, pytest.mark.namespaces]

ENDED_TIMEOUT_S = 30.0
PROVIDER = "provider: corosync_votequorum\n"


def rondo(host: Host, *arguments: str, check: bool = True) -> str:
    """Run a command of Rondo's; what it printed, also as a refusal."""
    argv = [sys.executable, "-m", "rondo.cli.main", *arguments, "--run-dir", RUN_DIRECTORY]
    done = host.run(argv, environment={"PYTHONPATH": str(REPOSITORY)}, check=check)
    return done.stdout + done.stderr


def expect_votes(path: Path, count: int) -> None:
    """Write quorum.expected_votes into a file."""
    lines = [line for line in path.read_text().splitlines(keepends=True) if "expected_votes" not in line]
    path.write_text("".join(lines).replace(PROVIDER, f"{PROVIDER}    expected_votes: {count}\n"))


def test_reloads_of_either_side(lab: Lab) -> None:
    config = RingConfig.of_lab(lab, "udpu", quorum={})
    one, two, three = CorosyncNode(lab.host(1), config), CompleteNode(lab.host(2), config), CompleteNode(
        lab.host(3), config
    )  # fmt: skip
    cluster = Cluster([one, two, three])
    ring = cluster.start()
    paths = [one.config_path, two.config_path, three.config_path]
    everybody: dict[int, Ask] = {1: of_c, 2: of_rondo, 3: of_rondo}
    check_agree(lab, everybody, votes(True, 3, 3, 2, (1, 2, 3)))

    for path in paths:
        expect_votes(path, 5)
    assert json.loads(rondo(lab.host(2), "reload", "--json")) == {"changed": ["quorum.expected_votes"], "faults": []}
    check_agree(lab, everybody, votes(True, 5, 3, 3, (1, 2, 3)))

    for path in paths:
        expect_votes(path, 3)
    lab.host(1).run(["corosync-cfgtool", "-R"])
    check_agree(lab, everybody, votes(True, 3, 3, 2, (1, 2, 3)))

    # A fault at a Rondo node: nobody is told to reload, C nodes neither.
    for path in paths[:2]:
        expect_votes(path, 5)
    refused = rondo(lab.host(2), "reload", check=False)
    assert "node 3: quorum differs from node 2's file" in refused
    check_agree(lab, everybody, votes(True, 3, 3, 2, (1, 2, 3)))
    assert cluster.wait_ring(1, 2, 3) == ring, "nobody has left"


def test_kills_of_either_side(lab: Lab) -> None:
    config = RingConfig.of_lab(lab, "udpu", quorum={})
    one, two, three = CorosyncNode(lab.host(1), config), CompleteNode(lab.host(2), config), CompleteNode(
        lab.host(3), config
    )  # fmt: skip
    cluster = Cluster([one, two, three])
    cluster.start()
    lab.host(1).run(["corosync-cfgtool", "-k", "3"])
    assert three.process.wait(ENDED_TIMEOUT_S) == EXIT_KILLED
    assert "Killed by node 1: " in three.log()
    cluster.wait_ring(1, 2)
    rondo(lab.host(2), "kill", "1", "--reason", "its disk is full")
    one.process.wait(ENDED_TIMEOUT_S)
    assert "Killed by node 2 : its disk is full" in one.log()
    cluster.wait_ring(2)
