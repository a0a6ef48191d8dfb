"""Large datagrams in segments: cut, lost, mixed up, sent several times, forged, and put together again."""

from __future__ import annotations

import random
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.totem.ring.events import EVERYBODY
from services.totem.transport.base import COPIES_WHERE_LOST
from services.totem.transport.batch import SEGMENTS_MAX
from services.totem.transport.segments import (
    HEADER_SIZE,
    INCOMPLETE_MAX,
    INCOMPLETE_OF_SOURCE_MAX,
    MAGIC,
    PARITY_HEADER_SIZE,
    SHARE,
    Cutter,
    Joiner,
    parities,
)
from tests.unit.totem.test_batches import SO_NO_CHECK, sockets
from tests.unit.totem.test_transport import Nodes, mcast

NETMTU = 1500
LARGE = 60_161
"""A full large packet of the ring, sealed."""
SOURCE = ("10.0.0.1", 40_000)


def cut(cutter: Cutter, datagram: bytes) -> list[bytes]:
    """The segments as they are on the wire."""
    buffers = cutter.cut(datagram)
    return [b"".join(buffers[at : at + 2]) for at in range(0, len(buffers), 2)]


def join(joiner: Joiner, segments: list[bytes], source: object = SOURCE) -> list[bytes]:
    return [made for each in segments if (made := joiner.join(each, source)) is not None]


