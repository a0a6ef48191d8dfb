"""Packets of forward secret rings: sealed with the ring's key, opened by its members, and by nobody else."""

from __future__ import annotations

import hashlib
from itertools import count

import pytest

from services.totem.security.envelope import RING_VERSION, Content, prefix_of
from services.totem.security.opener import TRIES_BURST, TRIES_PER_SECOND
from services.totem.security.packets import PacketSecurity
from services.totem.security.ring_keys import NEVER_NS, Pace
from services.totem.security.suites import SUITES, Suite
from services.totem.wire.base import RingId
from services.totem.wire.frames import HoldCancel, Token, encode_hold_cancel, encode_mcast, encode_token
from tests.unit.security.nodes import GCM, KEY, MS, OTHER_KEY, Node, acquaint

A, B = RingId(1, 4), RingId(1, 8)
SECRETS = {A: b"a" * 32, B: b"b" * 32}
HOUR_NS = 3_600_000 * MS


class Member(Node):
    """A node whose rings have secrets."""

    def __init__(self, node: int, *, suite: Suite = GCM, key: bytes = KEY) -> None:
        super().__init__(node, suite=suite, key=key)
        numbers = count()

        def draw() -> bytes:
            return hashlib.sha256(f"{node} {next(numbers)}".encode()).digest()

        boot = self.security.sealer.boot
        members = frozenset({1, 2, 3})
        self.security = PacketSecurity(suite, key, "test", node, members, boot, lambda: draw()[:16], draw)

    def into(self, ring: RingId, *, install: bool = True) -> None:
        assert self.security.rings is not None
        self.security.rings.form(ring, SECRETS[ring])
        if install:
            self.security.rings.install()


def data(ring: RingId = A, payload: bytes = b"data") -> bytes:
    return encode_mcast(1, 1, 1, ring, payload)


def token(ring: RingId = A) -> bytes:
    return encode_token(Token(1, 1, 1, 1, 0, ring))


def three(suite: Suite = GCM) -> list[Member]:
    members = [Member(node, suite=suite) for node in (1, 2, 3)]
    acquaint(*members)
    for each in members:
        each.into(A)
    return members


@pytest.mark.parametrize("suite", SUITES.values(), ids=lambda suite: suite.name)
def test_members_open_what_members_seal_one_by_one_and_together(suite: Suite) -> None:
    one, two, three_ = three(suite)
    frames = [data(payload=bytes(size)) for size in (0, 1, 15, 16, 1300)]
    sealed = [*map(one.seal, frames), *one.security.seal_all(frames)]
    assert all(prefix_of(each).version == RING_VERSION for each in sealed)
    assert [two.open(each) for each in sealed] == frames * 2
    assert [three_.open(each) for each in sealed] == frames * 2
    for _ in range(3):
        passed = one.security.seal_for(2, token())
        assert prefix_of(passed).content == Content.TOKEN
        assert two.open(passed) == token()
        assert three_.open(passed) is None, "it is for node 2"
    assert two.open(sealed[0]) is None
    assert two.count("replayed") == 1


def test_what_is_not_of_the_ring_stays_under_the_key_of_the_cluster() -> None:
    one, two, _ = three()
    cancel = encode_hold_cancel(HoldCancel(1, A))
    for sealed in (one.seal(cancel), one.security.seal_all([cancel])[0], one.security.seal_to_keep(cancel)):
        assert prefix_of(sealed).version == 1
        assert two.open(sealed) == cancel
    mixed = one.security.seal_all([data(), cancel, data()])
    assert [two.open(each) for each in mixed] == [data(), cancel, data()]


@pytest.mark.parametrize("frame", [data(), token()], ids=["data", "token"])
def test_a_frame_of_the_ring_under_the_key_of_the_cluster_is_refused(frame: bytes) -> None:
    """As somebody makes it who has the key file, and knows which boot node 1 has."""
    one, two, _ = three()
    thief = Node(1)
    forged = [thief.seal(frame) for _ in range(300)][-1]
    assert two.open(forged) is None
    assert two.count("not_ring_key") == 1
    assert two.open(one.seal(data())) == data()
    of_another_ring = thief.seal(data(B))
    assert two.open(of_another_ring) == data(B), "it may be of a ring that has no secret"


