"""The keys of a forward secret ring: what is derived from what. Pure functions; docs/SECURITY.md has the argument.

    shared      = X25519(own ephemeral, the other's); an all-zero result is refused
    box key     = HKDF-Expand(HKDF-Extract(cluster key, shared), "ring box" 0 hop), used for one box only
    stirred     = HKDF-Extract(32 random bytes of the member, secret): on the first round of the commit token
    ring secret = HKDF-Extract("rondo ring secret 1" 0 transcript, secret after the first round): epoch 0
    next epoch  = HKDF-Expand(secret of the epoch, "next epoch", 32)
    ring tag    = HKDF-Expand(secret of the epoch, "ring tag", 4) mod 65535, plus 1: in the envelope
    packet key  = HKDF-Expand(HKDF-Extract(cluster key, secret of the epoch),
                              "ring packet key" 0 suite(1) sender(4) boot(16), as the suite needs)

HKDF is RFC 5869's with SHA-256, X25519 RFC 7748's. `hop` and `transcript` are made here, so that both ends make the
same: a hop is one passing of one commit token from one node to another, the transcript all members with their
ephemeral public keys. The cluster key is mixed in wherever a key seals something: who breaks X25519 has not got it.
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
"""A box key seals one box, so its nonce may be any."""


class BadBox(Exception):  # noqa: N818 - says what was found out
    """A box that this node cannot open: made for other keys, or altered."""


def pair_of(private: bytes) -> tuple[X25519PrivateKey, bytes]:
    """The pair of keys of 32 random bytes, the private one in OpenSSL's keeping, which overwrites it at its end."""
    key = X25519PrivateKey.from_private_bytes(private)
    return key, key.public_key().public_bytes_raw()


def shared_of(private: X25519PrivateKey, public: bytes) -> bytes:
    """What the owners of two pairs have in common. Raises BadBox if the other's public key is none."""
    try:
        return private.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        raise BadBox from None  # of a wrong size, or a point with which everybody has the same


def hop_of(ring: tuple[int, int], token_seq: int, sender: int, target: int, publics: tuple[bytes, bytes]) -> bytes:
    """What names one passing of a commit token, as no two boxes have it. `publics`: the sender's and the target's."""
    return _HOP.pack(*ring, token_seq, sender, target) + publics[0] + publics[1]


def seal_box(cluster_key: bytes, shared: bytes | bytearray, hop: bytes, secret: bytes) -> bytes:
    """The secret, for the node with which this one has `shared` in common."""
    return AESGCM(_box_key(cluster_key, shared, hop)).encrypt(_NONCE, secret, hop)


def open_box(cluster_key: bytes, shared: bytes | bytearray, hop: bytes, box: bytes) -> bytes:
    """The secret in a box from that node. Raises BadBox."""
    try:
        return AESGCM(_box_key(cluster_key, shared, hop)).decrypt(_NONCE, box, hop)
    except InvalidTag:
        raise BadBox from None


def stirred(secret: bytes | bytearray, own: bytes) -> bytes:
    """A secret into which a member has put 32 random bytes of its own: as good as the best of all of them."""
    return hmac.digest(own, secret, "sha256")


def ring_secret(
    secret: bytes | bytearray, ring: tuple[int, int], members: Sequence[int], publics: Sequence[bytes]
) -> bytes:
    """The secret of a ring's first epoch. Who was told other members, or other keys of them, gets another one."""
    transcript = hashlib.sha256(_RING.pack(*ring, len(members)))
    for node, public in zip(members, publics, strict=True):
        transcript.update(node.to_bytes(4, "big") + public)
    return hmac.digest(b"rondo ring secret 1\0" + transcript.digest(), secret, "sha256")


def next_epoch(secret: bytes | bytearray) -> bytes:
    """The secret of the epoch after this one. There is no way back."""
    return _expand(secret, b"next epoch", SECRET_SIZE)


def ring_tag(secret: bytes | bytearray) -> int:
    """What names an epoch of a ring in envelopes."""
    return 1 + int.from_bytes(_expand(secret, b"ring tag", 4), "big") % TAGS


def packet_key(cluster_key: bytes, secret: bytes | bytearray, suite: int, sender: int, boot: bytes, size: int) -> bytes:
    """What seals the packets of one boot of one member in one epoch, `size` bytes."""
    info = b"ring packet key\0" + bytes([suite]) + sender.to_bytes(4, "big") + boot
    return _expand(hmac.digest(cluster_key, secret, "sha256"), info, size)


def _box_key(cluster_key: bytes, shared: bytes | bytearray, hop: bytes) -> bytes:
    return _expand(hmac.digest(cluster_key, shared, "sha256"), b"ring box\0" + hop, 32)


def _expand(key: bytes | bytearray, info: bytes, size: int) -> bytes:
    return HKDFExpand(SHA256(), size, info).derive(key)
