"""Secrets of rings come and go: what seals, what opens, when epochs end, and what is wiped."""

from __future__ import annotations

from services.totem.security.keys import Keyring
from services.totem.security.ring_keys import Pace, RingKeys, ring_bytes
from tests.unit.security.nodes import GCM, KEY, OTHER_KEY

A, B, C = (1, 4), (1, 8), (1, 12)
SECOND_NS = 1_000_000_000
HOUR_NS = 3600 * SECOND_NS


def ring_keys() -> RingKeys:
    return RingKeys(Keyring(GCM, "test", KEY))


NUMBER = Keyring(GCM, "test", KEY).in_use
"""Of the key; it follows from it."""


def installed(ring: tuple[int, int] = A, secret: bytes = b"a" * 32) -> RingKeys:
    keys = ring_keys()
    keys.form(ring, secret)
    keys.install()
    keys.tend(0, 0)
    return keys


def tag_of(keys: RingKeys) -> int:
    assert keys.sealing is not None
    return keys.sealing.tag


def test_without_a_secret_nothing_is_protected() -> None:
    keys = ring_keys()
    keys.form(A, None)
    keys.install()
    assert keys.sealing is None
    assert not keys.protected
    assert not keys.is_forward_secret


def test_the_ring_before_opens_until_the_next_one_is_installed_and_is_wiped_then() -> None:
    keys = installed()
    first = keys.sealing
    assert first is not None
    keys.form(B, b"b" * 32)
    assert keys.sealing is not first
    assert keys.knows(first.tag)
    assert keys.protected == {ring_bytes(A), ring_bytes(B)}
    keys.install()
    assert not keys.knows(first.tag)
    assert first.secret == bytes(32)
    assert keys.protected == {ring_bytes(B)}


def test_a_ring_that_was_formed_in_vain_is_wiped_when_another_one_is_going_to_be() -> None:
    keys = installed()
    at_rest = keys.sealing
    keys.form(B, b"b" * 32)
    vain = keys.sealing
    assert vain is not None
    keys.abandon()
    assert vain.secret == bytes(32)
    assert keys.sealing is at_rest, "never the key of the cluster where the installed ring has a secret"
    keys.form(C, b"c" * 32)
    keys.form(B, b"d" * 32)
    assert keys.protected == {ring_bytes(A), ring_bytes(B)}


def test_the_end_wipes_everything() -> None:
    keys = installed()
    first = keys.sealing
    keys.form(B, b"b" * 32)
    second = keys.sealing
    keys.end()
    assert [each.secret for each in (first, second) if each is not None] == [bytearray(32)] * 2
    assert keys.sealing is None


def test_an_epoch_ends_after_an_hour_and_the_one_before_is_kept_for_a_minute() -> None:
    keys = installed()
    first = keys.sealing
    assert first is not None
    keys.tend(10, HOUR_NS - 1)
    assert keys.sealing is first
    keys.tend(10, HOUR_NS)
    assert keys.sealing is not first
    assert keys.epochs_begun == 1
    keys.tend(10, HOUR_NS + SECOND_NS)
    keys.tend(10, HOUR_NS + 60 * SECOND_NS)
    assert keys.knows(first.tag)
    keys.tend(10, HOUR_NS + 62 * SECOND_NS)
    assert not keys.knows(first.tag)
    assert first.secret == bytes(32)


def test_an_epoch_ends_after_many_packets() -> None:
    keys = installed()
    first = tag_of(keys)
    keys.tend(Pace().packets - 1, SECOND_NS)
    assert tag_of(keys) == first
    keys.tend(Pace().packets, 2 * SECOND_NS)
    assert tag_of(keys) != first


def test_who_hears_the_next_epoch_goes_along_and_comes_to_the_same() -> None:
    early, late = installed(), installed()
    early.tend(0, HOUR_NS)
    late.heard(tag_of(late))
    assert late.epochs_begun == 0
    assert late.knows(tag_of(early))
    boot = bytes(16)
    for keys in (early, late):
        codec = keys.codec(NUMBER, tag_of(early), 1, boot)
        assert codec is not None
        assert codec.open(codec.seal(bytes(40), b"frame")) == b"frame"
    late.heard(tag_of(early))
    assert tag_of(late) == tag_of(early)
    assert late.epochs_begun == 1


def test_what_is_two_epochs_ahead_or_of_another_ring_is_not_known() -> None:
    far, near = installed(), installed()
    far.tend(0, HOUR_NS)
    far.tend(0, HOUR_NS + SECOND_NS)
    far.tend(0, 2 * HOUR_NS + SECOND_NS)
    assert far.epochs_begun == 2
    assert not near.knows(tag_of(far))
    assert near.codec(NUMBER, tag_of(far), 1, bytes(16)) is None
    assert not near.knows(tag_of(installed(secret=b"b" * 32)))


def test_the_key_of_the_cluster_is_mixed_in() -> None:
    keyring = Keyring(GCM, "test", KEY)
    keys, other = RingKeys(keyring), keyring.install(OTHER_KEY)
    keys.form(A, b"a" * 32)
    codecs = [keys.codec(number, tag_of(keys), 1, bytes(16)) for number in (NUMBER, other)]
    sealed = [codec.seal(bytes(40), b"frame") for codec in codecs if codec is not None]
    assert len(set(sealed)) == 2
