"""Transports on 127.0.0.x: who gets what, in which order, and what is not taken."""

from __future__ import annotations

import select
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from services.totem.ring.events import EVERYBODY
from services.totem.transport.address_book import LinkSettings
from services.totem.transport.base import Transport, TransportSettings
from services.totem.transport.link import Link
from services.totem.transport.sockets import CannotBind, reason_of
from services.totem.wire.base import RingId
from services.totem.wire.frames import Join, Token, encode_join, encode_mcast, encode_token
from tests.ports import reserve_port

RING = RingId(1, 4)
NODES = (1, 2, 3)
ARRIVED_S = 0.3
"""So long after it was sent to this machine itself all of it is there, also where the kernel is busy."""


def mcast(sender: int, seq: int, size: int = 100) -> bytes:
    return encode_mcast(sender, seq, seq, RING, bytes(size))


def join(sender: int) -> bytes:
    return encode_join(Join(sender, sender, NODES, (), 4))


def token(seq: int = 0) -> bytes:
    return encode_token(Token(1, seq, seq, 0, 0, RING))


def settings(node: int, port: int, *, multicast: bool, nodelist: bool = True) -> LinkSettings:
    return LinkSettings(
        TransportSettings(node, port, group="239.192.7.7" if multicast else ""),
        multicast=multicast,
        members={each: (f"127.0.0.{each}",) for each in NODES} if nodelist else {},
        local_address=f"127.0.0.{node}",
        check_interval_ms=50,
    )


class Nodes:
    """Three links on one machine."""

    def __init__(self, stack: ExitStack, *, multicast: bool, nodelist: bool = True) -> None:
        port = reserve_port(stack)
        self.links = {n: Link(settings(n, port, multicast=multicast, nodelist=nodelist), Counter()) for n in NODES}
        self.port = port
        for link in self.links.values():
            stack.callback(link.close)
            link.start()
            assert link.tend((), 0)
            assert link.is_up

    def received(self, node: int, count: int, timeout_s: float = 60.0) -> list[bytes]:
        """`count` datagrams of a node, or fewer when the time is over."""
        link, end = self.links[node], time.monotonic() + timeout_s
        frames: list[bytes] = []
        while len(frames) < count and time.monotonic() < end:
            readable, _, _ = select.select(list(link.filenos()), [], [], 0.05)
            for frame, source in link.receive(readable, 64, 0):
                link.heard(frame, source[0])
                frames.append(frame)
        return frames

    def nothing_for(self, node: int) -> bool:
        return not self.received(node, 1, timeout_s=0.1)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.mark.parametrize("multicast", [False, True], ids=["udpu", "udp"])
def test_frames_for_everybody_reach_the_others_in_order(stack: ExitStack, multicast: bool) -> None:
    nodes = Nodes(stack, multicast=multicast)
    frames = [mcast(1, seq, size) for seq, size in enumerate((0, 1, 1410, 1455, 9000, 60000))]
    nodes.links[1].send([(EVERYBODY, frame) for frame in frames])
    assert nodes.received(2, len(frames)) == frames
    assert nodes.received(3, len(frames)) == frames
    assert nodes.nothing_for(1)
    assert not nodes.links[1].has_local


@pytest.mark.parametrize("multicast", [False, True], ids=["udpu", "udp"])
def test_a_token_reaches_one_node_only(stack: ExitStack, multicast: bool) -> None:
    nodes = Nodes(stack, multicast=multicast)
    nodes.links[1].send([(2, token(7))])
    assert nodes.received(2, 1) == [token(7)]
    assert nodes.nothing_for(3)


@pytest.mark.parametrize("multicast", [False, True], ids=["udpu", "udp"])
def test_own_joins_and_tokens_come_back_without_the_network(stack: ExitStack, multicast: bool) -> None:
    nodes = Nodes(stack, multicast=multicast)
    link = nodes.links[1]
    link.send([(EVERYBODY, join(1)), (EVERYBODY, mcast(1, 1)), (1, token())])
    drained_before = link.drained
    assert link.take_local() == [join(1), token()]
    assert (drained_before, link.drained) == (False, True)
    assert nodes.received(2, 2) == [join(1), mcast(1, 1)]
    assert nodes.nothing_for(1)


def test_udp_hands_in_data_before_a_token_that_came_with_it(stack: ExitStack) -> None:
    nodes = Nodes(stack, multicast=True)
    link = nodes.links[2]
    # The token is there first in time on its own socket; the data that the same poll reports goes before it.
    nodes.links[3].send([(2, token(1))])
    nodes.links[1].send([(EVERYBODY, mcast(1, seq)) for seq in range(100)])
    time.sleep(ARRIVED_S)
    readable, _, _ = select.select(list(link.filenos()), [], [], 1)
    first = [frame for frame, _ in link.receive(readable, 64, 0)]
    assert first == [mcast(1, seq) for seq in range(64)]
    assert not link.drained
    readable, _, _ = select.select(list(link.filenos()), [], [], 1)
    second = [frame for frame, _ in link.receive(readable, 64, 0)]
    assert second == [mcast(1, seq) for seq in range(64, 100)] + [token(1)]


