"""Keys of forward secret rings: known answers, each made a second way here, and what must differ does."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.totem.security.forward import (
    BOX_SIZE,
    TAGS,
    BadBox,
    hop_of,
    next_epoch,
    open_box,
    packet_key,
    pair_of,
    ring_secret,
    ring_tag,
    seal_box,
    shared_of,
    stirred,
)

CLUSTER_KEY = bytes(range(32))
RING, MEMBERS = (1, 0x1234), (1, 2, 3)
SECRET = bytes(range(100, 132))
SECRETS = st.binary(min_size=32, max_size=32)
ONE, TWO, THREE = (bytes([each]) * 32 for each in (1, 2, 3))


def public_of(private: bytes) -> bytes:
    return pair_of(private)[1]


def shared(private: bytes, public: bytes) -> bytes:
    return shared_of(pair_of(private)[0], public)


HOP = hop_of(RING, 1, 1, 2, (public_of(ONE), public_of(TWO)))


def extract(salt: bytes, ikm: bytes) -> bytes:
    """HKDF-Extract with SHA-256, written from RFC 5869."""
    return hmac.new(salt, ikm, hashlib.sha256).digest()


def expand(key: bytes, info: bytes, size: int) -> bytes:
    """HKDF-Expand with SHA-256, written from RFC 5869."""
    made, block, count = b"", b"", 0
    while len(made) < size:
        count += 1
        block = hmac.new(key, block + info + bytes([count]), hashlib.sha256).digest()
        made += block
    return made[:size]


def test_a_public_key_is_that_of_rfc_7748() -> None:
    """Section 5.2: the scalar 9 and the base point, once."""
    nine = bytes([9]) + bytes(31)
    assert public_of(nine).hex() == "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079"


def test_the_secret_of_a_ring_is_made_of_what_went_round_and_of_all_members_with_their_keys() -> None:
    publics = [public_of(each) for each in (ONE, TWO, THREE)]
    head = (1).to_bytes(4, "big") + (0x1234).to_bytes(8, "big") + (3).to_bytes(4, "big")
    told = b"".join(node.to_bytes(4, "big") + public for node, public in zip(MEMBERS, publics, strict=True))
    wanted = extract(b"rondo ring secret 1\0" + hashlib.sha256(head + told).digest(), SECRET)
    assert ring_secret(SECRET, RING, MEMBERS, publics) == wanted
    assert wanted.hex() == "d0484400a9207fb8ad8f04248ffeda066e623bc279f162c0c4c58631d771696f"


def test_epochs_tags_and_packet_keys() -> None:
    assert next_epoch(SECRET) == expand(SECRET, b"next epoch", 32)
    assert next_epoch(SECRET).hex() == "4f4e3a5cabf1ebff693c05fc1e7f49a94efa487715cc4e5315969f36214a54d3"
    assert ring_tag(SECRET) == 1 + int.from_bytes(expand(SECRET, b"ring tag", 4), "big") % TAGS
    boot = bytes(range(16))
    info = b"ring packet key\0" + b"\1" + (7).to_bytes(4, "big") + boot
    for size in (16, 32, 96):
        wanted = expand(extract(CLUSTER_KEY, SECRET), info, size)
        assert packet_key(CLUSTER_KEY, SECRET, 1, 7, boot, size) == wanted
    assert packet_key(CLUSTER_KEY, SECRET, 1, 7, boot, 16).hex() == "3e7c1f376727025aac020e7b808e9c96"


def test_what_a_member_stirs_in_is_a_key_of_the_result() -> None:
    assert stirred(SECRET, ONE) == extract(ONE, SECRET)


def test_a_box_opens_for_whom_it_is() -> None:
    box = seal_box(CLUSTER_KEY, shared(ONE, public_of(TWO)), HOP, SECRET)
    assert len(box) == BOX_SIZE - 2
    assert (
        box.hex() == "697dc09b61457700147bb10e9b554761d3f361844f7d0e8be4ddd61540541b4f8b3b7bd0009a7fbda474ee571372671e"
    )
    assert open_box(CLUSTER_KEY, shared(TWO, public_of(ONE)), HOP, box) == SECRET


@pytest.mark.parametrize(
    ("cluster_key", "private", "public", "hop"),
    [
        (bytes(32), TWO, public_of(ONE), HOP),
        (CLUSTER_KEY, THREE, public_of(ONE), HOP),
        (CLUSTER_KEY, TWO, public_of(THREE), HOP),
        (CLUSTER_KEY, TWO, public_of(ONE), hop_of((1, 0x1238), 1, 1, 2, (public_of(ONE), public_of(TWO)))),
        (CLUSTER_KEY, TWO, public_of(ONE), hop_of(RING, 2, 1, 2, (public_of(ONE), public_of(TWO)))),
        (CLUSTER_KEY, TWO, public_of(ONE), hop_of(RING, 1, 2, 1, (public_of(ONE), public_of(TWO)))),
        (CLUSTER_KEY, TWO, public_of(ONE), hop_of(RING, 1, 1, 2, (public_of(TWO), public_of(ONE)))),
    ],
    ids=["another key file", "another pair", "another sender", "another ring", "another hop", "turned round", "keys"],
)
def test_a_box_opens_for_nobody_else(cluster_key: bytes, private: bytes, public: bytes, hop: bytes) -> None:
    box = seal_box(CLUSTER_KEY, shared(ONE, public_of(TWO)), HOP, SECRET)
    with pytest.raises(BadBox):
        open_box(cluster_key, shared(private, public), hop, box)


@given(at=st.integers(0, BOX_SIZE - 3), bit=st.integers(0, 7))
def test_a_box_that_was_altered_opens_for_nobody(at: int, bit: int) -> None:
    box = bytearray(seal_box(CLUSTER_KEY, shared(ONE, public_of(TWO)), HOP, SECRET))
    box[at] ^= 1 << bit
    with pytest.raises(BadBox):
        open_box(CLUSTER_KEY, shared(TWO, public_of(ONE)), HOP, bytes(box))


@pytest.mark.parametrize("public", [bytes(32), bytes([1]) + bytes(31), b"", bytes(31)], ids=["0", "1", "none", "short"])
def test_a_key_with_which_everybody_has_the_same_secret_is_refused(public: bytes) -> None:
    with pytest.raises(BadBox):
        shared(ONE, public)


@given(SECRETS, SECRETS, st.permutations(MEMBERS))
def test_whatever_differs_gives_another_secret(secret: bytes, other: bytes, members: list[int]) -> None:
    """Of rings: what went round, the ring, its members, their keys; of what was stirred in: either."""
    publics = [public_of(each) for each in (ONE, TWO, THREE)]
    made = ring_secret(secret, RING, MEMBERS, publics)
    assert (ring_secret(other, RING, MEMBERS, publics) == made) is (other == secret)
    assert ring_secret(secret, (2, 0x1234), MEMBERS, publics) != made
    assert ring_secret(secret, RING, MEMBERS, publics[::-1]) != made
    assert (ring_secret(secret, RING, members, publics) == made) is (tuple(members) == MEMBERS)
    assert ring_secret(secret, RING, MEMBERS[:2], publics[:2]) != made
    assert (stirred(secret, ONE) == stirred(other, ONE)) is (other == secret)
    assert len({secret, made, next_epoch(secret), stirred(secret, ONE), stirred(secret, TWO)}) == 5


@given(SECRETS, st.integers(0, 2**32 - 1), st.binary(min_size=16, max_size=16))
def test_each_sender_boot_epoch_suite_and_key_file_has_a_packet_key_of_its_own(
    secret: bytes, sender: int, boot: bytes
) -> None:
    keys = {
        packet_key(CLUSTER_KEY, secret, 1, sender, boot, 32),
        packet_key(bytes(32), secret, 1, sender, boot, 32),
        packet_key(CLUSTER_KEY, next_epoch(secret), 1, sender, boot, 32),
        packet_key(CLUSTER_KEY, secret, 2, sender, boot, 32),
        packet_key(CLUSTER_KEY, secret, 1, sender ^ 1, boot, 32),
        packet_key(CLUSTER_KEY, secret, 1, sender, boot[::-1] + b"", 32) if boot != boot[::-1] else b"",
    }
    assert len(keys) == 6
    assert 1 <= ring_tag(secret) <= TAGS
