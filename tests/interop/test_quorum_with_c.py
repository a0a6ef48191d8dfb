"""Quorum in rings of C Corosync and Rondo nodes: both tools say the same, after whatever happens.

What is compared is what `corosync-quorumtool -s` prints on C nodes and what `rondo quorum --json` prints, of the votes,
of quorum, and of each node. Nodes of one ring may rightly differ for a moment; in the end they must not.
"""

import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import pytest

from rondo.testing.lab.complete_node import CompleteNode
from rondo.testing.lab.corosync import CorosyncNode
from rondo.testing.lab.faults import Faults
from rondo.testing.lab.netns import Host, Lab
from rondo.testing.lab.ring_config import RingConfig
from rondo.testing.lab.ring_nodes import Cluster
from rondo.testing.lab.rondo_node import REPOSITORY, RUN_DIRECTORY
from rondo.testing.lab.waiting import wait_for

pytestmark = [pytest.mark.corosync, pytest.mark.namespaces]

AGREE_TIMEOUT_S = 30.0
NUMBER = r"^{}:\s+(\d+)"


@dataclass(frozen=True)
class Votes:
    """What a tool shows."""

    quorate: bool
    expected: int
    highest: int
    total: int
    quorum: int
    members: tuple[tuple[int, int], ...]
    """(node, votes) of the members."""


def c_tool(host: Host, *arguments: str) -> str:
    """Run corosync-quorumtool; exit code 2 says only that there is no quorum."""
    return host.run(["corosync-quorumtool", *arguments], check=False).stdout


def of_c(host: Host) -> Votes | None:
    """What C's tool shows; None while it does not."""
    shown = c_tool(host, "-s")

    def number(name: str) -> int:
        found = re.search(NUMBER.format(name), shown, re.MULTILINE)
        return int(found[1]) if found else -1

    if number("Total votes") < 0:
        return None
    members = re.findall(r"^ +(\d+) +(\d+)\b", shown[shown.index("Membership information") :], re.MULTILINE)
    return Votes(
        "Quorate:          Yes" in shown,
        number("Expected votes"),
        number("Highest expected"),
        number("Total votes"),
        number("Quorum"),
        tuple((int(node), int(votes)) for node, votes in members),
    )


def rondo(host: Host, *arguments: str) -> str:
    """Run a command of Rondo's; a refusal raises."""
    argv = [sys.executable, "-m", "rondo.cli.main", *arguments, "--run-dir", RUN_DIRECTORY]
    return host.run(argv, environment={"PYTHONPATH": str(REPOSITORY)}).stdout


def of_rondo(host: Host) -> Votes | None:
    """What `rondo quorum` shows; None while the node does not serve anybody."""
    argv = [sys.executable, "-m", "rondo.cli.main", "quorum", "--json", "--run-dir", RUN_DIRECTORY]
    shown = host.run(argv, environment={"PYTHONPATH": str(REPOSITORY)}, check=False).stdout
    if not shown:
        return None
    status = json.loads(shown)
    return Votes(
        status["quorate"],
        status["expected_votes"],
        status["highest_expected"],
        status["total_votes"],
        status["quorum"],
        tuple((node["node"], node["votes"]) for node in status["nodes"] if node["state"] == "member"),
    )


Ask = Callable[[Host], Votes | None]


def check_agree(lab: Lab, nodes: Mapping[int, Ask], wanted: Votes) -> None:
    """Wait until all of these nodes show the same, which is `wanted`."""
    for number, ask in nodes.items():
        host = lab.host(number)

        def look(ask: Ask = ask, host: Host = host) -> Votes | None:
            return ask(host)

        wait_for(look, lambda seen: seen == wanted, f"votes of node {number} as {wanted}", AGREE_TIMEOUT_S)


def votes(quorate: bool, expected: int, total: int, quorum: int, members: Iterable[int] | dict[int, int]) -> Votes:
    """Nodes have one vote each, unless `members` says otherwise."""
    each = members if isinstance(members, dict) else dict.fromkeys(members, 1)
    return Votes(quorate, expected, expected, total, quorum, tuple(each.items()))


