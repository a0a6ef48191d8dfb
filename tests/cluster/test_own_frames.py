"""What Rondo sends without packet security, recorded on the bridge, decodes as what C nodes sent in the captures.

Two nodes go through what happens in the captures: start, join, messages, a message on an idle ring, kill -9, return,
clean leave. Every frame has exactly its length; every field that C nodes leave zero is zero, every field that they fill
is filled; and the fields of each frame agree with each other and with its sender.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import zmq

from rondo.testing.lab.netns import Lab
from rondo.testing.lab.ring_config import RingConfig, Transport
from rondo.testing.lab.ring_nodes import Cluster
from rondo.testing.lab.rondo_node import RUN_DIRECTORY, RondoNode
from services.totem.wire.notices import is_notice
from tests.cluster.capture import Capture, Datagram
from tests.cluster.cpg_side import CpgSide, executive, serve_until
from tests.cluster.frame_fields import NAMES, Values, read
from tests.unit.wire import captures

pytestmark = pytest.mark.namespaces

PORT = 5405
GARBAGE = {("token", "target"), ("merge", "target"), ("join", "target"), ("hold_cancel", "target")}
"""C nodes do not initialise target_nodeid, so it holds any value."""
STAMPED = ("mcast", "node_id")
"""A ring in which all are Rondo stamps its packets with the round, where C nodes have zero. None of them sees it."""
MESSAGES = 40
LONG = 300_000
MEMBERS = (1, 2)
HELD_AFTER_S = 1.0
"""In this time the token of an idle ring of two rotates thirty times."""

Profile = dict[tuple[str, str], bool]
"""For each field of each kind of frame: True if it was ever different from zero."""


def profile(frames: list[bytes]) -> Profile:
    found: Profile = {}
    for frame in frames:
        kind, values = read(frame)
        for name, each in values.items():
            found[kind, name] = found.get((kind, name), False) or any(each)
    return found


def c_profile() -> Profile:
    return profile([each.payload for name in ("udp", "udpu") for each in captures.datagrams(name)])


def test_the_reader_takes_every_frame_of_the_captures() -> None:
    kinds = {read(each.payload)[0] for name in ("udp", "udpu") for each in captures.datagrams(name)}
    assert kinds == set(NAMES)


def live(lab: Lab, transport: Transport) -> list[Datagram]:
    """Run all scenes with two nodes. Returns the datagrams that they sent."""
    config = RingConfig.of_lab(lab, transport)
    nodes = {number: RondoNode(lab.hosts[number], config) for number in MEMBERS}
    cluster = Cluster(nodes.values())
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with Capture(lab) as capture:
        nodes[1].start()
        cluster.wait_ring(1)
        nodes[2].start()
        cluster.wait_ring(*MEMBERS)
        run_dirs = [Path(lab.hosts[number].path(RUN_DIRECTORY)) for number in MEMBERS]
        sides = [CpgSide(context, each, executive(b"")) for each in run_dirs]
        try:
            assert serve_until(lambda: all(side.welcome is not None for side in sides), *sides)
            cluster.wait_ring(*MEMBERS)
            for request in range(1, MESSAGES + 1):
                for side in sides:
                    side.submit(7, request, b"m" * 50 * request)
            sides[0].submit(7, MESSAGES + 1, bytes(LONG))
            assert serve_until(lambda: all(bytes(LONG) in side.payloads() for side in sides), *sides)
            serve_until(lambda: False, *sides, seconds=HELD_AFTER_S)
            sides[1].submit(7, MESSAGES + 1, b"wakes the ring")
            assert serve_until(lambda: all(b"wakes the ring" in side.payloads() for side in sides), *sides)
        finally:
            for side in sides:
                side.socket.close()
            context.term()
        nodes[2].kill()
        cluster.wait_ring(1)
        nodes[2].start()
        cluster.wait_ring(*MEMBERS)
        nodes[2].stop()
        cluster.wait_ring(1)
    assert cluster.suspicious() == {}
    return capture.datagrams(PORT)


@pytest.mark.parametrize("transport", ["udpu", "udp"])
def test_every_field_is_filled_as_c_nodes_fill_it(lab: Lab, transport: Transport) -> None:
    sent = live(lab, transport)
    senders = {lab.hosts[number].address: number for number in MEMBERS}
    # What Rondo nodes tell each other beside the ring is, to a C node, a hold cancel of a ring that cannot be.
    frames = [(senders[each.source], each.payload) for each in sent if not is_notice(each.payload)]
    ours, theirs = profile([frame for _, frame in frames]), c_profile()
    assert {kind for kind, _ in ours} == set(NAMES), "every kind of frame was sent"
    alike = theirs.keys() - GARBAGE - {STAMPED}
    wrong = {field: theirs[field] for field in alike if ours.get(field) != theirs[field]}
    assert not wrong, f"C fills these, Rondo does not, or the other way round: {wrong}"
    assert ours.keys() - theirs.keys() <= {("token", "rtr.ring.rep"), ("token", "rtr.ring.seq"), ("token", "rtr.seq")}
    assert not any(ours[field] for field in GARBAGE), "where C has garbage Rondo has zero"
    books = Books(MEMBERS)
    for sender, frame in frames:
        books.check(sender, *read(frame))


class Books:
    """What the fields of one frame must have to do with each other, in rings of these nodes."""

    def __init__(self, members: Sequence[int]) -> None:
        self.members = tuple(members)

    def check(self, sender: int, kind: str, values: Values) -> None:
        one = {name: each[0] for name, each in values.items()}
        assert (one["magic"], one["version"], one["target"]) == (0xC070, 3, 0)
        leave = kind == "join" and one["nodeid"] == 0
        if kind != "mcast":
            assert one["encapsulated"] == 0
            assert one["nodeid"] == (0 if leave else sender)
        if "ring.rep" in one:
            assert one["ring.rep"] in self.members
            assert one["ring.seq"] > 0
        getattr(self, f"_{kind}")(sender, one, values)

    def _token(self, sender: int, one: dict[str, int], values: Values) -> None:
        assert one["aru_addr"] in (0, *self.members)
        assert one["aru"] <= one["seq"] or one["aru"] == 0xFFFF_FFFF
        assert one["retrans_flg"] in (0, 1)
        assert one["entries"] <= 30
        assert one["fcc"] < 1 << 16
        assert one["backlog"] < 1 << 16

    def _mcast(self, sender: int, one: dict[str, int], values: Values) -> None:
        assert one["encapsulated"] in (1, 2)
        assert one["nodeid"] == one["system_from"]
        assert one["guarantee"] == 0
        assert one["seq"] > 0
        assert one["this_seqno"] > 0
        if one["encapsulated"] == 2:
            assert (one["packet.version"], one["packet.type"]) == (0, 0)
            assert one["packet.count"] >= 1

    def _merge(self, sender: int, one: dict[str, int], values: Values) -> None:
        assert one["system_from"] == one["nodeid"] == one["ring.rep"]

    def _join(self, sender: int, one: dict[str, int], values: Values) -> None:
        assert one["system_from"] == sender
        assert values["proc"] == sorted(set(values["proc"]))
        assert set(values["proc"]) <= set(self.members)
        assert set(values.get("failed", ())) <= set(self.members)
        if one["nodeid"] == 0:
            assert values["failed"][-1] == sender
            assert sender not in values["proc"]
        else:
            assert sender in values["proc"]
        assert one["ring_seq"] > 0

    def _commit(self, sender: int, one: dict[str, int], values: Values) -> None:
        assert values["addr"] == sorted(set(values["addr"]))
        assert sender in values["addr"]
        assert one["ring.rep"] == values["addr"][0]
        assert 1 <= one["memb_index"] <= one["addrs"]
        assert one["token_seq"] >= 1
        assert one["retrans_flg"] == 0
        assert all(seq < one["ring.seq"] for seq in values["entry.ring.seq"])
        assert set(values["entry.received_flg"]) <= {0, 1}
        assert all(a >= b for a, b in zip(values["entry.aru"], values["entry.high_delivered"], strict=True))

    def _hold_cancel(self, sender: int, one: dict[str, int], values: Values) -> None:
        assert one["ring.rep"] != sender, "the representative holds the token itself"
