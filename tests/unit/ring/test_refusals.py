"""What a ring refuses: well-formed frames that no honest node sends. Each is counted, and nothing else changes."""

from __future__ import annotations

import random

import pytest

from services.totem.ring.events import EVERYBODY, State, SyncStep
from services.totem.ring.options import RingOptions
from services.totem.ring.ring import Ring
from services.totem.wire.base import Reason, RingId
from services.totem.wire.frames import (
    PROCESSORS_MAX,
    Commit,
    CommitEntry,
    HoldCancel,
    Join,
    Merge,
    Token,
    encode_commit,
    encode_hold_cancel,
    encode_join,
    encode_mcast,
    encode_merge,
    encode_token,
)

MEMBERS = frozenset({1, 2, 3})
MS = 1_000_000


def settle(ring: Ring, now_ns: int) -> list[tuple[int, bytes]]:
    """Loop back what the ring sends to itself until nothing more comes; what went to others."""
    sent: list[tuple[int, bytes]] = []
    for _ in range(10_000):
        for event in ring.output.take_events():
            if isinstance(event, SyncStep):
                ring.sync_reply(event.ring, event.service, [])
        packets = ring.output.take_packets()
        sent += packets
        back = [f for to, f in packets if to == 1 or (to == EVERYBODY and f[3] != 1)]
        if not back and not ring.output.packets:
            return sent
        for frame in back:
            ring.receive(frame, now_ns)
    raise AssertionError("the ring does not come to rest")


@pytest.fixture
def ring() -> Ring:
    """Node 1, alone in its ring, idle: the token is held."""
    ring = Ring(RingOptions(members=MEMBERS), 1, 0, 0, lambda n: 0)
    ring.start(0)
    settle(ring, 0)
    assert ring.state is State.OPERATIONAL
    assert not ring.syncing
    return ring


ADDRESSES = (1, 2, 3)
HERE = RingId(1, 5)
REFUSED = {
    "join far ahead": (encode_join(Join(2, 2, (2,), (), 2**64 - 5)), Reason.SEQUENCE_JUMP),
    "join of a stranger": (encode_join(Join(9, 9, (9,), (), 1)), Reason.UNKNOWN_MEMBER),
    "join that names a stranger": (encode_join(Join(2, 2, (2, 9), (), 1)), Reason.UNKNOWN_MEMBER),
    "join that fails a stranger": (encode_join(Join(2, 2, (2,), (9,), 1)), Reason.UNKNOWN_MEMBER),
    "join without its sender": (encode_join(Join(2, 2, (1, 3), (), 1)), Reason.BAD_STATE),
    "join under another name": (encode_join(Join(3, 2, (2,), (), 1)), Reason.BAD_STATE),
    "join of nobody": (encode_join(Join(0, 0, (), (), 1)), Reason.BAD_STATE),
    "commit token without us": (
        encode_commit(Commit(2, 1, RingId(2, 99), (2, 3), [CommitEntry(), CommitEntry()])),
        Reason.BAD_STATE,
    ),
    "commit token out of order": (
        encode_commit(Commit(2, 1, RingId(1, 99), (3, 2, 1), [CommitEntry()] * 3)),
        Reason.BAD_STATE,
    ),
    "commit token far ahead": (
        encode_commit(Commit(2, 1, RingId(1, 2**63 + 4), ADDRESSES, [CommitEntry()] * 3)),
        Reason.SEQUENCE_JUMP,
    ),
    "merge detect of a stranger": (encode_merge(Merge(9, 9, RingId(9, 8))), Reason.UNKNOWN_MEMBER),
    "hold cancel of a stranger": (encode_hold_cancel(HoldCancel(9, HERE)), Reason.UNKNOWN_MEMBER),
    "foreign packet of a stranger": (encode_mcast(9, 1, 1, RingId(9, 8), b""), Reason.UNKNOWN_MEMBER),
    "own-ring packet of a stranger": (encode_mcast(3, 9, 1, HERE, b""), Reason.UNKNOWN_MEMBER),
    "packet beyond the window": (encode_mcast(1, 40_000, 1, HERE, b""), Reason.OUT_OF_WINDOW),
    "token of a stranger": (encode_token(Token(2, 9, 99, 9, 0, HERE)), Reason.UNKNOWN_MEMBER),
}
NEXT = 39
"""token_seq that the ring of the fixture expects next."""
ASKS_FOR_THE_TOKEN = {
    "token from nowhere": (encode_token(Token(1, 9, 5_000, 9, 0, HERE)), Reason.OUT_OF_WINDOW),
    "token from before the window": (encode_token(Token(1, 0, NEXT, 0, 0, HERE)), Reason.OUT_OF_WINDOW),
    "token held down by a stranger": (encode_token(Token(1, 9, NEXT, 9, 7, HERE)), Reason.BAD_STATE),
}
"""These are refused too, and if they were true the ring would be lost: an idle ring's token is fetched to see that."""


