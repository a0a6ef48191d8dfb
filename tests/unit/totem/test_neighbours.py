"""Notices between links on 127.0.0.x: taken out before the ring sees them, answered, and refused if malformed."""

from __future__ import annotations

import select
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from services.totem.keyring_file import Keys
from services.totem.protection import Protection
from services.totem.ring.events import EVERYBODY
from services.totem.transport.link import Link
from services.totem.transport.pathcheck import ECHOES_PER_SECOND, GREET_NS_MIN
from services.totem.wire.notices import Probe, encode_probe
from tests.ports import reserve_port
from tests.unit.security.nodes import KEY, Node
from tests.unit.totem.test_transport import mcast, settings, token

SECOND_NS = 1_000_000_000
LINKS = [(multicast, sealed) for multicast in (False, True) for sealed in (False, True)]
NAMES = ["udpu plain", "udpu sealed", "udp plain", "udp sealed"]


class Pair:
    """Links of nodes 1 and 2; node 3 of the nodelist is not there."""

    def __init__(self, stack: ExitStack, *, multicast: bool, sealed: bool) -> None:
        port = reserve_port(stack)
        self.now_ns = 10**12
        self.links = []
        for node in (1, 2):
            protection = Protection(Node(node).security, Keys((KEY,), KEY)) if sealed else None
            link = Link(settings(node, port, multicast=multicast), Counter(), protection)
            stack.callback(link.close)
            link.start()
            link.tend((), self.now_ns)
            self.links.append(link)

    def run(self, seconds: float) -> list[bytes]:
        """Let time pass; the frames that a ring would have been given."""
        frames = []
        end_ns = self.now_ns + int(seconds * SECOND_NS)
        while self.now_ns < end_ns:
            self.now_ns += GREET_NS_MIN // 5
            for link in self.links:
                link.tend((), self.now_ns)
                readable, _, _ = select.select(link.data_filenos(), [], [], 0.001)
                frames += [frame for frame, _ in link.receive(readable, 64, self.now_ns)]
        return frames


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.mark.parametrize(("multicast", "sealed"), LINKS, ids=NAMES)
def test_the_ways_between_two_nodes_are_found_good(stack: ExitStack, multicast: bool, sealed: bool) -> None:
    pair = Pair(stack, multicast=multicast, sealed=sealed)
    assert pair.run(5) == [], "the ring sees nothing of it"
    for link, other in zip(pair.links, ("2", "1"), strict=True):
        known = link.neighbours.paths.status()
        assert {node: status["path"] for node, status in known.items()} == {other: "good", "3": "unknown"}  # type: ignore[index]


@pytest.mark.parametrize(("multicast", "sealed"), LINKS, ids=NAMES)
def test_other_frames_that_come_with_notices_are_handed_in(stack: ExitStack, multicast: bool, sealed: bool) -> None:
    pair = Pair(stack, multicast=multicast, sealed=sealed)
    pair.run(5)
    notice = encode_probe(Probe(1, 5, 0, multicast=False))
    pair.links[0].send([(EVERYBODY, mcast(1, 1)), (2, notice), (2, token(1))])
    assert sorted(pair.run(1)) == sorted([mcast(1, 1), token(1)])


def test_what_is_malformed_is_counted_and_goes_no_further(stack: ExitStack) -> None:
    pair = Pair(stack, multicast=False, sealed=False)
    pair.run(1)
    frame = encode_probe(Probe(1, 5, 0, multicast=False))
    pair.links[0].send([(2, frame[:27]), (2, frame[:26] + b"\x09" + frame[27:])])
    assert pair.run(1) == []
    assert pair.links[1].counters["rx_notice_too_short"] == 1
    assert pair.links[1].counters["rx_notice_bad_type"] == 1


def test_a_flood_of_probes_is_answered_in_part(stack: ExitStack) -> None:
    pair = Pair(stack, multicast=False, sealed=False)
    pair.run(5)
    one, two = pair.links
    for number in range(ECHOES_PER_SECOND + 100):
        one.send([(2, encode_probe(Probe(1, number, 0, multicast=False)))])
        readable, _, _ = select.select(two.data_filenos(), [], [], 1)
        assert two.receive(readable, 64, pair.now_ns) == []
    assert one.transport is not None
    one.read_errors(one.data_filenos())  # node 3 is not there, says ICMP
    echoes = 0
    while got := one.transport.receive(one.data_filenos(), 64):
        echoes += len(got)
    assert 0 < echoes <= ECHOES_PER_SECOND
