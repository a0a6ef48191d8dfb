"""Datagrams in groups (UDP_SEGMENT, UDP_GRO), what happens where the kernel refuses them, and what ICMP tells."""

from __future__ import annotations

import errno
import select
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.totem.ring.events import EVERYBODY
from services.totem.transport.batch import GROUP_BYTES_MAX, SEGMENTS_MAX, Grouping, split
from services.totem.transport.link import Link
from tests.unit.totem.test_transport import Nodes, mcast, settings, token

SO_NO_CHECK = 11
"""A socket that sends without checksums: the kernel does not segment for it."""


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@given(st.lists(st.sampled_from((1, 2, 1400, 1399, 9000, 40_000, 65_000, 65_507)), max_size=200))
def test_groups_keep_the_order_and_the_rules_of_the_kernel(sizes: list[int]) -> None:
    datagrams = [bytes(size) for size in sizes]
    groups = Grouping().groups(datagrams)
    assert [each for group in groups for each in group] == datagrams
    for group in groups:
        first, *rest = (len(each) for each in group)
        assert len(group) <= SEGMENTS_MAX
        assert not rest or first + sum(rest) <= GROUP_BYTES_MAX
        assert all(size == first for size in rest[:-1])
        assert not rest or rest[-1] <= first


def test_packets_of_one_visit_are_few_groups() -> None:
    full, last = bytes(1455), bytes(700)
    assert [len(group) for group in Grouping().groups([full] * 16 + [last])] == [17]
    assert [len(group) for group in Grouping().groups([full] * 50)] == [44, 6]
    assert [len(group) for group in Grouping().groups([last, full, full])] == [1, 2]
    assert [len(group) for group in Grouping().groups([full, last, last])] == [2, 1]


def test_a_refusal_is_remembered_for_datagrams_of_that_size() -> None:
    grouping = Grouping()
    assert not grouping.refused(OSError(errno.ENOBUFS, "no buffers"), 1400)
    assert grouping.refused(OSError(errno.EINVAL, "larger than the MTU"), 1400)
    assert [len(group) for group in grouping.groups([bytes(1400)] * 3)] == [1, 1, 1]
    assert [len(group) for group in grouping.groups([bytes(1399)] * 3)] == [3]


def test_what_is_no_group_stays_whole() -> None:
    assert split(b"abc", [(17, 104, b"")]) == [b"abc"]
    assert split(b"abc", [(17, 104, (0).to_bytes(4, "little"))]) == [b"abc"]
    assert split(b"abc", [(17, 104, (3).to_bytes(4, "little"))]) == [b"abc"]
    assert split(b"abc", [(17, 104, (2).to_bytes(4, "little"))]) == [b"ab", b"c"]


def sockets(link: Link) -> list[socket.socket]:
    assert link.transport is not None
    return link.transport.sockets


def die(link: Link) -> None:
    """Close its sockets, as its end would."""
    assert link.transport is not None
    link.transport.close()


def calls_for(nodes: Nodes, frames: list[bytes]) -> int:
    """Send from node 1; how many times node 2 had to ask its socket until it had all of them."""
    nodes.links[1].send([(EVERYBODY, frame) for frame in frames])
    link, calls = nodes.links[2], 0
    got: list[bytes] = []
    while len(got) < len(frames):
        readable, _, _ = select.select(link.data_filenos(), [], [], 5)
        assert readable, f"{len(got)} of {len(frames)} came"
        got += [frame for frame, _ in link.receive(readable, 1, 0)]
        calls += 1
    assert got == frames
    return calls


@pytest.mark.parametrize("multicast", [False, True], ids=["udpu", "udp"])
def test_a_turn_of_packets_is_one_call_at_both_ends(stack: ExitStack, multicast: bool) -> None:
    nodes = Nodes(stack, multicast=multicast)
    frames = [mcast(1, seq, 1410) for seq in range(16)] + [mcast(1, 16, 10)]
    assert calls_for(nodes, frames) == 1
    assert nodes.received(3, len(frames)) == frames


@pytest.mark.parametrize("multicast", [False, True], ids=["udpu", "udp"])
def test_where_the_kernel_does_not_segment_they_go_one_by_one(stack: ExitStack, multicast: bool) -> None:
    nodes = Nodes(stack, multicast=multicast)
    for each in sockets(nodes.links[1]):
        each.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
    frames = [mcast(1, seq, 1410) for seq in range(10)]
    assert calls_for(nodes, frames) == 10
    assert calls_for(nodes, frames) == 10
    assert nodes.links[1].counters == {}


def test_reading_stops_at_a_token_that_came_in_a_group(stack: ExitStack) -> None:
    nodes = Nodes(stack, multicast=False)
    link = nodes.links[2]
    assert link.transport is not None
    nodes.links[1].send([(EVERYBODY, token(1)), (EVERYBODY, token(2)), (EVERYBODY, mcast(1, 1))])
    readable, _, _ = select.select(link.data_filenos(), [], [], 5)
    assert [frame for frame, _ in link.receive(readable, 64, 0)] == [token(1), token(2)]
    assert not link.drained
    assert nodes.received(2, 1) == [mcast(1, 1)]


@pytest.mark.parametrize("multicast", [False, True], ids=["udpu", "udp"])
def test_icmp_tells_of_a_port_where_nobody_listens_and_costs_no_packet(stack: ExitStack, multicast: bool) -> None:
    nodes = Nodes(stack, multicast=multicast)
    one = nodes.links[1]
    told: list[str] = []
    one.on_unreachable = told.append
    die(nodes.links[2])

    def errors() -> list[int]:
        poll = select.poll()
        for each in (*one.data_filenos(), *one.error_filenos()):
            poll.register(each, 0)
        return [number for number, events in poll.poll(5000) if events & select.POLLERR]

    one.send([(2, token(1))])
    failing = errors()
    assert failing
    # Before anybody has read the error, it waits for the next call on that socket.
    one.send([(3, token(2)), (3, token(3))])
    assert told == []
    one.read_errors(failing)
    assert told == ["127.0.0.2"]
    assert nodes.received(3, 2) == [token(2), token(3)]
    assert one.counters == {"unreachable_port": 1}
    nodes.links[3].send([(1, token(4))])
    assert nodes.received(1, 1) == [token(4)]
    poll = select.poll()
    for each in (*one.data_filenos(), *one.error_filenos()):
        poll.register(each, 0)
    assert poll.poll(0) == []


def test_an_error_that_waits_does_not_hide_what_has_come(stack: ExitStack) -> None:
    nodes = Nodes(stack, multicast=False)
    die(nodes.links[2])
    nodes.links[1].send([(2, token(1))])
    nodes.links[3].send([(1, token(2))])
    assert nodes.received(1, 1) == [token(2)]


def test_without_a_transport_errors_are_nothing(stack: ExitStack) -> None:
    link = Link(settings(1, 5405, multicast=False), Counter())
    stack.callback(link.close)
    link.read_errors([7])
    assert link.error_filenos() == []
