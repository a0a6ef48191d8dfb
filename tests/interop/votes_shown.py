"""What the tools of both show of votes: `corosync-quorumtool -s` on C nodes, `rondo quorum --json` on Rondo nodes.

Compared are the votes, quorum, and each member. Nodes of one ring may rightly differ for a moment; in the end they must
not.
"""

import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from rondo.testing.lab.netns import Host, Lab
from rondo.testing.lab.rondo_node import REPOSITORY, RUN_DIRECTORY
from rondo.testing.lab.waiting import wait_for

AGREE_TIMEOUT_S = 60.0
NUMBER = r"^{}:\s+(\d+)"


@dataclass(frozen=True)
class Votes:
    """The votes that a tool shows."""

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
