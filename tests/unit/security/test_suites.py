"""Every suite seals what it opens again, refuses what was altered in any byte, and keeps to its announced sizes."""

from __future__ import annotations

import hmac

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from hypothesis import given
from hypothesis import strategies as st

from services.totem.security.envelope import HEADER_SIZE
from services.totem.security.suites import SUITES, Forged, Suite
from tests.unit.security.nodes import GCM, Node, acquaint

suites = pytest.mark.parametrize("suite", SUITES.values(), ids=lambda suite: suite.name)


def test_the_names_are_those_of_the_configuration() -> None:
    hashes = {"sha1", "sha256", "sha384", "sha512"}
    expected = {("aes256-gcm", "none"), ("aes128-gcm", "none")}
    assert set(SUITES) == expected | {(c, h) for c in ("aes128", "aes192", "aes256") for h in hashes}
    assert len({suite.number for suite in SUITES.values()}) == len(SUITES)


@suites
def test_what_is_sealed_opens_again_and_is_no_longer_than_announced(suite: Suite) -> None:
    one, two = Node(1, suite=suite), Node(2, suite=suite)
    acquaint(one, two)
    longest = 0
    for size in [*range(100), 1400, 1410, 9000, 60000]:
        frame = bytes(each * 7 & 0xFF for each in range(size))
        datagram = one.seal(frame)
        longest = max(longest, len(datagram) - size)
        assert two.open(datagram) == frame
        assert frame[:16] not in datagram or size < 4
    assert longest == suite.overhead_bytes


@suites
def test_every_altered_byte_and_every_truncation_is_refused(suite: Suite) -> None:
    one, two = Node(1, suite=suite), Node(2, suite=suite)
    acquaint(one, two)
    datagram = one.seal(b"a frame that is a little longer than one block")
    for at in range(len(datagram)):
        for flip in (0x01, 0x80, 0xFF):
            altered = bytearray(datagram)
            altered[at] ^= flip
            assert two.open(bytes(altered)) is None, (at, flip)
        assert two.open(datagram[:at]) is None
    assert two.open(datagram + b"\0") is None
    assert two.open(datagram) == b"a frame that is a little longer than one block"
    assert two.open(datagram) is None
    assert sum(two.security.counters[name] for name in ("truncated", "wrong_key")) > 3 * HEADER_SIZE


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=8))
def test_cbc_is_plain_cbc(contents: list[bytes]) -> None:
    """What the long-lived cipher objects make is what one CBC pass per packet would make of the same blocks."""
    suite = SUITES["aes256", "sha256"]
    key = bytes(range(suite.key_size))
    sealing, opening = suite.codec(key), suite.codec(key)
    for number, content in enumerate(contents, 1):
        header = bytes(32) + number.to_bytes(8, "big")
        datagram = sealing.seal(header, content)
        body = datagram[HEADER_SIZE : -suite.key_size + 32]
        decryptor = Cipher(AES(key[:32]), CBC(body[:16])).decryptor()
        padded = decryptor.update(body[16:]) + decryptor.finalize()
        assert padded == content + bytes([16 - len(content) % 16]) * (16 - len(content) % 16)
        if number % 3:  # lost packets do not matter to the ones that follow
            assert opening.open(datagram) == content


def test_cbc_survives_what_is_authentic_but_wrong() -> None:
    suite = SUITES["aes128", "sha1"]
    key = bytes(suite.key_size)
    codec, header = suite.codec(key), bytes(39) + b"\1"
    for body in (b"x" * 32, b"x" * 33, b"x" * 47, b"x" * 480):
        sealed = header + body
        with pytest.raises(Forged):
            codec.open(sealed + hmac.digest(key[16:], sealed, "sha1"))
    assert codec.open(codec.seal(header, b"as before")) == b"as before"


def test_suites_do_not_mix() -> None:
    one, two = Node(1, suite=GCM), Node(2, suite=SUITES["aes128-gcm", "none"])
    assert two.open(one.seal(b"frame")) is None
    assert two.count("other_suite") == 1
