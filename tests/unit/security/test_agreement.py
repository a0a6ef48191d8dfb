"""Members come to one secret by passing a commit token round twice, and keep nothing of it but the ring's."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from itertools import count

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from services.totem.security.agreement import Agreement
from services.totem.security.forward import BOX_SIZE
from services.totem.security.keys import Keyring
from services.totem.security.ring_keys import RingKeys
from tests.unit.security.nodes import GCM, KEY, OTHER_KEY

RING = (1, 4)


def drawer(name: str) -> Callable[[], bytes]:
    numbers = count()
    return lambda: hashlib.sha256(f"{name} {next(numbers)}".encode()).digest()


class Member:
    def __init__(self, node: int, key: bytes = KEY, draws: str = "") -> None:
        self.node = node
        self.keyring = Keyring(GCM, "test", key)
        self.rings = RingKeys(self.keyring)
        self.agreement = Agreement(self.keyring, self.rings, node, drawer(draws or str(node)), required=False)


def pass_round(members: list[Member], ring: tuple[int, int] = RING) -> list[bool]:
    """Two rounds of a commit token, the lowest first; whether each member could take the secret, hop by hop."""
    nodes = [each.node for each in members]
    publics = [each.agreement.public() for each in members]
    members[0].agreement.start()
    members[0].agreement.stir()
    taken, sender = [], members[0]
    for hop in range(1, 2 * len(members)):
        at = hop % len(members)
        receiver, public = members[at], publics[members.index(sender)]
        box = sender.agreement.give(ring, hop, receiver.node, publics[at])
        taken.append(receiver.agreement.take(ring, hop, sender.node, public, box))
        if hop < len(members):
            receiver.agreement.stir()
        else:
            receiver.agreement.form(ring, nodes, publics)
        sender = receiver
    for each in members:
        each.agreement.forget()
    return taken


def tags(members: list[Member]) -> set[int]:
    return {each.rings.sealing.tag for each in members if each.rings.sealing is not None}


@pytest.mark.parametrize("nodes", [1, 2, 3, 16])
def test_all_come_to_the_same_secret_and_each_ring_to_another(nodes: int) -> None:
    members = [Member(node) for node in range(1, nodes + 1)]
    seen = []
    for ring in ((1, 4), (1, 8), (1, 12)):
        assert all(pass_round(members, ring))
        seen.append(tags(members))
    assert all(len(each) == 1 for each in seen)
    assert len(set.union(*seen)) == 3


def test_every_member_has_given_something_to_it() -> None:
    """Whoever draws other bytes, the secret is another one."""
    found = set()
    for other in (None, 1, 2, 3):
        members = [Member(node, draws="another" if node == other else "") for node in (1, 2, 3)]
        pass_round(members)
        found |= tags(members)
    assert len(found) == 4


def held_by(agreement: Agreement) -> list[bytearray | X25519PrivateKey]:
    """The buffers and private keys that it has."""
    values = [
        each for value in vars(agreement).values() for each in (value.values() if type(value) is dict else [value])
    ]
    return [each for each in values if isinstance(each, bytearray | X25519PrivateKey)]


def test_a_pair_lasts_for_one_forming_and_nothing_of_it_stays() -> None:
    members = [Member(1), Member(2)]
    before = [each.agreement.public() for each in members]
    first = members[0].agreement
    first.start()
    first.give(RING, 1, 2, before[1])
    buffers = [each for each in held_by(first) if isinstance(each, bytearray)]
    assert len(buffers) == 2
    assert all(any(each) for each in buffers)
    pass_round(members)
    assert not any(any(each) for each in buffers)
    assert [each for each in held_by(first) if not isinstance(each, bytearray)] == []
    assert not any(any(each) for each in held_by(first) if isinstance(each, bytearray))
    assert all(each.agreement.public() not in before for each in members)


def test_a_recorded_box_does_not_open_later() -> None:
    one, two = members = [Member(1), Member(2)]
    one.agreement.start()
    publics = [each.agreement.public() for each in members]
    box = one.agreement.give(RING, 1, 2, publics[1])
    assert two.agreement.take(RING, 1, 1, publics[0], box)
    two.agreement.forget()
    assert not two.agreement.take(RING, 1, 1, publics[0], box)


@pytest.mark.parametrize("box", [b"", bytes(BOX_SIZE), bytes(BOX_SIZE - 1), b"\xff" * BOX_SIZE])
def test_a_box_that_is_none_is_refused(box: bytes) -> None:
    one, two = Member(1), Member(2)
    assert not two.agreement.take(RING, 1, 1, one.agreement.public(), box)


def test_a_node_with_another_key_file_is_not_let_in() -> None:
    assert not all(pass_round([Member(1), Member(2, OTHER_KEY)]))


def test_during_a_change_of_the_key_each_may_use_another_one() -> None:
    members = [Member(1), Member(2), Member(3)]
    for each in members:
        new = each.keyring.install(OTHER_KEY)
    members[1].keyring.use(new)
    assert all(pass_round(members))
    assert len(tags(members)) == 1


def test_a_public_key_that_is_none_gives_no_box() -> None:
    one = Member(1)
    one.agreement.start()
    assert one.agreement.give(RING, 1, 2, bytes(32)) == b""
