"""A flood from a node's address is left to the kernel: what does not begin as a packet of the ring, nothing else."""

from __future__ import annotations

import logging
import select
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from rondo.config.node import SecuritySettings
from services.totem.ring.events import EVERYBODY
from services.totem.security.envelope import RING_VERSION, VERSION, Content, cluster_number
from services.totem.transport.batch import segment_size
from services.totem.transport.link import Link
from services.totem.transport.peephole import DROPPED_MAX
from services.totem.transport.sieve import CLOSED_NS, FLOOD_MIN, FLOOD_PER_S, INTERVAL_NS, Sieve, sealed_heads
from services.totem.transport.sources import take_only
from tests.ports import reserve_port
from tests.unit.security.test_rings import A as RING
from tests.unit.security.test_rings import Member, data
from tests.unit.security.test_rings import token as ring_token
from tests.unit.totem.test_garbage import from_member
from tests.unit.totem.test_protection import protection
from tests.unit.totem.test_transport import Nodes, mcast, settings, token

SECOND_NS = 1_000_000_000
LIKE_A_TOKEN = b"\x11\x11\x11\0" + bytes(28)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


class Seen:
    """A sieve and what it did, under so many refused packets a second."""

    def __init__(self) -> None:
        self.refused, self.now_ns = 0, 0
        self.done: list[tuple[str, int]] = []
        self.counters = Counter[str]()
        self.sieve = Sieve(lambda: self.refused, lambda: self._did("close"), lambda: self._did("open"), self.counters)

    def _did(self, what: str) -> None:
        self.done.append((what, self.now_ns))

    def go_on(self, for_ns: int, per_s: int, step_ns: int = INTERVAL_NS // 10) -> None:
        for _ in range(for_ns // step_ns):
            self.now_ns += step_ns
            if not self.sieve.is_closed:
                self.refused += per_s * step_ns // SECOND_NS
            self.sieve.tend(self.now_ns)


def test_a_flood_closes_the_sieve_at_once_and_again_as_long_as_it_lasts() -> None:
    seen = Seen()
    seen.go_on(35 * SECOND_NS, 100_000)
    assert [what for what, _ in seen.done] == ["close", "open"] * 3 + ["close"]
    assert seen.done[0][1] <= 2 * INTERVAL_NS
    pauses_ns = [again - opened for (_, opened), (_, again) in zip(seen.done[1::2], seen.done[2::2], strict=True)]
    assert max(pauses_ns) <= 2 * INTERVAL_NS, "of ten seconds two hundredths are looked at"
    assert seen.counters == {"floods_sieved": 4}
    seen.go_on(CLOSED_NS, 0)
    assert not seen.sieve.is_closed


def test_a_few_packets_of_others_are_looked_at_one_by_one() -> None:
    seen = Seen()
    seen.go_on(60 * SECOND_NS, FLOOD_PER_S // 2)
    # As many as a flood has in a look, but in the time between two turns of an idle node.
    seen.now_ns += SECOND_NS
    seen.refused += 2 * FLOOD_MIN
    seen.sieve.tend(seen.now_ns)
    assert seen.done == []
    assert seen.counters == {}


def drain(link: Link, now_ns: int) -> list[bytes]:
    """All that has come. What is sent on loopback is there when the call returns."""
    found: list[bytes] = []
    while readable := select.select(link.data_filenos(), [], [], 0)[0]:
        found += [frame for frame, _ in link.receive(readable, 64, now_ns)]
    return found


def flood(out: socket.socket, port: int, count: int) -> None:
    for _ in range(count):
        out.sendto(LIKE_A_TOKEN, ("127.0.0.1", port))


@pytest.mark.parametrize("multicast", [False, True], ids=["udpu", "udp"])
def test_the_kernel_drops_a_flood_from_a_nodes_address(
    stack: ExitStack, multicast: bool, caplog: pytest.LogCaptureFixture
) -> None:
    nodes, out = Nodes(stack, multicast=multicast), from_member(stack)
    link, now_ns = nodes.links[1], 0
    assert drain(link, now_ns) == []
    link.receive((), 64, now_ns)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            now_ns += INTERVAL_NS
            flood(out, nodes.port, 4 * FLOOD_MIN)
            assert drain(link, now_ns) == []
    assert link.counters["floods_sieved"] == 1
    assert len([each for each in caplog.messages if "A flood of packets that are none of this ring" in each]) == 1
    refused = link.counters["rx_stranger"]
    assert refused < 3 * 4 * FLOOD_MIN
    # Few enough for the peephole, which would let in everybody.
    flood(out, nodes.port, DROPPED_MAX // 2)
    nodes.links[2].send([(EVERYBODY, mcast(2, 1)), (1, token(7))])
    now_ns += SECOND_NS
    assert sorted(drain(link, now_ns)) == sorted([mcast(2, 1), token(7)])
    flood(out, nodes.port, 1)
    assert drain(link, now_ns + SECOND_NS) == []
    assert link.counters["rx_stranger"] == refused, "none came through"
    link.receive((), 64, now_ns + CLOSED_NS)
    flood(out, nodes.port, 1)
    assert drain(link, now_ns + CLOSED_NS) == []
    assert link.counters["rx_stranger"] == refused + 1, "it is looked at, and named, again"


def test_with_packet_security_what_is_in_the_clear_counts_as_a_flood_too(stack: ExitStack, tmp_path: Path) -> None:
    port = reserve_port(stack)
    guard = protection(tmp_path, SecuritySettings("aes256-gcm", "none", key=bytes(range(128))))
    link = Link(settings(1, port, multicast=False), Counter(), guard)
    stack.callback(link.close)
    link.tend((), 0)
    link.receive((), 64, 0)
    out = from_member(stack)
    for number in range(1, 4):
        for _ in range(4 * FLOOD_MIN):
            out.sendto(mcast(2, number), ("127.0.0.1", port))
        drain(link, number * INTERVAL_NS)
    assert link.counters["floods_sieved"] == 1
    assert link.more_counters()["security_no_crypto"] < 3 * 4 * FLOOD_MIN


def test_true_packets_come_in_a_group_behind_a_false_one(stack: ExitStack) -> None:
    """The kernel shows its program the first of a group only."""
    nodes, out = Nodes(stack, multicast=False), from_member(stack)
    link = nodes.links[1]
    link.receive((), 64, 0)
    for number in (1, 2):
        flood(out, nodes.port, 4 * FLOOD_MIN)
        drain(link, number * INTERVAL_NS)
    assert link.counters["floods_sieved"] == 1
    true = mcast(2, 1)
    out.sendmsg([LIKE_A_TOKEN.ljust(len(true)), true, true], segment_size(len(true)), 0, ("127.0.0.1", nodes.port))
    assert drain(link, 3 * INTERVAL_NS) == [true, true]


def test_all_kinds_of_sealed_packets_pass(stack: ExitStack) -> None:
    receiver = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    receiver.bind(("127.0.0.1", 0))
    receiver.setblocking(False)
    plain, member = Member(1), Member(1)
    member.into(RING)
    sealed = []
    for sealer in (plain.security.sealer, member.security.sealer):
        sealed += [sealer.seal(data()), sealer.seal_for(2, ring_token()), sealer.seal_to_keep(data())]
        sealed += [sealer.seal_enquiry(kind, 2, bytes(16)) for kind in (Content.CHALLENGE, Content.ANSWER)]
    assert {each[1] for each in sealed} == {VERSION, RING_VERSION}
    segments = [b"\x53" + bytes([kind]) + bytes(40) for kind in (3, 4)]
    for name, expected in (("test", [*sealed, *segments]), ("another", segments)):
        assert take_only(receiver, ["127.0.0.1"], sealed_heads(cluster_number(name)))
        for each in (*sealed, b"", b"\x52", b"\x53", *segments, bytes(60)):
            receiver.sendto(each, receiver.getsockname())
        found = []
        while select.select([receiver], [], [], 0)[0]:
            found.append(receiver.recv(65536))
        assert found == expected