def test_udp_a_flood_of_data_does_not_keep_the_token_out(stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.totem.transport.udp.DATA_BEFORE_TOKEN_MAX", 50)
    nodes = Nodes(stack, multicast=True)
    link = nodes.links[2]
    nodes.links[3].send([(2, token(1))])
    nodes.links[1].send([(EVERYBODY, mcast(1, seq)) for seq in range(100)])
    time.sleep(ARRIVED_S)
    readable, _, _ = select.select(list(link.filenos()), [], [], 1)
    assert [frame for frame, _ in link.receive(readable, 64, 0)] == [mcast(1, seq) for seq in range(64)] + [token(1)]


def test_udpu_stops_reading_at_a_token(stack: ExitStack) -> None:
    nodes = Nodes(stack, multicast=False)
    nodes.links[1].send([(2, mcast(1, 1)), (2, token(1)), (2, mcast(1, 2))])
    time.sleep(ARRIVED_S)
    link = nodes.links[2]
    readable, _, _ = select.select(list(link.filenos()), [], [], 1)
    assert [frame for frame, _ in link.receive(readable, 64, 0)] == [mcast(1, 1), token(1)]
    drained_before = link.drained
    assert nodes.received(2, 1) == [mcast(1, 2)]
    assert nodes.nothing_for(2)
    assert (drained_before, link.drained) == (False, True)


def test_udpu_takes_nothing_from_an_unlisted_address(stack: ExitStack) -> None:
    nodes = Nodes(stack, multicast=False)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind(("127.0.0.9", 0))
        stranger.sendto(join(9), ("127.0.0.1", nodes.port))
    assert nodes.nothing_for(1)
    assert nodes.links[1].more_counters() == {"rx_dropped_by_kernel": 1}


def test_udpu_takes_anything_if_it_is_told_to(stack: ExitStack) -> None:
    port = reserve_port(stack)
    open_to_all = TransportSettings(1, port, block_unlisted_ips=False)
    link = Link(
        LinkSettings(open_to_all, members={1: ("127.0.0.1",), 9: ("127.0.0.8",)}, local_address="127.0.0.1"), Counter()
    )
    stack.callback(link.close)
    link.tend((), 0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind(("127.0.0.9", 0))
        stranger.sendto(join(9), ("127.0.0.1", port))
    readable, _, _ = select.select(list(link.filenos()), [], [], 1)
    assert [frame for frame, _ in link.receive(readable, 64, 0)] == [join(9)]


def test_udp_without_a_nodelist_learns_addresses_from_joins(stack: ExitStack) -> None:
    nodes = Nodes(stack, multicast=True, nodelist=False)
    nodes.links[1].send([(2, token(1))])
    assert nodes.nothing_for(2)
    assert nodes.links[1].counters["tx_no_address"] == 1
    nodes.links[2].send([(EVERYBODY, join(2))])
    assert nodes.received(1, 1) == [join(2)]
    nodes.links[1].send([(2, token(2))])
    assert nodes.received(2, 1) == [token(2)]


def test_udp_with_a_nodelist_does_not_learn(stack: ExitStack) -> None:
    nodes = Nodes(stack, multicast=True)
    nodes.links[1].heard(join(2), "127.0.0.3")
    nodes.links[1].send([(2, token(2))])
    assert nodes.received(2, 1) == [token(2)]


@pytest.mark.parametrize("multicast", [False, True], ids=["udpu", "udp"])
def test_a_port_in_use_is_said_in_one_line(stack: ExitStack, multicast: bool) -> None:
    nodes = Nodes(stack, multicast=multicast)
    second = Link(settings(1, nodes.port, multicast=multicast), Counter())
    stack.callback(second.close)
    with pytest.raises(CannotBind, match=rf"^UDP 127\.0\.0\.1:{nodes.port} is in use .*mcastport[^\n]*$"):
        second.tend((), 0)


def test_ports_and_socket_options_are_those_of_the_protocol(stack: ExitStack) -> None:
    def sockets(transport: Transport | None) -> list[socket.socket]:
        assert transport is not None
        return transport.sockets

    nodes = Nodes(stack, multicast=True)
    incoming, outgoing, data = sockets(nodes.links[1].transport)
    assert incoming.getsockname() == ("127.0.0.1", nodes.port)
    assert outgoing.getsockname() == ("127.0.0.1", nodes.port - 1)
    assert data.getsockname() == ("239.192.7.7", nodes.port)
    assert incoming.getsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY) == 6
    assert outgoing.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP) == 0
    assert outgoing.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL) == 1


def test_dscp_marks_what_is_sent_and_leaves_the_token_priority(stack: ExitStack) -> None:
    link = Link(
        LinkSettings(
            TransportSettings(1, reserve_port(stack), ip_dscp=46),
            members={1: ("127.0.0.1",), 2: ("127.0.0.2",)},
            local_address="127.0.0.1",
        ),
        Counter(),
    )
    stack.callback(link.close)
    link.tend((), 0)
    assert link.transport is not None
    token_socket, to_member = link.transport.sockets
    for each in (token_socket, to_member):
        assert each.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) == 46 << 2
    assert token_socket.getsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY) == 6


def test_errors_of_sending_are_counted_by_name(stack: ExitStack) -> None:
    nodes = Nodes(stack, multicast=False)
    nodes.links[1].send([(2, bytes(70000)), (9, token())])
    assert nodes.links[1].counters == {"tx_emsgsize": 1, "tx_no_address": 1}
    assert reason_of(OSError()) == "error"
