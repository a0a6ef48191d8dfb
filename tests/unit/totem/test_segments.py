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
    INCOMPLETE_OF_SENDER_MAX,
    MAGIC,
    PARITY,
    PARITY_HEADER_SIZE,
    RECENT,
    SHARE,
    Cutter,
    Joiner,
    parities,
)
from tests.unit.security.nodes import OTHER_KEY, Node, acquaint
from tests.unit.totem.test_batches import SO_NO_CHECK, sockets
from tests.unit.totem.test_transport import Nodes, mcast

MTU = 1500
PAYLOAD_MAX = MTU - 28
LARGE = 60_161
"""A full large packet of the ring, sealed."""
NODES = {number: Node(number) for number in (1, 2, 3)}
acquaint(*NODES.values())


def cutter_of(node: int = 1, payload_max: int = PAYLOAD_MAX) -> Cutter:
    return Cutter(payload_max, NODES[node].security)


def joiner_of(counters: Counter[str] | None = None, node: int = 2) -> Joiner:
    return Joiner(Counter() if counters is None else counters, NODES[node].security)


def cut(cutter: Cutter, datagram: bytes) -> list[bytes]:
    """The segments as they are on the wire."""
    buffers = cutter.cut(datagram)
    return [b"".join(buffers[at : at + 2]) for at in range(0, len(buffers), 2)]


def join(joiner: Joiner, segments: list[bytes]) -> list[bytes]:
    return [made for each in segments if (made := joiner.join(each)) is not None]


def waiting(joiner: Joiner) -> int:
    return sum(len(each.waiting) for each in joiner.senders.values())


