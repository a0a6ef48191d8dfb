"""Debian's corosync-notifyd on a Rondo node: it tells of nodes, quorum and programs what it tells on C Corosync."""

import re
from pathlib import Path

import pytest

from rondo.testing.lab.process import Process
from rondo.testing.lab.waiting import wait_for
from tests.interop.beside import TIMEOUT_S, Side, both_sides
from tests.interop.cpg_member import CpgMember

pytestmark = [
    pytest.mark.corosync,
    pytest.mark.namespaces,
    pytest.mark.notifyd,
    pytest.mark.slow,
    pytest.mark.timeout(400),
]


class Notifier:
    """corosync-notifyd in the foreground."""

    def __init__(self, side: Side) -> None:
        self.side = side
        self._process: Process = side.start("notifyd", "corosync-notifyd", "-f", "-o", "-n")

    def notices(self) -> list[str]:
        """Its notifications, without the lines of libqb."""
        return re.findall(r"^\[notice\] (.*)$", self._process.output(), re.MULTILINE)

    def wait(self, *patterns: str, times: int = 1) -> None:
        """Wait until it has sent all of these notifications so often, in any order."""

        def has_all(notices: list[str]) -> bool:
            return all(sum(bool(re.search(each, notice)) for notice in notices) >= times for each in patterns)

        wait_for(self.notices, has_all, f"{self.side.name}: {times} notices of {patterns}", TIMEOUT_S)

    def of_the_cluster(self) -> list[list[str]]:
        """What it has told of quorum, and of nodes and links, each in its order; programs come and go besides.

        It hears of quorum and of the rest on two connections, and reads first what comes first: between the two there
        is no order, on C Corosync as little as here.
        """
        told = [notice for notice in self.notices() if not notice.endswith("corosync")]
        return [[notice for notice in told if ("quor" in notice) == of_quorum] for of_quorum in (True, False)]


def test_it_tells_of_nodes_quorum_and_programs(tmp_path: Path) -> None:
    told = []
    with both_sides(tmp_path, 2) as sides:
        for side in sides:
            notifier = Notifier(side)
            notifier.wait("is now connected")
            member = CpgMember(side.host, "bank")
            member.wait_members(member)
            notifier.wait(rf"\.{member.address[1]}\.\S+ is now connected")
            member.tell(do="quit")
            member.wait_end()
            notifier.wait(rf"\.{member.address[1]}\.\S+ is now disconnected")
            side.lose()
            notifier.wait(r"\[2\].* left", "has lost quorum")
            side.regain()
            notifier.wait(r"\[2\].* joined")
            notifier.wait("is now quorate", times=2)  # the first was at the start
            told.append(notifier.of_the_cluster())
    assert told[0] == told[1]


def test_it_tells_of_links(tmp_path: Path) -> None:
    told = []
    with both_sides(tmp_path, 2, transport="knet") as sides:
        for side in sides:
            notifier = Notifier(side)
            notifier.wait("is now connected")
            side.lab.unplug(2, link=1)
            notifier.wait(r"link 1 to node 2 is now disconnected")
            side.lab.plug(2, link=1)
            notifier.wait(r"link 1 to node 2 is now operational")
            told.append(notifier.of_the_cluster())
    assert told[0] == told[1]