def test_three_nodes_one_of_them_rondo(lab: Lab) -> None:
    config = RingConfig.of_lab(lab, "udpu", quorum={})
    one, two, three = CorosyncNode(lab.host(1), config), CorosyncNode(lab.host(2), config), CompleteNode(
        lab.host(3), config
    )  # fmt: skip
    cluster = Cluster([one, two, three])
    faults = Faults(lab)
    cluster.start()
    everybody: dict[int, Ask] = {1: of_c, 2: of_c, 3: of_rondo}
    check_agree(lab, everybody, votes(True, 3, 3, 2, (1, 2, 3)))

    two.kill()
    check_agree(lab, {1: of_c, 3: of_rondo}, votes(True, 3, 2, 2, (1, 3)))

    faults.partition({1}, {3})
    check_agree(lab, {1: of_c}, votes(False, 3, 1, 2, (1,)))
    check_agree(lab, {3: of_rondo}, votes(False, 3, 1, 2, (3,)))
    faults.heal()
    check_agree(lab, {1: of_c, 3: of_rondo}, votes(True, 3, 2, 2, (1, 3)))

    two.start()
    check_agree(lab, everybody, votes(True, 3, 3, 2, (1, 2, 3)))

    c_tool(lab.host(1), "-e", "5")
    check_agree(lab, everybody, votes(True, 5, 3, 3, (1, 2, 3)))
    rondo(lab.host(3), "quorum", "expected", "3")
    # Quorum sinks at once: it was lowered by hand.
    check_agree(lab, everybody, votes(True, 3, 3, 2, (1, 2, 3)))

    rondo(lab.host(3), "quorum", "votes", "2", "2")
    check_agree(lab, everybody, votes(True, 4, 4, 3, {1: 1, 2: 2, 3: 1}))
    c_tool(lab.host(2), "-v", "3", "-n", "3")
    check_agree(lab, everybody, votes(True, 6, 6, 4, {1: 1, 2: 2, 3: 3}))

    three.kill()
    check_agree(lab, {1: of_c, 2: of_c}, votes(False, 6, 3, 4, {1: 1, 2: 2}))
    three.start()
    cluster.wait_ring(1, 2, 3)
    for node in (one, two, three):
        assert not node.suspicious(), node.suspicious()


def test_two_nodes_that_wait_for_each_other(make_lab: Callable[[int], Lab]) -> None:
    lab = make_lab(2)
    config = RingConfig.of_lab(lab, "udpu", quorum={"two_node": 1})
    c_node, ours = CorosyncNode(lab.host(1), config), CompleteNode(lab.host(2), config)
    ours.start()
    check_agree(lab, {2: of_rondo}, votes(False, 2, 1, 1, (2,)))
    c_node.start()
    both: dict[int, Ask] = {1: of_c, 2: of_rondo}
    check_agree(lab, both, votes(True, 2, 2, 1, (1, 2)))

    # The cable is pulled: both go on, C's node and ours.
    faults = Faults(lab)
    faults.partition({1}, {2})
    check_agree(lab, {1: of_c}, votes(True, 2, 1, 1, (1,)))
    check_agree(lab, {2: of_rondo}, votes(True, 2, 1, 1, (2,)))
    faults.heal()
    check_agree(lab, both, votes(True, 2, 2, 1, (1, 2)))

    c_node.kill()
    check_agree(lab, {2: of_rondo}, votes(True, 2, 1, 1, (2,)))
    ours.kill()
    ours.start()
    check_agree(lab, {2: of_rondo}, votes(False, 2, 1, 1, (2,)))
    rondo(lab.host(2), "quorum", "cancel-wait-for-all")
    check_agree(lab, {2: of_rondo}, votes(True, 2, 1, 1, (2,)))
    c_node.start()
    check_agree(lab, both, votes(True, 2, 2, 1, (1, 2)))
    assert not c_node.suspicious(), c_node.suspicious()
