"""What a node must not be able to do to another, whatever it sends: nothing raises, and each refusal is counted."""

from __future__ import annotations

import random

import pytest

from services.control.quorum.events import Ring
from services.control.quorum.nodes import NODES_MAX
from services.control.quorum.settings import settle
from services.control.quorum.status import info
from services.control.quorum.votequorum import Votequorum
from services.control.quorum.wire import (
    Message,
    NodeInfo,
    Parameter,
    QdeviceReconfigure,
    QdeviceReg,
    Reconfigure,
    WireError,
    decode,
    encode,
)
from tests.unit.control.ring import options

U32_MAX = 0xFFFFFFFF
MESSAGES: list[Message] = [
    NodeInfo(2, 1, 3, 9),
    Reconfigure(2, 5, Parameter.VOTES),
    QdeviceReg(True, b"qdevice"),
    QdeviceReconfigure(b"one", b"two"),
]


def _node() -> Votequorum:
    votes = Votequorum(1, settle(options(), 1, {1: 1, 2: 1, 3: 1})[0])
    votes.sync_init(Ring(1, 4), [1, 2], 0)
    return votes


@pytest.mark.parametrize("message", MESSAGES)
def test_each_message_is_read_as_it_was_written(message: Message) -> None:
    assert decode(encode(message)) == message


@pytest.mark.parametrize("message", MESSAGES)
def test_a_shorter_message_is_refused(message: Message) -> None:
    data = encode(message)
    for size in range(len(data)):
        with pytest.raises(WireError):
            decode(data[:size])


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (encode(NodeInfo(3, 1, 3, 0)), "speaks for another node"),
        (encode(NodeInfo(0, 1, 0, 0)), "device of an unknown node"),
        (encode(Reconfigure(9, 1, Parameter.VOTES)), "votes of an unknown node"),
        (encode(Reconfigure(1, 1, 4)), "unknown parameter"),
        (encode(NodeInfo(2, 1, 3, 0))[:-1], "too short"),
        (b"\x04\x00\x05\x00" + bytes(28), "unknown function"),
        (b"\x00\x00\x02\x00" + bytes(28), "of another service"),
        (encode(QdeviceReg(True, b"x"))[:20] + b"x" * 260, "a name without its end"),
        (b"", "shorter than its header"),
    ],
)
def test_refused_and_counted(message: bytes, reason: str) -> None:
    votes = _node()
    before = votes.snapshot()
    votes.message(2, message)
    assert votes.refused == {reason: 1}
    assert votes.snapshot() == before


def test_the_table_of_nodes_is_bounded() -> None:
    votes = _node()
    for node in range(2, NODES_MAX + 3):
        votes.message(node, encode(NodeInfo(node, 1, 3, 0)))
    assert len(votes.nodes) == NODES_MAX
    assert votes.refused == {"too many nodes": 2}


def test_votes_beyond_all_measure_are_counted_in_32_bits() -> None:
    votes = _node()
    for node in (2, 3):
        votes.message(node, encode(NodeInfo(node, U32_MAX, U32_MAX, U32_MAX & ~2)))
    votes.message(2, encode(NodeInfo(0, U32_MAX, U32_MAX, U32_MAX)))
    assert votes.sync_step()


def test_random_messages_do_not_raise() -> None:
    rng = random.Random(7)
    numbers = [0, 1, 2, 3, 255, 256, 1 << 31, U32_MAX]
    votes = _node()
    for _ in range(3000):
        kind = rng.randrange(4)
        if kind == 0:
            flags = rng.choice([*numbers, rng.getrandbits(32)])
            data = encode(NodeInfo(rng.choice(numbers), rng.choice(numbers), rng.choice(numbers), flags))
        elif kind == 1:
            data = encode(Reconfigure(rng.choice(numbers), rng.choice(numbers), rng.randrange(5)))
        else:
            changed = bytearray(encode(rng.choice(MESSAGES)))
            changed[rng.randrange(len(changed))] = rng.randrange(256)
            data = bytes(changed)
        votes.message(rng.choice(numbers), data)
        if rng.random() < 0.1:
            votes.sync_init(Ring(1, 8), [*rng.sample([2, 3, 255], rng.randrange(3)), 1], 0)
            votes.sync_step()
            votes.sync_activate()
        assert info(votes, 1) is not None
    assert Votequorum.restore(votes.snapshot()).snapshot() == votes.snapshot()


@pytest.mark.parametrize("votes", [-1, 256, 1 << 32])
def test_a_client_s_numbers_are_checked(votes: int) -> None:
    node = _node()
    assert not node.set_expected(votes)
    assert not node.set_votes(1, votes)
    assert not node.outbox
    with pytest.raises(KeyError):
        node.set_votes(9, 1)