@pytest.mark.parametrize("name", REFUSED)
def test_refused_and_counted(ring: Ring, name: str) -> None:
    frame, reason = REFUSED[name]
    before = (ring.state, ring.ring_id, ring.members)
    dropped = ring.counters.dropped.get(reason, 0)
    ring.receive(frame, 10 * MS)
    assert ring.output.take_packets() == []
    assert ring.output.take_events() == []
    assert (ring.state, ring.ring_id, ring.members) == before
    assert ring.counters.dropped.get(reason, 0) == dropped + 1


@pytest.mark.parametrize("name", ASKS_FOR_THE_TOKEN)
def test_a_token_that_cannot_be_taken_has_the_true_one_come_round(ring: Ring, name: str) -> None:
    frame, reason = ASKS_FOR_THE_TOKEN[name]
    before = (ring.ring_id, ring.members)
    assert ring.parts.rotation.token_seq == NEXT - 1
    now_ns = 10 * MS
    ring.receive(frame, now_ns)
    assert ring.counters.dropped == {reason: 1}
    sent = settle(ring, now_ns)
    assert sent
    assert {frame[3] for _, frame in sent} == {0}
    ring.advance(now_ns + 500 * MS)
    assert ring.state is State.OPERATIONAL
    assert (ring.ring_id, ring.members) == before


def test_a_token_that_gives_only_the_last_number_away_again_is_refused() -> None:
    """It is within the window, and everything else about it is what the next token will say."""
    passed: dict[str, object] = {}

    def observe(name: str, fields: dict[str, object]) -> None:
        if name == "token_out":
            passed.update(fields)

    ring = Ring(RingOptions(members=MEMBERS), 1, 0, 0, lambda n: 0, observe)
    ring.start(0)
    settle(ring, 0)
    last, token_seq = passed["seq"], passed["token_seq"]
    assert isinstance(last, int)
    assert isinstance(token_seq, int)
    ring.receive(encode_token(Token(1, last - 1, token_seq, last - 1, 0, HERE)), 10 * MS)
    assert ring.counters.dropped == {Reason.OUT_OF_WINDOW: 1}


def test_without_a_nodelist_the_number_of_strangers_is_bounded() -> None:
    ring = Ring(RingOptions(), 1, 0, 0, lambda n: 0)
    ring.start(0)
    settle(ring, 0)
    for first in range(2, 5000, 100):
        nodes = tuple(range(first, first + 100))
        ring.receive(encode_join(Join(first, first, nodes, (), 1)), 20 * MS)
        settle(ring, 20 * MS)
    joins = [f for _, f in settle(ring, 20 * MS)]
    assert ring.counters.dropped[Reason.TOO_MANY_ENTRIES] > 0
    assert all(len(frame) <= 33 + 4 * 2 * PROCESSORS_MAX for frame in joins)


def test_random_datagrams_and_flipped_frames_change_nothing_but_counters(ring: Ring) -> None:
    """No exception, ever; damaged headers are counted. (Flips that leave a frame plausible may of course act.)"""
    source = random.Random(1)
    frames = [frame for frame, _ in (REFUSED | ASKS_FOR_THE_TOKEN).values()]
    count = 20_000
    for index in range(count):
        if index % 2:
            datagram = source.randbytes(source.randrange(200))
        else:
            damaged = bytearray(source.choice(frames))
            for _ in range(source.randrange(1, 5)):
                damaged[source.randrange(len(damaged))] ^= 1 << source.randrange(8)
            datagram = bytes(damaged[: source.randrange(len(damaged) + 1)])
        ring.receive(datagram, 30 * MS)
        settle(ring, 30 * MS)
    assert ring.counters.rx_msg_dropped > count // 2
