"""The keys of a cluster, and the keys that are derived from them.

    cluster key  = HKDF-Extract(salt = "rondo packet security 1" 0 cluster_name, key file)
    key number   = 2 bytes of HKDF-Expand(cluster key, "key number")
    identity     = 8 bytes of HKDF-Expand(cluster key, "key identity"): how nodes name it to each other
    packet key   = HKDF-Expand(cluster key, "packet key" 0 suite(1) sender(4) boot(16))
    segment key  = HKDF-Expand(cluster key, "segment key" 0 sender(4) boot(16)): see marks.py

(RFC 5869 with SHA-256.) Every boot of every node has its own packet key. So counters may start at 1 with each boot, and
no nonce repeats, whatever state was lost. The number of a key follows from the key: nodes agree on it without asking
each other, and so does a node that restarts with nothing but its key file.

Several keys may be valid at once, so that a cluster changes its key without losing a packet: install the new key on all
nodes, then use it on all nodes, then remove the old one from all nodes.
"""

from __future__ import annotations

import hmac

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from services.totem.security.forward import packet_key
from services.totem.security.marks import SEGMENT_KEY_SIZE
from services.totem.security.suites import Codec, Suite

KEYS_MAX = 8
"""Keys that may be valid at once."""

IDENTITY_SIZE = 8

_SALT = b"rondo packet security 1\0"


class KeyringError(ValueError):
    """The keyring cannot do what was asked. The text is one line."""


class Keyring:
    """The valid keys, by number. One of them seals the packets of this node."""

    def __init__(self, suite: Suite, cluster_name: str, key: bytes) -> None:
        self.suite = suite
        self._salt = _SALT + cluster_name.encode("utf-8", "surrogateescape")
        self._cluster_keys: dict[int, bytes] = {}
        self.in_use = self.install(key)
        """Number of the key that seals."""

    @property
    def numbers(self) -> tuple[int, ...]:
        """The valid keys, in the order in which they were installed."""
        return tuple(self._cluster_keys)

    def install(self, key: bytes) -> int:
        """Accept packets under this key; returns its number. Raises KeyringError."""
        cluster_key = hmac.digest(self._salt, key, "sha256")  # HKDF-Extract; cryptography has it from 47 on only
        number = int.from_bytes(_expand(cluster_key, b"key number", 2), "big")
        if self._cluster_keys.get(number, cluster_key) != cluster_key:
            raise KeyringError(f"this key has the number {number} of another valid key; make a new one")
        if number not in self._cluster_keys and len(self._cluster_keys) >= KEYS_MAX:
            raise KeyringError(f"{KEYS_MAX} keys are valid already; remove one first")
        self._cluster_keys[number] = cluster_key
        return number

    def identity(self, number: int) -> bytes:
        """The identity of an installed key, for other nodes. Raises KeyringError."""
        self._check(number)
        return _expand(self._cluster_keys[number], b"key identity", IDENTITY_SIZE)

    def use(self, number: int) -> None:
        """Seal with this key from now on. Raises KeyringError if it is not installed."""
        self._check(number)
        self.in_use = number

    def remove(self, number: int) -> None:
        """Refuse packets under this key from now on. Raises KeyringError if it is in use or not installed."""
        self._check(number)
        if number == self.in_use:
            raise KeyringError(f"key {number} is in use; use another one first")
        del self._cluster_keys[number]

    def __contains__(self, number: int) -> bool:
        return number in self._cluster_keys

    def codec(self, number: int, sender: int, boot: bytes) -> Codec:
        """The codec for the packets of one boot of one node under the key `number`, which must be installed."""
        info = b"packet key\0" + bytes([self.suite.number]) + sender.to_bytes(4, "big") + boot
        return self.suite.codec(_expand(self._cluster_keys[number], info, self.suite.key_size))

    def ring_codec(self, number: int, secret: bytes | bytearray, sender: int, boot: bytes) -> Codec:
        """The codec for packets of a forward secret ring. `secret`: of its epoch."""
        suite = self.suite
        cluster_key = self._cluster_keys[number]
        return suite.codec(packet_key(cluster_key, secret, suite.number, sender, boot, suite.key_size))

    def cluster_key(self, number: int) -> bytes:
        """The cluster key with this number, which must be installed, for the derivation of others."""
        return self._cluster_keys[number]

    def segment_key(self, number: int, sender: int, boot: bytes) -> bytes:
        """The key that marks the segments of one boot of one node under the key `number`, which must be installed."""
        info = b"segment key\0" + sender.to_bytes(4, "big") + boot
        return _expand(self._cluster_keys[number], info, SEGMENT_KEY_SIZE)

    def _check(self, number: int) -> None:
        if number not in self._cluster_keys:
            raise KeyringError(f"no key {number} is installed")


def _expand(cluster_key: bytes, info: bytes, size: int) -> bytes:
    return HKDFExpand(SHA256(), size, info).derive(cluster_key)