def content(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


@given(st.integers(576, 9000), st.integers(1, 64_000), st.randoms(use_true_random=False))
def test_what_is_cut_becomes_whole_in_any_order(netmtu: int, size: int, draw: random.Random) -> None:
    cutter = Cutter(netmtu)
    if not cutter.cuts(size):
        assert size <= netmtu or size > 30_000
        return
    datagram = content(size)
    segments = cut(cutter, datagram)
    assert 2 <= len(segments) <= SEGMENTS_MAX
    assert {len(each) for each in segments[:-1]} == {cutter.segment_bytes}
    assert HEADER_SIZE < len(segments[-1]) <= cutter.segment_bytes
    draw.shuffle(segments)
    assert join(Joiner(Counter()), segments) == [datagram]


@given(st.integers(NETMTU + 1, LARGE))
def test_all_segments_in_one_piece_are_joined_at_once(size: int) -> None:
    cutter, joiner = Cutter(NETMTU), Joiner(Counter())
    datagram = content(size)
    together = b"".join(cutter.cut(datagram))
    assert joiner.join_all(together, cutter.segment_bytes, SOURCE) == datagram
    assert joiner.join_all(together, cutter.segment_bytes, SOURCE) is None  # a copy
    assert join(joiner, cut(Cutter(NETMTU), datagram)) == [datagram]  # another datagram, with the same in it


def test_parts_of_two_datagrams_in_one_piece_are_not_taken_for_one() -> None:
    cutter, joiner = Cutter(NETMTU), Joiner(Counter())
    one, two = cut(cutter, content(4000, 1)), cut(cutter, content(4000, 2))
    assert joiner.join_all(one[0] + two[1] + two[2], cutter.segment_bytes, SOURCE) is None
    assert joiner.join_all(one[1] + one[0] + one[2], cutter.segment_bytes, SOURCE) is None
    assert join(joiner, [one[0], two[0], two[1], one[1], one[2], two[2]]) == [content(4000, 1), content(4000, 2)]


def test_with_copies_most_arrive_where_a_fifth_is_lost() -> None:
    cutter, joiner, draw = Cutter(NETMTU), Joiner(Counter()), random.Random(1)
    arrived = []
    for number in range(100):
        segments = cut(cutter, content(LARGE, number))
        kept = [each for _ in range(COPIES_WHERE_LOST) for each in segments if draw.random() >= 0.2]
        arrived += join(joiner, kept)
    assert len(arrived) == len(set(arrived)) > 50


@given(st.integers(NETMTU + 1, LARGE), st.data())
def test_parity_makes_up_for_one_share_among_six(size: int, data: st.DataObject) -> None:
    cutter = Cutter(NETMTU)
    datagram = content(size)
    segments, parity = cut(cutter, datagram), cutter.parity(datagram)
    rows = parities(len(segments))
    assert len(parity) == rows == -(-len(segments) // 6)
    assert {len(each) for each in parity} == {cutter.segment_bytes - HEADER_SIZE + PARITY_HEADER_SIZE}
    assert len(parity[0]) <= NETMTU - 48
    lost = {data.draw(st.sampled_from(range(row, len(segments), rows))) for row in range(rows)}
    arrived = [each for index, each in enumerate(segments) if index not in lost] + parity
    arrived = data.draw(st.permutations(arrived))
    assert join(Joiner(Counter()), arrived) == [datagram]
    unmended = data.draw(st.sampled_from(range(rows)))
    counters: Counter[str] = Counter()
    assert join(Joiner(counters), [each for each in arrived if each != parity[unmended]]) == []
    assert not counters


def test_with_parity_a_hundredth_may_be_lost() -> None:
    cutter, joiner, draw = Cutter(NETMTU), Joiner(Counter()), random.Random(1)
    arrived = []
    for number in range(300):
        datagram = content(LARGE, number)
        segments = cut(cutter, datagram) + cutter.parity(datagram)
        arrived += join(joiner, [each for each in segments if draw.random() >= 0.01])
    assert len(arrived) == len(set(arrived)) > 285


def test_false_parity_does_no_more_harm_than_a_false_share() -> None:
    counters: Counter[str] = Counter()
    cutter, joiner = Cutter(NETMTU), Joiner(counters)
    datagram = content(LARGE)
    segments, parity = cut(cutter, datagram), cutter.parity(datagram)
    for spoilt in (parity[0][:PARITY_HEADER_SIZE], parity[0][:8] + b"\xff\xff" + parity[0][10:]):
        assert join(joiner, [spoilt]) == []
    assert counters["rx_incomplete"] == 2
    for false in (
        [each[:PARITY_HEADER_SIZE] + b"\xff" * (len(each) - PARITY_HEADER_SIZE + 1) for each in parity],
        [each[:8] + b"\0\x01\xff" for each in parity],
    ):
        # A share may be made of it, and the datagram spoilt, as by a false share: whoever opens it sees that.
        assert all(len(each) <= 2 * LARGE for each in join(joiner, false + segments[1:]))
        datagram = content(LARGE, 2)
        segments, parity = cut(cutter, datagram), cutter.parity(datagram)
        assert join(joiner, segments[1:] + parity) == [datagram]
        segments, parity = cut(cutter, datagram), cutter.parity(datagram)


def test_senders_are_told_apart() -> None:
    cutter, joiner = Cutter(NETMTU), Joiner(Counter())
    segments = cut(cutter, content(4000))
    assert join(joiner, segments[:2], ("10.0.0.2", 1)) == []
    assert join(joiner, segments[2:], ("10.0.0.3", 1)) == []
    assert join(joiner, segments[2:], ("10.0.0.2", 1)) == [content(4000)]


def test_what_stays_incomplete_is_bounded_and_counted() -> None:
    counters: Counter[str] = Counter()
    cutter, joiner = Cutter(NETMTU), Joiner(counters)
    first = cut(cutter, content(4000, 1))
    join(joiner, first[:1])
    for number in range(INCOMPLETE_OF_SOURCE_MAX):
        join(joiner, cut(cutter, content(4000, number))[:1])
    assert counters == {"rx_incomplete": 1}
    assert join(joiner, first[1:]) == []  # its beginning has given way
    for source in range(2 * INCOMPLETE_MAX):
        join(joiner, cut(cutter, content(4000))[:1], source)
    assert len(joiner._waiting) == INCOMPLETE_MAX
    assert join(joiner, cut(cutter, content(4000))) == [content(4000)]


@given(st.lists(st.binary(max_size=20).map(MAGIC.__add__), max_size=30))
def test_nonsense_does_no_harm(segments: list[bytes]) -> None:
    joiner = Joiner(Counter())
    for each in segments:
        joiner.join_all(each, max(1, len(each) // 2), SOURCE)
        joiner.join(each, SOURCE)
    assert join(joiner, cut(Cutter(NETMTU), content(4000))) == [content(4000)]


def test_a_datagram_cannot_become_larger_than_any_can_be() -> None:
    counters: Counter[str] = Counter()
    joiner = Joiner(counters)
    head = MAGIC + bytes([SHARE])
    assert join(joiner, [head + bytes([index, 4]) + bytes(30_004) for index in range(4)]) == []
    assert counters["rx_incomplete"] == 1


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def cutting(stack: ExitStack, *, multicast: bool) -> Nodes:
    nodes = Nodes(stack, multicast=multicast)
    for link in nodes.links.values():
        assert link.transport is not None
        link.transport.cut_above(NETMTU)
    return nodes


@pytest.mark.parametrize("multicast", [False, True], ids=["udpu", "udp"])
@pytest.mark.parametrize("grouped", [True, False], ids=["in one call", "one by one"])
def test_links_cut_and_join(stack: ExitStack, multicast: bool, grouped: bool) -> None:
    nodes = cutting(stack, multicast=multicast)
    if not grouped:
        for each in sockets(nodes.links[1]):
            each.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
    frames = [mcast(1, 1), mcast(1, 2, 60_000), mcast(1, 3, 1410), mcast(1, 4, 60_000), mcast(1, 5, 2000)]
    nodes.links[1].send([(EVERYBODY, frame) for frame in frames])
    assert nodes.received(2, len(frames)) == frames
    assert nodes.received(3, len(frames)) == frames
    assert nodes.links[1].counters == {}


def test_copies_are_handed_in_once(stack: ExitStack) -> None:
    nodes = cutting(stack, multicast=False)
    frames = [mcast(1, 1, 20_000), mcast(1, 2)]
    nodes.links[1].send([(EVERYBODY, frame) for frame in frames], packet_bytes_max=8000, parity=True)
    assert nodes.received(2, len(frames)) == frames


@pytest.mark.parametrize("multicast", [False, True], ids=["udpu", "udp"])
def test_links_take_parity(stack: ExitStack, multicast: bool) -> None:
    nodes = cutting(stack, multicast=multicast)
    frames = [mcast(1, 1), mcast(1, 2, 60_000), mcast(1, 3, 8400), mcast(1, 4, 2000)]
    nodes.links[1].send([(EVERYBODY, frame) for frame in frames], parity=True)
    assert nodes.received(2, len(frames)) == frames
    assert nodes.received(3, len(frames)) == frames
    assert nodes.links[1].counters == nodes.links[2].counters == {}
