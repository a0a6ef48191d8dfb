"""Garbage from a member's address: what one turn looks at is bounded, and a true token is not kept out by it."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from services.totem.transport.base import PIECES_MAX, TOKENS_DOUBTED, Transport
from services.totem.transport.batch import segment_size
from services.totem.transport.link import Link
from services.totem.transport.segments import HEADER_SIZE, MAGIC, SHARE
from tests.unit.totem.test_segments import MTU, NODES
from tests.unit.totem.test_transport import Nodes, token

PER_GROUP = 60


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def transport_of(link: Link) -> Transport:
    assert link.transport is not None
    link.transport.cut_above(MTU, NODES[1].security)
    return link.transport


def from_member(stack: ExitStack) -> socket.socket:
    made = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    made.bind(("127.0.0.2", 0))
    return made


def read_once(transport: Transport, datagrams_max: int = 64) -> int:
    readable, _, _ = select.select(transport.filenos(), [], [], 5)
    return len(transport.receive(readable, datagrams_max))


def false_segments(count: int) -> bytes:
    header = MAGIC + bytes([SHARE, 0, 60])
    return b"".join(header + n.to_bytes(4) + bytes(HEADER_SIZE - 8) + b"!" for n in range(count))


def test_segments_that_come_together_are_bounded_in_a_turn(stack: ExitStack) -> None:
    transport = transport_of(Nodes(stack, multicast=False).links[1])
    groups = 3 * PIECES_MAX // PER_GROUP
    out = from_member(stack)
    to = transport.sockets[0].getsockname()
    data = false_segments(PER_GROUP)
    for _ in range(groups):
        out.sendmsg([data], segment_size(len(data) // PER_GROUP), 0, to)
    looked_at = []
    for _ in range(4):
        before = transport.counters["rx_segment_mark"]
        assert read_once(transport) == 0
        looked_at.append(transport.counters["rx_segment_mark"] - before)
    assert max(looked_at) <= PIECES_MAX + PER_GROUP
    assert not transport.drained or sum(looked_at) == groups * PER_GROUP
    assert transport.counters["rx_turn_ended"] >= 2


def test_segments_that_come_one_by_one_are_bounded_in_a_turn(stack: ExitStack) -> None:
    transport = transport_of(Nodes(stack, multicast=False).links[1])
    out = from_member(stack)
    for _ in range(PIECES_MAX + 100):
        out.sendto(false_segments(1), transport.sockets[0].getsockname())
    assert read_once(transport) == 0
    assert transport.counters["rx_segment_mark"] <= PIECES_MAX
    assert not transport.drained


@pytest.mark.parametrize("multicast", [False, True], ids=["udpu", "udp"])
def test_false_tokens_do_not_come_one_a_turn(stack: ExitStack, multicast: bool) -> None:
    nodes = Nodes(stack, multicast=multicast)
    link, out = nodes.links[1], from_member(stack)
    for _ in range(4 * TOKENS_DOUBTED):
        out.sendto(b"\x11\x11\x11\0garbage", ("127.0.0.1", nodes.port))
    nodes.links[2].send([(1, token(7))])
    turns = found = 0
    while not found and turns < 4 * TOKENS_DOUBTED:
        readable, _, _ = select.select(link.data_filenos(), [], [], 5)
        found = sum(frame == token(7) for frame, _ in link.receive(readable, 64, 0))
        turns += 1
    assert found
    assert turns <= 12


def test_a_true_token_ends_a_read_as_before(stack: ExitStack) -> None:
    nodes = Nodes(stack, multicast=False)
    for frame in (token(7), token(8)):
        nodes.links[2].send([(1, frame)])
    link = nodes.links[1]
    for frame in (token(7), token(8)):
        readable, _, _ = select.select(link.data_filenos(), [], [], 5)
        assert [each for each, _ in link.receive(readable, 64, 0)] == [frame]


def test_segments_that_never_become_whole_do_not_keep_a_token_out(stack: ExitStack) -> None:
    """udp: they fill the socket of the data, and the token waits in its own."""
    nodes = Nodes(stack, multicast=True)
    link, out = nodes.links[1], from_member(stack)
    transport = transport_of(link)
    out.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
    group = link.settings.transport.group
    nodes.links[2].send([(1, token(7))])
    data = false_segments(PER_GROUP)
    turns = 0
    while True:
        turns += 1
        for _ in range(PIECES_MAX // PER_GROUP + 2):
            out.sendmsg([data], segment_size(len(data) // PER_GROUP), 0, (group, nodes.port))
        readable, _, _ = select.select(transport.filenos(), [], [], 5)
        if token(7) in [frame for frame, _ in link.receive(readable, 64, 0)]:
            break
        assert turns < 200
    assert turns > 1, "the data comes first"
