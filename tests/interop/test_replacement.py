"""From C Corosync to Rondo node by node and back, as docs/OPERATING.md has it, while C programs of the others go on.

In `make pacemaker` all nodes of the ring over knet, otherwise one.
"""

import os
import secrets
from collections.abc import Callable
from pathlib import Path

import pytest

from rondo.testing.lab.corosync import CorosyncNode
from rondo.testing.lab.netns import Lab
from rondo.testing.lab.node import Node
from rondo.testing.lab.ring_config import PATIENT, AnyConfig, KnetConfig, RingConfig, Transport
from tests.interop.cpg_client import CS_OK
from tests.interop.cpg_member import CpgMember, Event, expected_messages
from tests.interop.executives import CorosyncExecutive, Executive, RondoExecutive, wait_until_one_ring

pytestmark = [pytest.mark.corosync, pytest.mark.namespaces, pytest.mark.slow, pytest.mark.timeout(400)]

GROUP = "bank"
BURST = [10, 2000, 100]
TIMEOUT_S = 90.0
OVER_KNET = [1, 2, 3] if os.environ.get("RONDO_PACEMAKER") == "all" else [1]


class Changeover:
    """Three hosts, each with both executives installed, of which one runs, and a C program, which is in a group."""

    def __init__(self, lab: Lab, config: AnyConfig, directory: Path) -> None:
        path = directory / "corosync.conf"
        path.write_text(config.text())
        token = f"change-{os.getpid()}-{secrets.token_hex(4)}"
        self.of_c: dict[int, CorosyncExecutive] = {}
        self.of_rondo: dict[int, RondoExecutive] = {}
        for number, host in lab.hosts.items():
            self.of_c[number] = CorosyncExecutive(CorosyncNode(host, config))
            self.of_rondo[number] = RondoExecutive(Node(host, path, token))
        self.running: dict[int, Executive] = {**self.of_c}
        self.members: dict[int, CpgMember] = {}
        self._bursts = 0

    def start(self) -> None:
        """All on C Corosync; one after the other, which C nodes survive more often."""
        executives = list(self.running.values())
        for count, executive in enumerate(executives, 1):
            executive.launch()
            wait_until_one_ring(executives[:count])
        for number in self.running:
            self._join(number)

    def replace(self, number: int, successor: Executive) -> None:
        """On one host: end the program, stop the executive, start the other one, start the program again. The programs
        of the others send all the time, and hear each other in one order."""
        others = [member for each, member in self.members.items() if each != number]
        seen = [len(member.events("message")) for member in others]
        answered = [len(member.events("answer")) for member in others]
        sent: list[list[str]] = [[] for _ in others]

        def send() -> None:
            for member, tags in zip(others, sent, strict=True):
                self._bursts += 1
                tags.append(f"burst{self._bursts}")
                member.send(tags[-1], BURST)

        send()
        leaver = self.members.pop(number)
        leaver.tell(do="quit")
        assert leaver.wait_end() == 0
        self.running.pop(number).stop()
        wait_until_one_ring(list(self.running.values()), send)
        self.running[number] = successor
        successor.launch()
        wait_until_one_ring(list(self.running.values()), send)
        total = sum(map(len, sent)) * len(BURST)
        heard = [
            member.wait_messages(before + total, TIMEOUT_S)[before:]
            for member, before in zip(others, seen, strict=True)
        ]
        assert all(each == heard[0] for each in heard), "one order"
        for member, tags in zip(others, sent, strict=True):
            wanted = [event for tag in tags for event in expected_messages(member, tag, BURST)]
            assert [event for event in heard[0] if _sender(event) == member.address] == wanted
        for member, before in zip(others, answered, strict=True):
            assert {event["result"] for event in member.events("answer")[before:]} == {CS_OK}
            assert member.events("disconnected") == []
        self._join(number)

    def _join(self, number: int) -> None:
        """Start a program on a host, and have it heard by all."""
        self._bursts += 1
        new = CpgMember(self.running[number].host, GROUP, f"program{self._bursts}")
        self.members[number] = new
        for member in self.members.values():
            member.wait_members(*self.members.values(), timeout_s=TIMEOUT_S)
        counts = [len(member.events("message")) for member in self.members.values()]
        new.send("hello", [1000])
        wanted = expected_messages(new, "hello", [1000])
        for member, count in zip(self.members.values(), counts, strict=True):
            assert member.wait_messages(count + 1, TIMEOUT_S)[count:] == wanted

    def suspicious(self) -> list[str]:
        """What any of the executives should not have logged."""
        both: list[Executive] = [*self.of_c.values(), *self.of_rondo.values()]
        return [line for each in both for line in each.suspicious()]

    def end(self) -> None:
        """Kill all executives and programs."""
        for executive in self.running.values():
            executive.kill()


def _sender(event: Event) -> list[int]:
    return [event["node"], event["pid"]]


@pytest.mark.parametrize(("transport", "hosts"), [("udpu", [3]), ("knet", OVER_KNET)], ids=["udpu", "knet"])
def test_node_by_node_and_back(
    make_lab: Callable[[int], Lab], tmp_path: Path, transport: Transport, hosts: list[int]
) -> None:
    lab = make_lab(3)
    config: AnyConfig
    if transport == "knet":
        config = KnetConfig.of_lab(lab, tmp_path, totem=PATIENT, quorum={})
    else:
        config = RingConfig.of_lab(lab, transport, totem=PATIENT, named=True, quorum={})
    change = Changeover(lab, config, tmp_path)
    try:
        change.start()
        for number in hosts:
            change.replace(number, change.of_rondo[number])
        for number in hosts:
            change.replace(number, change.of_c[number])
        assert change.suspicious() == []
    finally:
        change.end()
