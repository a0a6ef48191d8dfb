"""Messages over knet between applications of C Corosync and of Rondo: one order, whatever becomes of the links."""

import re
import time
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from rondo.testing.lab.netns import Lab
from rondo.testing.lab.ring_config import PATIENT
from rondo.testing.lab.waiting import wait_for
from tests.interop.cpg_member import CpgMember, Event, expected_messages
from tests.interop.knet_ring import LINKS_TIMEOUT_S, NO_LINKS, KnetRing

pytestmark = [pytest.mark.namespaces, pytest.mark.corosync, pytest.mark.slow]

MESSAGES_OF_EACH = 5000
OF_A_TICK = [1 + number * 211 % 1800 for number in range(20)]
AGE_S = 10.0
"""C nodes give a link that has just come up ten times as long before they take it for dead; by now they do not."""
SIZES = [*(1 + size * 7 % 3000 for size in range(500)), 100_000, 300_000]
C_LINK_MTU = re.compile(r"enabled connected mtu: (\d+)")


class Load:
    """A few messages of each member with every tick."""

    def __init__(self, members: list[CpgMember]) -> None:
        self._members = members
        self._tags = map("tick{}".format, count())
        self._sent: list[tuple[str, list[int]]] = []

    def tick(self) -> None:
        """Send some more."""
        tag = next(self._tags)
        self._sent.append((tag, OF_A_TICK))
        for member in self._members:
            member.send(tag, OF_A_TICK)

    def until(self, is_so: Callable[[], bool], what: str) -> None:
        """Send until something is so."""

        def look() -> bool:
            self.tick()
            return is_so()

        wait_for(look, bool, what, LINKS_TIMEOUT_S)

    def wait(self) -> list[list[Event]]:
        """Return when all have had as many as were sent so far; what each of them had."""
        everything = len(self._members) * len(self._sent) * len(OF_A_TICK)
        return [member.wait_messages(everything) for member in self._members]

    def check(self) -> None:
        """Send what is missing; all have had all, in one order, and of each sender in the order in which it sent."""
        while len(self._sent) * len(OF_A_TICK) < MESSAGES_OF_EACH:
            self.tick()
        seen = self.wait()
        assert all(each == seen[0] for each in seen[1:])
        for member in self._members:
            wanted: list[Event] = []
            for tag, sizes in self._sent:
                wanted += expected_messages(member, tag, sizes)
            assert [event for event in seen[0] if event["pid"] == member.address[1]] == wanted


@pytest.mark.parametrize(("c", "pulled"), [((1, 2), 3), ((1,), 1)], ids=["CCR", "CRR"])
def test_each_cable_in_turn_may_be_pulled_under_load(lab: Lab, tmp_path: Path, c: tuple[int, ...], pulled: int) -> None:
    """Rondo's node's with two of C, and C's with two of Rondo. It stays one ring, with Corosync's default time-outs."""
    ring = KnetRing(lab, tmp_path, c, complete=True, totem={"token": 3000})
    ring.wait_links_up()
    old_s = time.monotonic() + AGE_S
    members = ring.members("bank")
    first = ring.cluster.wait_ring(1, 2, 3)
    load = Load(members)
    load.until(lambda: time.monotonic() >= old_s, "links that C nodes trust no longer than usual")
    for link in (0, 1):
        lab.unplug(pulled, link)
        load.until(partial(ring.link_down, pulled, link), "everybody to see that a cable was pulled")
        load.wait()
        lab.plug(pulled, link)
        load.until(ring.links_up, "all links up again")
    load.check()
    assert ring.cluster.wait_ring(1, 2, 3) == first
    assert all(len(member.events("membership")) <= len(members) for member in members)
    assert ring.cluster.suspicious(NO_LINKS) == {}


@pytest.mark.parametrize(
    ("ipv6", "mtu", "of_c", "of_rondo"),
    [
        pytest.param(False, 1500, 1397, 1472, id="IPv4-1500"),
        pytest.param(False, 9000, 8885, 8972, id="IPv4-9000"),
        pytest.param(True, 1500, 1365, 1452, id="IPv6-1500"),
    ],
)
def test_frames_are_cut_to_what_the_links_carry(
    lab: Lab, tmp_path: Path, ipv6: bool, mtu: int, of_c: int, of_rondo: int
) -> None:
    """Both kinds of node find that out, and messages of all sizes pass in one order."""
    lab.add_second_link()
    lab.set_mtu(mtu)
    ring = KnetRing(lab, tmp_path, (1, 2), complete=True, ipv6=ipv6, totem=PATIENT)
    ring.wait_links_up()
    members = ring.members("bank")
    for member in members:
        member.send("m", SIZES)
    seen = [member.wait_messages(len(members) * len(SIZES)) for member in members]
    assert seen[0] == seen[1] == seen[2]

    def mtus() -> tuple[set[int], set[object]]:
        of_links = {link["mtu"] for links in ring.links_of_rondo(3).values() for link in links}
        return {int(found) for found in C_LINK_MTU.findall(ring.links_of_c(1))}, of_links

    wait_for(mtus, lambda found: found == ({of_c}, {of_rondo}), "what the links carry", LINKS_TIMEOUT_S)
    assert ring.cluster.suspicious(NO_LINKS) == {}
