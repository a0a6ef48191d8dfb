"""Reloads and kills in rings of C Corosync and Rondo nodes, asked for by either side."""

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from rondo.node.exit_codes import EXIT_KILLED
from rondo.testing.lab.complete_node import CompleteNode
from rondo.testing.lab.corosync import CorosyncNode
from rondo.testing.lab.netns import Host, Lab
from rondo.testing.lab.ring_config import PATIENT, KnetConfig, RingConfig
from rondo.testing.lab.ring_nodes import Cluster
from rondo.testing.lab.rondo_node import REPOSITORY, RUN_DIRECTORY
from rondo.testing.lab.waiting import wait_for
from tests.interop.votes_shown import Ask, check_agree, of_c, of_rondo, votes

pytestmark = [pytest.mark.corosync, pytest.mark.namespaces]

ENDED_TIMEOUT_S = 60.0
PROVIDER = "provider: corosync_votequorum\n"
READ_ANEW = "The configuration was read anew."


def rondo(host: Host, *arguments: str, check: bool = True) -> str:
    """Run a command of Rondo. Returns its output, also that of a refusal."""
    argv = [sys.executable, "-m", "rondo.cli.main", *arguments, "--run-dir", RUN_DIRECTORY]
    done = host.run(argv, environment={"PYTHONPATH": str(REPOSITORY)}, check=check)
    return done.stdout + done.stderr


def expect_votes(path: Path, count: int) -> None:
    """Write quorum.expected_votes into a file."""
    lines = [line for line in path.read_text().splitlines(keepends=True) if "expected_votes" not in line]
    path.write_text("".join(lines).replace(PROVIDER, f"{PROVIDER}    expected_votes: {count}\n"))


def _wait_read(nodes: Iterable[CompleteNode], times: int) -> None:
    """Wait until these nodes have read their files as many times.

    A C node reads its file at once and sends its votes, which all nodes show then. So votes that agree do not say
    that a Rondo node is done with its own file.
    """
    for node in nodes:
        what = f"node {node.host.number} has read its file"
        wait_for(lambda: node.log().count(READ_ANEW), lambda seen: seen >= times, what, ENDED_TIMEOUT_S)  # noqa: B023


def test_reloads_of_either_side(lab: Lab) -> None:
    config = RingConfig.of_lab(lab, "udpu", totem=PATIENT, quorum={})
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
    _wait_read((two, three), 1)
    check_agree(lab, everybody, votes(True, 5, 3, 3, (1, 2, 3)))

    for path in paths:
        expect_votes(path, 3)
    lab.host(1).run(["corosync-cfgtool", "-R"])
    _wait_read((two, three), 2)
    check_agree(lab, everybody, votes(True, 3, 3, 2, (1, 2, 3)))

    # A fault at a Rondo node: nobody is told to reload, C nodes neither.
    for path in paths[:2]:
        expect_votes(path, 5)
    refused = rondo(lab.host(2), "reload", check=False)
    assert "node 3: quorum differs from node 2's file" in refused
    check_agree(lab, everybody, votes(True, 3, 3, 2, (1, 2, 3)))
    assert cluster.wait_ring(1, 2, 3) == ring, "nobody has left"


def _two_links(path: Path, wanted: bool) -> None:
    """Take the second link out of a file, or put it back."""
    node = re.compile(r"( +ring)0(_addr: 10\.)77(\.0\.\d+\n)")
    text = re.sub(r" +ring1_addr: .*\n", "", path.read_text())
    path.write_text(node.sub(r"\g<0>\g<1>1\g<2>78\g<3>", text) if wanted else text)


def _links(lab: Lab, numbers: Iterable[int]) -> list[list[int]]:
    """How many links are up between each node and all others together, by their own accounts; C first."""
    c = lab.host(1).run(["corosync-cfgtool", "-n"]).stdout.count("enabled connected")
    found = [[c]]
    for number in numbers:
        links = [
            link["up"] for node in json.loads(rondo(lab.host(number), "nodes", "--json")) for link in node["links"]
        ]
        found.append([sum(links)])
    return found


@pytest.mark.slow
def test_links_of_knet_come_and_go_at_a_reload(lab: Lab, tmp_path: Path) -> None:
    config = KnetConfig.of_lab(lab, tmp_path, totem=PATIENT)
    one, two, three = CorosyncNode(lab.host(1), config), CompleteNode(lab.host(2), config), CompleteNode(
        lab.host(3), config
    )  # fmt: skip
    cluster = Cluster([one, two, three])
    ring = cluster.start()
    wait_for(lambda: _links(lab, (2, 3)), lambda found: found == [[4]] * 3, "all links are up", ENDED_TIMEOUT_S)
    for by, wanted in ((2, False), (2, True), (1, False), (1, True)):
        for path in (one.config_path, two.config_path, three.config_path):
            _two_links(path, wanted)
        if by == 1:
            lab.host(1).run(["corosync-cfgtool", "-R"])
        else:
            assert "nodelist" in rondo(lab.host(2), "reload")
        count = 4 if wanted else 2
        wait_for(lambda: _links(lab, (2, 3)), lambda found: found == [[count]] * 3, "links", ENDED_TIMEOUT_S)  # noqa: B023
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