def content(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


@given(st.integers(576, 9000), st.integers(1, 64_000), st.randoms(use_true_random=False))
def test_what_is_cut_becomes_whole_in_any_order(netmtu: int, size: int, draw: random.Random) -> None:
    cutter = cutter_of(payload_max=netmtu)
    if not cutter.cuts(size):
        assert size <= netmtu or size > 30_000
        return
    datagram = content(size)
    segments = cut(cutter, datagram)
    assert 2 <= len(segments) <= SEGMENTS_MAX
    assert {len(each) for each in segments[:-1]} == {cutter.segment_bytes}
    assert HEADER_SIZE < len(segments[-1]) <= cutter.segment_bytes
    draw.shuffle(segments)
    assert join(joiner_of(), segments) == [datagram]


@given(st.integers(PAYLOAD_MAX + 1, LARGE))
def test_all_segments_in_one_piece_are_joined_at_once(size: int) -> None:
    cutter, joiner = cutter_of(), joiner_of()
    datagram = content(size)
    together = b"".join(cutter.cut(datagram))
    assert joiner.join_all(together, cutter.segment_bytes) == datagram
    assert joiner.join_all(together, cutter.segment_bytes) is None  # a copy
    assert join(joiner, cut(cutter, datagram)) == [datagram]  # another datagram, with the same in it


def test_parts_of_two_datagrams_in_one_piece_are_not_taken_for_one() -> None:
    cutter, joiner = cutter_of(), joiner_of()
    one, two = cut(cutter, content(4000, 1)), cut(cutter, content(4000, 2))
    assert joiner.join_all(one[0] + two[1] + two[2], cutter.segment_bytes) is None
    assert joiner.join_all(one[1] + one[0] + one[2], cutter.segment_bytes) is None
    assert join(joiner, [one[0], two[0], two[1], one[1], one[2], two[2]]) == [content(4000, 1), content(4000, 2)]


def test_with_copies_most_arrive_where_a_fifth_is_lost() -> None:
    cutter, joiner, draw = cutter_of(), joiner_of(), random.Random(1)
    arrived = []
    for number in range(100):
        segments = cut(cutter, content(LARGE, number))
        kept = [each for _ in range(COPIES_WHERE_LOST) for each in segments if draw.random() >= 0.2]
        arrived += join(joiner, kept)
    assert len(arrived) == len(set(arrived)) > 50


@given(st.integers(PAYLOAD_MAX + 1, LARGE), st.data())
def test_parity_makes_up_for_one_share_among_six(size: int, data: st.DataObject) -> None:
    cutter = cutter_of()
    datagram = content(size)
    segments, parity = cut(cutter, datagram), cutter.parity(datagram)
    rows = parities(len(segments))
    assert len(parity) == rows == -(-len(segments) // 6)
    assert {len(each) for each in parity} == {cutter.segment_bytes - HEADER_SIZE + PARITY_HEADER_SIZE}
    assert len(parity[0]) <= PAYLOAD_MAX
    lost = {data.draw(st.sampled_from(range(row, len(segments), rows))) for row in range(rows)}
    arrived = [each for index, each in enumerate(segments) if index not in lost] + parity
    arrived = data.draw(st.permutations(arrived))
    assert join(joiner_of(), arrived) == [datagram]
    unmended = data.draw(st.sampled_from(range(rows)))
    counters: Counter[str] = Counter()
    assert join(joiner_of(counters), [each for each in arrived if each != parity[unmended]]) == []
    assert not counters


def test_with_parity_a_hundredth_may_be_lost() -> None:
    cutter, joiner, draw = cutter_of(), joiner_of(), random.Random(1)
    arrived = []
    for number in range(300):
        datagram = content(LARGE, number)
        segments = cut(cutter, datagram) + cutter.parity(datagram)
        arrived += join(joiner, [each for each in segments if draw.random() >= 0.01])
    assert len(arrived) == len(set(arrived)) > 285


def test_parity_that_makes_no_sense_is_counted() -> None:
    counters: Counter[str] = Counter()
    cutter, joiner = cutter_of(), joiner_of(counters)
    datagram = content(LARGE)
    segments, parity = cut(cutter, datagram), cutter.parity(datagram)
    last_at = HEADER_SIZE
    for spoilt in (parity[0][:PARITY_HEADER_SIZE], parity[0][:last_at] + b"\xff\xff" + parity[0][last_at + 2 :]):
        assert join(joiner, [spoilt]) == []
    assert counters == {"rx_incomplete": 2}
    assert join(joiner, segments[1:] + parity) == [datagram]


def test_senders_are_told_apart() -> None:
    joiner = joiner_of(node=3)
    one, two = cut(cutter_of(1), content(4000, 1)), cut(cutter_of(2), content(4000, 2))
    assert join(joiner, [one[0], two[0], two[1], one[1], two[2], one[2]]) == [content(4000, 2), content(4000, 1)]


def test_what_stays_incomplete_is_bounded_and_counted() -> None:
    counters: Counter[str] = Counter()
    cutter, joiner = cutter_of(), joiner_of(counters)
    first = cut(cutter, content(4000, 1))
    join(joiner, first[:1])
    for number in range(INCOMPLETE_OF_SENDER_MAX):
        join(joiner, cut(cutter, content(4000, number))[:1])
    assert counters == {"rx_incomplete": 1}
    assert join(joiner, first[1:]) == []  # its beginning has given way


def test_of_all_senders_the_one_with_most_gives_way() -> None:
    crowd = [Node(number, members=None) for number in range(1, 8)]
    acquaint(*crowd)
    counters: Counter[str] = Counter()
    joiner = Joiner(counters, crowd[-1].security)
    for node in crowd[:-1]:
        cutter = Cutter(PAYLOAD_MAX, node.security)
        for _ in range(INCOMPLETE_OF_SENDER_MAX):
            join(joiner, cut(cutter, content(4000))[:1])
    assert waiting(joiner) == INCOMPLETE_MAX
    assert counters["rx_incomplete"] == 6 * INCOMPLETE_OF_SENDER_MAX - INCOMPLETE_MAX
    assert len(joiner.senders[6].waiting) > 0


# -- somebody without the key, who hears everything and has recorded everything


def forged(number: int, index: int, count: int, mark: bytes = bytes(8), kind: int = SHARE, sender: int = 1) -> bytes:
    """A segment as it is on the wire, with a mark that was made up, or taken from another one."""
    body = b"\0\x01\xff" if kind == PARITY else b"x" * (PAYLOAD_MAX - PARITY_HEADER_SIZE)
    head = MAGIC + bytes([kind, index, count]) + sender.to_bytes(4, "big") + number.to_bytes(8, "big") + mark
    return head + body


def number_of(segment: bytes) -> int:
    return int.from_bytes(segment[8:16], "big")


def mark_of(segment: bytes) -> bytes:
    return segment[16:HEADER_SIZE]


def test_false_segments_sent_ahead_do_not_spoil_true_ones() -> None:
    cutter, counters = cutter_of(), Counter[str]()
    joiner = joiner_of(counters)
    heard = cut(cutter, content(LARGE, 1))
    assert join(joiner, heard) == [content(LARGE, 1)]
    number, count = number_of(heard[0]), len(heard)
    for ahead in range(number + 1, number + 200):
        false = [forged(ahead, index, 2, mark_of(heard[index])) for index in (0, 1)]
        false += [forged(ahead, index, count, mark_of(heard[index])) for index in (0, count - 1)]
        false += [forged(ahead, 0, count, kind=PARITY)]
        assert join(joiner, false) == []
        together = b"".join(forged(ahead, index, 3, mark_of(heard[index])) for index in range(3))
        assert joiner.join_all(together, PAYLOAD_MAX - 2) is None
    assert waiting(joiner) == 0
    assert counters == {"rx_segment_mark": 5 * 199}
    for each in range(100):
        assert join(joiner, cut(cutter, content(LARGE, each))) == [content(LARGE, each)]


@pytest.mark.parametrize("at_once", [False, True], ids=["one by one", "together"])
def test_false_segments_among_those_of_a_datagram_that_has_begun(at_once: bool) -> None:
    """What of it was heard helps to forge nothing that is still to come; another count pushes nothing aside."""
    cutter, joiner = cutter_of(), joiner_of()
    true = cut(cutter, content(LARGE, 1))
    number, count = number_of(true[0]), len(true)
    assert join(joiner, true[: count // 2]) == []
    for index in range(count // 2, count):
        false = [forged(number, index, count, mark_of(each)) for each in true[: count // 2]]
        assert join(joiner, false) == []
    assert join(joiner, [forged(number, 0, 2, mark_of(true[0])), forged(number, 1, 2, mark_of(true[1]))]) == []
    rest = true[count // 2 :]
    if at_once:
        assert joiner.join_all(b"".join(rest), len(true[0])) is None
    assert join(joiner, rest) == [content(LARGE, 1)]


def test_recorded_segments_push_nothing_aside() -> None:
    """Beginnings of old datagrams, with true marks, from before: of this life of the sender, and of an earlier one."""
    earlier = Node(1, life=0)
    receiver = Node(2)
    acquaint(earlier, receiver)
    recorded = [cut(Cutter(PAYLOAD_MAX, earlier.security), content(4000, each))[0] for each in range(200)]
    sender = Node(1)
    acquaint(sender, receiver)
    cutter, counters = Cutter(PAYLOAD_MAX, sender.security), Counter[str]()
    joiner = Joiner(counters, receiver.security)
    recorded += [cut(cutter, content(4000, each))[0] for each in range(200)]
    for number in range(RECENT):
        assert join(joiner, cut(cutter, content(2000, number))) == [content(2000, number)]
    begun = cut(cutter, content(4000, 7))
    assert join(joiner, begun[:1]) == []
    assert join(joiner, recorded) == []
    assert counters == {"rx_segment_mark": 400}
    assert waiting(joiner) == 1
    assert join(joiner, begun[1:]) == [content(4000, 7)]


def test_segments_of_a_stranger_wait_nowhere() -> None:
    joiner = joiner_of()
    assert join(joiner, cut(Cutter(PAYLOAD_MAX, Node(3, life=2).security), content(4000))) == []
    assert join(joiner, [forged(number, 0, 3, sender=number) for number in range(1000)]) == []
    assert joiner.senders == {}


def test_segments_go_on_through_a_change_of_the_key() -> None:
    one, two = Node(1), Node(2)
    acquaint(one, two)
    cutter, joiner = Cutter(PAYLOAD_MAX, one.security), Joiner(Counter(), two.security)
    begun = cut(cutter, content(4000, 1))
    assert join(joiner, begun[:1]) == []
    old = one.security.key_in_use
    new = one.security.install_key(OTHER_KEY)
    assert two.security.install_key(OTHER_KEY) == new
    one.security.use_key(new)
    one.seal(b"under the new key")
    assert join(joiner, cut(cutter, content(4000, 2))) == [content(4000, 2)]
    assert join(joiner, begun[1:]) == [content(4000, 1)]
    two.security.use_key(new)
    two.security.remove_key(old)
    assert join(joiner, cut(cutter, content(4000, 3))) == [content(4000, 3)]


@given(st.lists(st.binary(max_size=20).map(MAGIC.__add__), max_size=30))
def test_nonsense_does_no_harm(segments: list[bytes]) -> None:
    joiner = joiner_of()
    for each in segments:
        joiner.join_all(each, max(1, len(each) // 2))
        joiner.join(each)
    assert join(joiner, cut(cutter_of(), content(4000))) == [content(4000)]


def test_a_datagram_cannot_become_larger_than_any_can_be() -> None:
    counters: Counter[str] = Counter()
    joiner = joiner_of(counters)
    segments = [each + bytes(30_004) for each in cut(cutter_of(), content(4 * PAYLOAD_MAX - 200))]
    assert len(segments) == 4
    assert join(joiner, segments) == []
    assert counters["rx_incomplete"] == 1


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def cutting(stack: ExitStack, *, multicast: bool) -> Nodes:
    nodes = Nodes(stack, multicast=multicast)
    for number, link in nodes.links.items():
        assert link.transport is not None
        link.transport.cut_above(MTU, NODES[number].security)
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
