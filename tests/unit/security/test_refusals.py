"""What must be refused changes nothing but counters, and says why (properties F1 and F2)."""

from __future__ import annotations

import os
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.totem.security.complaints import LINES_PER_INTERVAL
from services.totem.security.envelope import HEADER_SIZE, PREFIX_SIZE, VERSION, Content
from services.totem.security.opener import TEXTS, Reason
from services.totem.security.suites import SUITES
from services.totem.wire.base import RingId
from services.totem.wire.frames import Token, encode_token
from tests.unit.security.nodes import MS, OTHER_KEY, Node, acquaint, state_of

MUTATIONS = int(os.environ.get("RONDO_MUTATIONS", "20000"))
"""Altered packets that are fed to an opener; `make mutations` feeds a million."""

SOME_SUITES = ["aes256-gcm none", "aes128 sha1", "aes256 sha512"]


TOKEN = encode_token(Token(1, 5, 5, 5, 0, RingId(1, 4)))


def test_every_reason_has_a_text() -> None:
    assert set(TEXTS) == set(Reason)


def refused_for(receiver: Node, datagram: bytes) -> str:
    """The one reason for which a datagram is refused, without effect."""
    receiver.security.take_complaints()
    receiver.now_ns += 2000 * MS
    counted, state = receiver.security.counters.copy(), state_of(receiver.security)
    assert receiver.open(datagram, "10.0.0.66") is None
    assert state_of(receiver.security) == state
    assert not receiver.security.take_replies()
    (complaint,) = receiver.security.take_complaints()
    assert (complaint.source, complaint.left_out) == ("10.0.0.66", 0)
    ((name, count),) = (receiver.security.counters - counted).items()
    assert (count, name) == (1, complaint.reason)
    return name


def test_the_nodelist_decides_also_when_it_changes() -> None:
    one, four = Node(1), Node(4, members=frozenset({1, 4}))
    assert refused_for(one, four.seal(TOKEN)) == Reason.UNLISTED_SENDER
    one.security.set_members(frozenset({1, 2, 3, 4}))
    acquaint(one, four)
    assert one.open(four.seal(TOKEN)) == TOKEN
    one.security.set_members(frozenset({1, 2, 3}))
    assert refused_for(one, four.seal(TOKEN)) == Reason.UNLISTED_SENDER, "although it is known"


def test_each_reason_is_told_apart() -> None:
    one, two = Node(1), Node(2)
    acquaint(one, two)
    datagram = one.seal(b"a frame")
    assert refused_for(two, encode_token(Token(3, 5, 5, 5, 0, RingId(1, 4)))) == "no_crypto"
    assert refused_for(two, b"\xc0\x70\x03") == "no_crypto"
    assert refused_for(two, b"") == "no_envelope"
    assert refused_for(two, b"GET / HTTP/1.1\r\n\r\n") == "no_envelope"
    assert refused_for(two, datagram[:1]) == "truncated"
    assert refused_for(two, datagram[: HEADER_SIZE - 1]) == "truncated"
    assert refused_for(two, datagram[:-1]) == "truncated"
    assert refused_for(two, datagram[:1] + bytes([VERSION + 1]) + datagram[2:]) == "other_version"
    assert refused_for(two, Node(1, cluster="production").seal(b"a frame")) == "other_cluster"
    assert refused_for(two, Node(1, suite=SUITES["aes256", "sha256"]).seal(b"a frame")) == "other_suite"
    assert refused_for(two, Node(1, key=OTHER_KEY).seal(b"a frame")) == "wrong_key"
    assert refused_for(two, datagram[:-1] + bytes([datagram[-1] ^ 1])) == "wrong_key"
    assert refused_for(two, Node(4).seal(b"a frame")) == "unlisted_sender"
    assert refused_for(two, Node(2, life=2).seal(b"a frame")) == "own_node_id"
    assert two.open(datagram) == b"a frame"
    assert refused_for(two, datagram) == "replayed"


def test_the_cluster_name_is_part_of_the_keys() -> None:
    one, two = Node(1, cluster="production"), Node(2)
    datagram = bytearray(one.seal(b"a frame"))
    ours = Node(1).seal(b"a frame")
    datagram[4:10] = ours[4:10]  # the numbers of key and cluster, which are no secret
    assert refused_for(two, bytes(datagram)) == "wrong_key"


def test_nodes_of_the_same_cluster_without_a_nodelist_take_everybody_who_has_the_key() -> None:
    one, two = Node(1, members=None), Node(77, members=None)
    acquaint(one, two)
    assert two.open(one.seal(b"a frame")) == b"a frame"


