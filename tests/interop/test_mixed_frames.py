"""What a Rondo node sends in a ring with two C nodes, recorded, and held field by field against what these send.

Nodes start, join, send short and long messages, let the ring hold its token and wake it; a C node is killed and comes
back, and the Rondo node leaves. In the same recording, every field that the C nodes fill the Rondo node fills, and what
they leave zero it leaves zero: also what rings of Rondo nodes alone use for themselves.
"""

from __future__ import annotations

import time
from functools import partial

import pytest

from rondo.testing.lab.complete_node import CompleteNode
from rondo.testing.lab.corosync import CorosyncNode
from rondo.testing.lab.netns import Lab
from rondo.testing.lab.ring_config import RingConfig, Transport
from rondo.testing.lab.ring_nodes import Cluster
from rondo.testing.lab.waiting import wait_for
from services.totem.wire.notices import is_notice
from tests.cluster.capture import Capture, Datagram
from tests.cluster.frame_fields import read
from tests.cluster.test_own_frames import GARBAGE, Books, c_profile, profile
from tests.interop.cpg_member import CpgMember
from tests.interop.rondo_member import RondoMember

pytestmark = [pytest.mark.corosync, pytest.mark.namespaces]

PORT = 5405
SIZES = [*range(0, 2000, 50), 300_000]
HELD_AFTER_S = 1.0
"""In this time the token of an idle ring of three rotates twenty times."""
WOKEN_S = 60.0
RETRANSMISSIONS = {
    ("token", "entries"), ("token", "rtr.ring.rep"), ("token", "rtr.ring.seq"), ("token", "rtr.seq")
}  # fmt: skip
"""Fields that need a retransmission: whether one happens is chance."""


def live(lab: Lab, transport: Transport, rondo: int, victim: int) -> list[Datagram]:
    """Let them live through it all; what they sent."""
    config = RingConfig.of_lab(lab, transport)
    cluster = Cluster(
        CompleteNode(host, config) if number == rondo else CorosyncNode(host, config)
        for number, host in lab.hosts.items()
    )
    with Capture(lab) as capture:
        cluster.start()
        members = [
            RondoMember(host, "bank") if number == rondo else CpgMember(host, "bank")
            for number, host in lab.hosts.items()
        ]
        for member in members:
            member.wait_members(*members)
        for member in members:
            member.send("busy", SIZES)
        count = len(SIZES) * len(members)
        for member in members:
            member.wait_messages(count)
        for sent, member in enumerate(members, 1):
            time.sleep(HELD_AFTER_S)
            member.send("wakes the ring", [100])
            for each in members:
                each.wait_messages(count + sent)
        if rondo != min(lab.hosts):
            wait_for(partial(woken_by, cluster, members, rondo), bool, "Rondo wakes a ring that holds", WOKEN_S)
        cluster.nodes[victim].kill()
        others = [number for number in lab.hosts if number != victim]
        cluster.wait_ring(*others)
        cluster.nodes[victim].start()
        cluster.wait_ring(*lab.hosts)
        cluster.nodes[rondo].stop()
        cluster.wait_ring(*(number for number in lab.hosts if number != rondo))
    assert cluster.suspicious() == {}
    return capture.datagrams(PORT)


def woken_by(cluster: Cluster, members: list[CpgMember], rondo: int) -> int:
    """How often the Rondo node has woken the ring. If it never has, it tries again: on a busy machine the ring may not
    have held its token yet."""
    node = cluster.nodes[rondo]
    assert isinstance(node, CompleteNode)
    status = node.status()
    woken = 0 if status is None else int(status["counters"]["token_hold_cancel_tx"])
    if not woken:
        time.sleep(HELD_AFTER_S)
        count = len(members[0].events("message"))
        members[rondo - 1].send("wakes the ring", [100])
        for each in members:
            each.wait_messages(count + 1)
    return woken


def ring_of(frame: bytes) -> tuple[int, int] | None:
    """The ring of a message or a token."""
    kind, values = read(frame)
    return (values["ring.rep"][0], values["ring.seq"][0]) if kind in ("mcast", "token") else None


@pytest.mark.parametrize(
    ("transport", "rondo", "victim", "kinds"),
    [
        ("udpu", 3, 1, {"commit", "hold_cancel", "join", "mcast", "token"}),
        ("udp", 1, 2, {"commit", "join", "mcast", "merge", "token"}),  # as the representative
    ],
)
@pytest.mark.slow
def test_a_rondo_node_fills_what_c_nodes_fill(
    lab: Lab, transport: Transport, rondo: int, victim: int, kinds: set[str]
) -> None:
    sent = [each for each in live(lab, transport, rondo, victim) if not is_notice(each.payload)]
    address = lab.hosts[rondo].address
    theirs = [each.payload for each in sent if each.source != address]
    rings = {None, *map(ring_of, theirs)}
    # Not those of its rings without C nodes, at first and at the end: `test_own_frames.py` has these.
    ours = [each.payload for each in sent if each.source == address and ring_of(each.payload) in rings]
    filled, filled_here = profile(ours), profile(theirs)
    assert {kind for kind, _ in filled} == kinds
    judged = filled.keys() - GARBAGE - RETRANSMISSIONS
    ever = {field for each in (filled_here, c_profile()) for field, is_filled in each.items() if is_filled}
    assert [field for field in judged if filled_here.get(field) and not filled[field]] == [], "C fills these"
    assert [field for field in judged if filled[field] and field not in ever] == [], "C never fills these"
    missing = {field for field in filled_here if field[0] in kinds} - GARBAGE - RETRANSMISSIONS - filled.keys()
    assert not missing, "C has these lists, Rondo does not"
    assert not any(filled[field] for field in GARBAGE if field in filled), "where C has garbage Rondo has zero"
    books = Books(tuple(lab.hosts))
    for frame in ours:
        books.check(rondo, *read(frame))