def test_who_is_in_another_ring_opens_nothing_and_says_nothing() -> None:
    one, two, three_ = three()
    three_.into(B)
    three_.security.take_complaints()
    assert three_.open(one.seal(data())) is None
    assert three_.count("other_ring") == 1
    never_seen = Member(2)
    never_seen.into(A)
    never_seen.security.begin_boot(bytes(16))
    before = three_.count("unknown_boot")
    assert three_.open(never_seen.seal(data())) is None
    assert three_.count("unknown_boot") == before + 1
    assert three_.security.take_complaints() == []
    assert not three_.security.has_output
    plain = Node(3)
    assert plain.open(one.seal(data())) is None
    assert plain.count("other_version") == 1
    assert two.open(one.seal(data())) == data()


def test_the_ring_before_opens_until_the_next_one_is_installed() -> None:
    one, two, _ = three()
    late = [one.seal(data()) for _ in range(2)]
    one.into(B, install=False)
    two.into(B, install=False)
    assert two.open(one.seal(data(B))) == data(B)
    assert two.open(late[0]) == data()
    assert two.security.rings is not None
    two.security.rings.install()
    assert two.open(late[1]) is None
    assert two.open(one.seal(data(B))) == data(B)


def test_members_go_on_to_the_next_epoch_without_losing_a_packet() -> None:
    one, two, three_ = three()
    for each in (one, two, three_):
        each.security.tend(each.now_ns)
    before = one.seal(data())
    late = three_.seal(data())
    one.now_ns += HOUR_NS
    assert one.now_ns >= one.security.tend_due_ns
    one.security.tend(one.now_ns)
    after = one.seal(data())
    assert prefix_of(before).ring_tag != prefix_of(after).ring_tag
    assert two.open(after) == data()
    assert two.open(before) == data()
    assert prefix_of(two.seal(data())).ring_tag == prefix_of(after).ring_tag
    assert two.open(late) == data()
    for _ in range(2):
        two.now_ns += Pace().kept_ns
        two.security.tend(two.now_ns)
    assert two.open(three_.seal(data())) is None
    assert three_.open(one.seal(data())) == data()
    assert two.open(three_.seal(data())) == data()


def test_a_change_of_the_key_goes_through_and_shuts_out_who_has_the_old_one() -> None:
    members = three()
    old = members[0].security.key_in_use
    for each in members:
        new = each.security.install_key(OTHER_KEY)
    one, two, _ = members
    one.security.use_key(new)
    assert two.open(one.seal(data())) == data()
    assert one.open(two.seal(data())) == data()
    two.security.use_key(new)
    stale = Member(2)
    stale.into(A)
    one.security.remove_key(old)
    assert one.open(two.seal(data())) == data()
    assert one.open(stale.seal(data())) is None
    assert one.count("wrong_key") == 1


def test_an_epoch_may_end_after_a_change_of_the_key_and_before_the_next_packet() -> None:
    """The key that sealed last is gone by then."""
    one, two, _ = three()
    for each in (one, two):
        old = each.security.key_in_use
        each.security.use_key(each.security.install_key(OTHER_KEY))
        each.security.remove_key(old)
        each.security.tend(each.now_ns)
        each.now_ns += HOUR_NS
        each.security.tend(each.now_ns)
    assert two.open(one.seal(data())) == data()


def test_a_copied_memory_goes_on_under_another_boot_in_the_same_ring() -> None:
    one, two, _ = three()
    one.security.begin_boot(bytes(range(16)))
    sealed = one.seal(data())
    assert prefix_of(sealed).ring_tag
    assert two.open(sealed) is None
    assert two.count("challenges_sent") >= 1


def test_a_flood_of_invented_boots_does_not_keep_members_from_each_other() -> None:
    """All tries are used up, and a ring is formed."""
    one, two, _ = three()
    invented = bytearray(one.seal(encode_hold_cancel(HoldCancel(1, A))))
    for number in range(TRIES_PER_SECOND + TRIES_BURST):
        invented[14:22] = number.to_bytes(8)
        two.open(bytes(invented))
    assert two.count("not_tried") > 0
    one.into(B)
    two.into(B)
    assert two.open(one.seal(data(B))) == data(B)


def test_nothing_is_to_be_done_without_a_ring() -> None:
    assert Member(1).security.tend_due_ns == NEVER_NS
    assert Node(1).security.tend_due_ns == NEVER_NS