@pytest.mark.parametrize("names", SOME_SUITES)
@pytest.mark.parametrize("frame", [TOKEN, b"\x70\xc0\x03\x04a commit token"], ids=["token", "other"])
def test_what_is_for_one_node_is_worth_nothing_to_another(names: str, frame: bytes) -> None:
    """Somebody turns a token aside. (The simulator's attacker did, and a commit token passed a node a third time.)"""
    cipher, hash_name = names.split()
    one, two, three = (Node(number, suite=SUITES[cipher, hash_name]) for number in (1, 2, 3))
    acquaint(one, two, three)
    for _ in range(2):  # the second time it goes by what was found out about the first
        datagram = one.security.seal_for(2, frame)
        assert datagram[3] == (Content.TOKEN if frame == TOKEN else Content.DIRECT)
        assert refused_for(three, datagram) == "wrong_key"
        as_for_all = datagram[:3] + bytes([Content.FRAME]) + datagram[4:]
        assert refused_for(three, as_for_all) == "wrong_key"
        assert two.open(datagram) == frame


@pytest.mark.parametrize("names", SOME_SUITES)
def test_altered_packets_change_nothing(names: str) -> None:
    cipher, hash_name = names.split()
    suite = SUITES[cipher, hash_name]
    one, two, three = (Node(number, suite=suite) for number in (1, 2, 3))
    acquaint(one, two)
    rng = random.Random(20250701)
    datagrams = [one.seal(rng.randbytes(rng.randrange(1, 200))) for _ in range(50)]
    datagrams += [three.seal(b"of a node that is not known yet")]
    sealer = three.security.sealer
    datagrams += [sealer.seal_as(content, bytes(20), b"") for content in (Content.CHALLENGE, Content.ANSWER)]
    state = state_of(two.security)
    for _ in range(MUTATIONS // len(SOME_SUITES)):
        datagram = rng.choice(datagrams)
        altered = mutated(rng, datagram, rng.choice(datagrams))
        if altered not in datagrams:
            assert two.open(altered) is None, altered.hex()
    assert state_of(two.security) == state
    assert not two.security.take_replies()
    assert sum(two.security.counters[reason] for reason in Reason) > 0.9 * MUTATIONS / len(SOME_SUITES)
    for datagram in datagrams[:50]:
        assert two.open(datagram) is not None


def mutated(rng: random.Random, datagram: bytes, other: bytes) -> bytes:
    """A datagram that differs from `datagram`, in one of the ways of networks and of people."""
    kind = rng.randrange(6)
    altered = bytearray(datagram)
    at = rng.randrange(len(altered))
    if kind == 0:
        altered[at] ^= 1 << rng.randrange(8)
    elif kind == 1:
        del altered[at:]
    elif kind == 2:
        altered += rng.randbytes(rng.randrange(1, 40))
    elif kind == 3:
        altered[: rng.choice((4, PREFIX_SIZE, HEADER_SIZE))] = other[: rng.choice((4, PREFIX_SIZE, HEADER_SIZE))]
    elif kind == 4:
        altered[at:] = rng.randbytes(len(altered) - at)
    else:
        del altered[at : at + rng.randrange(1, 40)]
    return bytes(altered)


NODE = Node(2)


@given(st.binary(max_size=300))
def test_random_bytes_are_refused(datagram: bytes) -> None:
    assert NODE.open(datagram) is None


def test_complaints_are_few_whatever_comes() -> None:
    one, two = Node(1), Node(2)
    acquaint(one, two)
    lines = []
    for number in range(10_000):
        two.now_ns += MS // 2
        two.open(b"garbage", f"10.{number % 7}.0.1")
        lines += two.security.take_complaints()
    assert 5 * LINES_PER_INTERVAL <= len(lines) <= 6 * LINES_PER_INTERVAL
    told = len(lines) + sum(line.left_out for line in lines)
    assert 10_000 - 2_000 <= told <= 10_000, "all but those since the last line"
    assert two.count("no_envelope") == 10_000


def test_complaints_about_one_source_come_once_a_second() -> None:
    two = Node(2)
    lines = []
    for _ in range(5_000):
        two.now_ns += MS
        two.open(b"garbage", "10.0.0.9")
        lines += two.security.take_complaints()
    assert len(lines) == 5
    assert [line.left_out for line in lines] == [0, 999, 999, 999, 999]
