"""The cipher suites: how one packet is encrypted and authenticated.

`aes256-gcm` and `aes128-gcm` do both at once (NIST SP 800-38D). The nonce is the packet's counter: a key belongs to one
boot of one sender, which never uses a counter twice, so no nonce is ever used twice with a key.

Corosync's names, `aes128` `aes192` `aes256` with `sha1` `sha256` `sha384` `sha512`, mean CBC and then HMAC over the
envelope and the ciphertext. The HMAC is checked, in constant time, before anything is decrypted. The initialisation
vector is made as SP 800-38A, appendix C, proposes: by encrypting a block that never repeats, here the counter. That
block is the first of the plaintext, so nobody can know the vector before the packet is sent. It also lets one cipher
object go on from packet to packet, which saves its set-up; that costs more than to encrypt. CBC starts each packet with
the last block of the previous one, but that only affects the first block, which the receiver throws away.

| suite | key bytes | follows the envelope | overhead at most, envelope included |
|---|---|---|---|
| GCM | 16 or 32 | ciphertext, tag (16) | 56 |
| CBC | 16, 24 or 32, and the hash's | block of the counter (16), padded (PKCS #7) ciphertext, HMAC | 72 + hash |
"""

from __future__ import annotations

import hashlib
import hmac
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

from services.totem.security.envelope import COUNTER_AT, HEADER_SIZE

GCM_TAG_SIZE = 16
BLOCK_SIZE = 16

_NONCE_START = bytes(4)
_COUNTER_START = bytes(8)
_PADDING = tuple(bytes([size]) * size for size in range(BLOCK_SIZE + 1))


class Forged(Exception):  # noqa: N818 - says what was found out
    """The packet was not sealed with this key, or was altered."""


class Codec(ABC):
    """Seals and opens packets with the key of one boot of one sender."""

    @abstractmethod
    def seal(self, header: bytes, content: bytes, bound: bytes = b"") -> bytes:
        """The whole datagram. `header`: the envelope; its counter must not have been used before.

        `bound` is authenticated with it, but not in it.
        """

    @abstractmethod
    def open(self, datagram: bytes, bound: bytes = b"") -> bytes:
        """The content of a datagram of at least the suite's `datagram_size_min` bytes. Raises Forged."""


@dataclass(frozen=True, slots=True)
class Suite:
    """The properties of a suite."""

    number: int
    """Its number in the envelope."""
    name: str
    key_size: int
    """Bytes of key material, that of the HMAC included."""
    overhead_bytes: int
    """Bytes that sealing adds to a packet, at most."""
    padding_mask: int
    """CBC pads to whole blocks: of the overhead, (size of the content & padding_mask) bytes are not needed."""
    datagram_size_min: int
    """A shorter datagram cannot be a sealed packet."""
    codec: Callable[[bytes], Codec]
    """Makes a codec of `key_size` bytes of key."""


class GcmCodec(Codec):
    """AES-GCM; the envelope is the associated data."""

    def __init__(self, key: bytes) -> None:
        cipher = AESGCM(key)
        self._encrypt, self._decrypt = cipher.encrypt, cipher.decrypt

    def seal(self, header: bytes, content: bytes, bound: bytes = b"") -> bytes:
        return header + self._encrypt(_NONCE_START + header[COUNTER_AT:], content, header + bound)

    def open(self, datagram: bytes, bound: bytes = b"") -> bytes:
        header = datagram[:HEADER_SIZE]
        try:
            return self._decrypt(_NONCE_START + header[COUNTER_AT:], datagram[HEADER_SIZE:], header + bound)
        except InvalidTag:
            raise Forged from None


class CbcCodec(Codec):
    """AES-CBC, then HMAC over envelope and ciphertext."""

    def __init__(self, key: bytes, cipher_key_size: int, hash_name: str) -> None:
        cipher = Cipher(AES(key[:cipher_key_size]), CBC(bytes(BLOCK_SIZE)))
        self._encrypt, self._decrypt = cipher.encryptor().update, cipher.decryptor().update
        self._mac = hmac.new(key[cipher_key_size:], digestmod=hash_name)
        self._mac_size = self._mac.digest_size

    def seal(self, header: bytes, content: bytes, bound: bytes = b"") -> bytes:
        first = _COUNTER_START + header[COUNTER_AT:]
        padding = _PADDING[BLOCK_SIZE - len(content) % BLOCK_SIZE]
        sealed = header + self._encrypt(b"".join((first, content, padding)))
        return sealed + self._digest(sealed, bound)

    def open(self, datagram: bytes, bound: bytes = b"") -> bytes:
        sealed = datagram[: -self._mac_size]
        if not hmac.compare_digest(self._digest(sealed, bound), datagram[-self._mac_size :]):
            raise Forged
        if len(sealed) % BLOCK_SIZE != HEADER_SIZE % BLOCK_SIZE:
            raise Forged  # made with the key, but malformed; the cipher must stay on whole blocks
        padded = self._decrypt(sealed[HEADER_SIZE:])
        if not 1 <= padded[-1] <= BLOCK_SIZE:
            raise Forged
        return padded[BLOCK_SIZE : -padded[-1]]

    def _digest(self, sealed: bytes, bound: bytes) -> bytes:
        mac = self._mac.copy()
        mac.update(sealed + bound if bound else sealed)
        return mac.digest()


def _gcm(number: int, name: str, key_size: int) -> Suite:
    overhead = HEADER_SIZE + GCM_TAG_SIZE
    return Suite(number, name, key_size, overhead, 0, overhead, GcmCodec)


def _cbc(number: int, name: str, key_size: int, hash_name: str) -> Suite:
    mac_size = hashlib.new(hash_name).digest_size
    overhead = HEADER_SIZE + 2 * BLOCK_SIZE + mac_size
    return Suite(
        number, f"{name}/{hash_name}", key_size + mac_size, overhead, BLOCK_SIZE - 1, overhead,
        lambda key: CbcCodec(key, key_size, hash_name),
    )  # fmt: skip


_CBC_KEY_SIZES = {"aes128": 16, "aes192": 24, "aes256": 32}
_HASHES = ("sha1", "sha256", "sha384", "sha512")

SUITES: dict[tuple[str, str], Suite] = {
    ("aes256-gcm", "none"): _gcm(1, "aes256-gcm", 32),
    ("aes128-gcm", "none"): _gcm(2, "aes128-gcm", 16),
} | {
    (name, hash_name): _cbc(0x10 * (1 + row) + column, name, key_size, hash_name)
    for row, (name, key_size) in enumerate(_CBC_KEY_SIZES.items())
    for column, hash_name in enumerate(_HASHES)
}
"""By crypto_cipher and crypto_hash, as in corosync.conf."""
