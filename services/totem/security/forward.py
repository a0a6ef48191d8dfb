"""Derivation of the keys of a forward secret ring. Pure functions; docs/SECURITY.md has the argument.

    shared      = X25519(own ephemeral, the other's); an all-zero result is refused
    box key     = HKDF-Expand(HKDF-Extract(cluster key, shared), "ring box" 0 hop), used for one box only
    stirred     = HKDF-Extract(32 random bytes of the member, secret): on the first round of the commit token
    ring secret = HKDF-Extract("rondo ring secret 1" 0 transcript, secret after the first round): epoch 0
    next epoch  = HKDF-Expand(secret of the epoch, "next epoch", 32)
    ring tag    = HKDF-Expand(secret of the epoch, "ring tag", 4) mod 65535, plus 1: in the envelope
    packet key  = HKDF-Expand(HKDF-Extract(cluster key, secret of the epoch),
                              "ring packet key" 0 suite(1) sender(4) boot(16), as the suite needs)

HKDF is RFC 5869's with SHA-256, X25519 RFC 7748's. `hop` and `transcript` are made here, so that both ends use the
same. A hop identifies one passing of one commit token from one node to another. The transcript lists all members with
their ephemeral public keys. The cluster key is part of every sealing key, so breaking X25519 is not enough.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

SECRET_SIZE = 32
PUBLIC_SIZE = 32
BOX_SIZE = 2 + SECRET_SIZE + 16
"""Key number, sealed secret."""

TAGS = 65535
"""Ring tags are 1 to this. 0 in an envelope is no ring."""

_HOP = struct.Struct(">IQIII")
_RING = struct.Struct(">IQI")
_NONCE = bytes(12)
"""A constant nonce is safe, because a box key seals only one box."""


class BadBox(Exception):  # noqa: N818 - says what was found out
    """A box that this node cannot open: made for other keys, or altered."""


def pair_of(private: bytes) -> tuple[X25519PrivateKey, bytes]:
    """The key pair from 32 random bytes. OpenSSL holds the private key and overwrites it when it is freed."""
    key = X25519PrivateKey.from_private_bytes(private)
    return key, key.public_key().public_bytes_raw()


def shared_of(private: X25519PrivateKey, public: bytes) -> bytes:
    """The X25519 shared secret of two key pairs. Raises BadBox if the other's public key is invalid."""
    try:
        return private.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        raise BadBox from None  # of a wrong size, or a point that gives everybody the same secret


def hop_of(ring: tuple[int, int], token_seq: int, sender: int, target: int, publics: tuple[bytes, bytes]) -> bytes:
    """Identifies one passing of a commit token; no two boxes have the same. `publics`: the sender's and the
    target's."""
    return _HOP.pack(*ring, token_seq, sender, target) + publics[0] + publics[1]


def seal_box(cluster_key: bytes, shared: bytes | bytearray, hop: bytes, secret: bytes) -> bytes:
    """Seal the secret for the node with which this one has `shared`."""
    return AESGCM(_box_key(cluster_key, shared, hop)).encrypt(_NONCE, secret, hop)


def open_box(cluster_key: bytes, shared: bytes | bytearray, hop: bytes, box: bytes) -> bytes:
    """Open the secret in a box from the node with which this one has `shared`. Raises BadBox."""
    try:
        return AESGCM(_box_key(cluster_key, shared, hop)).decrypt(_NONCE, box, hop)
    except InvalidTag:
        raise BadBox from None


def stirred(secret: bytes | bytearray, own: bytes) -> bytes:
    """Mix 32 random bytes of a member into a secret: it is then as unpredictable as the best of all contributions."""
    return hmac.digest(own, secret, "sha256")


def ring_secret(
    secret: bytes | bytearray, ring: tuple[int, int], members: Sequence[int], publics: Sequence[bytes]
) -> bytes:
    """The secret of a ring's first epoch. A node that was told other members, or other keys, gets another secret."""
    transcript = hashlib.sha256(_RING.pack(*ring, len(members)))
    for node, public in zip(members, publics, strict=True):
        transcript.update(node.to_bytes(4, "big") + public)
    return hmac.digest(b"rondo ring secret 1\0" + transcript.digest(), secret, "sha256")


def next_epoch(secret: bytes | bytearray) -> bytes:
    """The secret of the next epoch. It does not reveal this one."""
    return _expand(secret, b"next epoch", SECRET_SIZE)


def ring_tag(secret: bytes | bytearray) -> int:
    """The tag of a ring's epoch in envelopes."""
    return 1 + int.from_bytes(_expand(secret, b"ring tag", 4), "big") % TAGS


def packet_key(cluster_key: bytes, secret: bytes | bytearray, suite: int, sender: int, boot: bytes, size: int) -> bytes:
    """The key for the packets of one boot of one member in one epoch, `size` bytes."""
    info = b"ring packet key\0" + bytes([suite]) + sender.to_bytes(4, "big") + boot
    return _expand(hmac.digest(cluster_key, secret, "sha256"), info, size)


def _box_key(cluster_key: bytes, shared: bytes | bytearray, hop: bytes) -> bytes:
    return _expand(hmac.digest(cluster_key, shared, "sha256"), b"ring box\0" + hop, 32)


def _expand(key: bytes | bytearray, info: bytes, size: int) -> bytes:
    return HKDFExpand(SHA256(), size, info).derive(key)
