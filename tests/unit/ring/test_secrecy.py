"""With whom a ring is formed where forward secrecy is asked for, and what is done with joins and commit tokens."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from itertools import count
from typing import NamedTuple

import pytest

from services.totem.ring import secrecy
from services.totem.ring.events import EVERYBODY, Notice, NoticeCode, State
from services.totem.ring.options import RingOptions
from services.totem.ring.ring import Ring
from services.totem.security.agreement import Agreement
from services.totem.security.keys import Keyring
from services.totem.security.ring_keys import RingKeys
from services.totem.security.suites import SUITES
from services.totem.wire.base import Reason, RingId
from services.totem.wire.frames import (
    KIND_AT,
    Commit,
    CommitEntry,
    Join,
    Kind,
    Merge,
    decode,
    encode_commit,
    encode_join,
    encode_merge,
)

GCM = SUITES["aes256-gcm", "none"]
PUBLIC = bytes(range(1, 33))


def drawer(name: str) -> Callable[[], bytes]:
    numbers = count()
    return lambda: hashlib.sha256(f"{name} {next(numbers)}".encode()).digest()


class Member(NamedTuple):
    ring: Ring
    keys: RingKeys


def member(node: int, mode: str, members: tuple[int, ...] = (1, 2, 3)) -> Member:
    keyring = Keyring(GCM, "test", bytes(range(200)))
    keys = RingKeys(keyring)
    keeper = Agreement(keyring, keys, node, drawer(f"{node} {mode}"), required=mode == "yes")
    options = RingOptions(members=frozenset(members))
    ring = Ring(options, node, 0, 0, lambda n: 0, keeper=keeper if mode != "no" else None)
    ring.start(0)
    return Member(ring, keys)


def exchange(*members: Member) -> None:
    """Deliver all that is sent, and let time pass where nothing is, until all are in one ring."""
    rings = {each.ring.parts.node_id: each.ring for each in members}
    now_ns = 0
    for _ in range(2000):
        packets = [(node, packet) for node, ring in rings.items() for packet in ring.output.take_packets()]
        for node, (target, frame) in packets:
            for other, ring in rings.items():
                if target in (other, EVERYBODY) and (other != node or frame[KIND_AT] != Kind.MCAST):
                    ring.receive(frame, now_ns)
        if all(ring.members == tuple(sorted(rings)) for ring in rings.values()):
            return
        if not packets:
            now_ns = max(now_ns, min(ring.next_deadline_ns() or 0 for ring in rings.values()))
            for ring in rings.values():
                ring.advance(now_ns)
    raise AssertionError("no ring is formed")


def own_join(ring: Ring) -> Join:
    joins = [decode(frame) for target, frame in ring.output.take_packets() if target == EVERYBODY]
    (join,) = [each for each in joins if isinstance(each, Join)][-1:]
    return join


def dropped(ring: Ring, reason: Reason) -> int:
    return ring.counters.dropped[reason]


def notices(ring: Ring) -> list[Notice]:
    events = ring.output.take_events()
    return [each for each in events if isinstance(each, Notice) and each.code is NoticeCode.SECRECY_DIFFERS]


@pytest.mark.parametrize("mode", ["auto", "yes"])
def test_members_that_all_have_it_form_a_ring_with_a_secret(mode: str) -> None:
    members = [member(node, mode) for node in (1, 2, 3)]
    exchange(*members)
    assert [each.ring.members for each in members] == [(1, 2, 3)] * 3
    assert all(each.ring.secrecy.in_force for each in members)
    assert len({each.keys.sealing.tag for each in members if each.keys.sealing is not None}) == 1


def test_with_one_that_does_not_have_it_there_is_none_and_all_know_why() -> None:
    members = [member(1, "auto"), member(2, "no"), member(3, "auto")]
    exchange(*members)
    assert [each.ring.members for each in members] == [(1, 2, 3)] * 3
    assert not any(each.ring.secrecy.in_force for each in members)
    assert members[0].keys.sealing is None
    assert members[0].ring.secrecy.without == members[2].ring.secrecy.without == {2}


def test_a_join_says_whether_a_secret_is_required_and_repeats_its_key() -> None:
    ring = member(1, "yes").ring
    join = own_join(ring)
    assert join.secrecy_required
    assert len(join.public) == 32
    ring.advance(50_000_000)
    assert own_join(ring).public == join.public
    assert own_join(member(1, "no").ring).public == b""


def test_who_requires_it_refuses_one_without_once_with_a_line() -> None:
    ring = member(1, "yes").ring
    for _ in range(3):
        ring.receive(encode_join(Join(2, 2, (1, 2), (), 1)), 0)
    assert dropped(ring, Reason.SECRECY_DIFFERS) == 3
    assert ring.secrecy.refused == {2}
    assert [each.detail for each in notices(ring)] == [(2, True)]
    assert ring.parts.consensus.proc == {1}


def test_who_has_it_switched_off_refuses_one_that_requires_it() -> None:
    ring = member(1, "no").ring
    ring.receive(encode_join(Join(2, 2, (1, 2), (), 1, PUBLIC, True)), 0)
    assert dropped(ring, Reason.SECRECY_DIFFERS) == 1
    assert [each.detail for each in notices(ring)] == [(2, False)]
    ring.receive(encode_join(Join(2, 2, (1, 2), (), 1, PUBLIC, False)), 0)
    assert ring.secrecy.refused == set()
    assert ring.parts.consensus.proc == {1, 2}


def test_a_ring_with_one_that_requires_it_refuses_others_without_also_where_it_is_not_required() -> None:
    members = [member(1, "yes"), member(2, "auto")]
    exchange(*members)
    auto = members[1].ring
    assert auto.members == (1, 2)
    auto.receive(encode_join(Join(3, 3, (3,), (), 1)), 0)
    assert dropped(auto, Reason.SECRECY_DIFFERS) == 1
    auto.receive(encode_merge(Merge(3, 3, RingId(3, 40))), 0)
    assert dropped(auto, Reason.SECRECY_DIFFERS) == 2


def test_a_ring_without_a_secret_is_not_taken_where_one_is_required() -> None:
    """A commit token without keys, from one with whom all was agreed."""
    ring = member(2, "yes").ring
    join = Join(1, 1, (1, 2), (), 1, PUBLIC, False)
    ring.receive(encode_join(join), 0)
    ring.receive(encode_join(join), 0)
    entry = [CommitEntry(RingId(1, 1)), CommitEntry()]
    ring.receive(encode_commit(Commit(1, 1, RingId(1, 40), (1, 2), entry, memb_index=1)), 0)
    assert dropped(ring, Reason.BAD_SECRET) == 1
    assert ring.state is State.GATHER


def test_a_commit_token_whose_secret_does_not_open_changes_nothing() -> None:
    ring = member(2, "auto").ring
    join = Join(1, 1, (1, 2), (), 1, PUBLIC, False)
    ring.receive(encode_join(join), 0)
    ring.receive(encode_join(join), 0)
    keys = (PUBLIC, own_join(ring).public)
    entry = [CommitEntry(RingId(1, 1)), CommitEntry()]
    token = Commit(1, 1, RingId(1, 40), (1, 2), entry, memb_index=1, publics=keys, box=bytes(50))
    ring.receive(encode_commit(token), 0)
    assert dropped(ring, Reason.BAD_SECRET) == 1
    assert ring.state is State.GATHER
    ring.receive(
        encode_commit(Commit(9, 1, RingId(1, 40), (1, 2), entry, memb_index=1, publics=keys, box=bytes(50))), 0
    )
    assert dropped(ring, Reason.BAD_SECRET) == 2


def test_a_busy_ring_announces_itself_only_while_nodes_are_missing_that_cannot_read_it() -> None:
    everybody = [member(node, "auto", (1, 2)) for node in (1, 2)]
    without_one = [member(node, "auto") for node in (1, 2)]
    for members, announces in ((everybody, False), (without_one, True)):
        exchange(*members)
        assert secrecy.announces(members[0].ring.parts) is announces


def test_who_leaves_wipes_its_secret() -> None:
    members = [member(1, "auto"), member(2, "auto")]
    exchange(*members)
    epoch = members[0].keys.sealing
    assert epoch is not None
    members[0].ring.leave(0)
    assert epoch.secret == bytes(32)
    assert members[0].keys.sealing is None
