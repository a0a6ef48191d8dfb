"""Encryption and authentication of knet packets: `salt(16) | AES-CBC(packet, PKCS #7) | HMAC(all before)`.

The key is the bytes of the key file: all of them for the HMAC, the first 16, 24 or 32 for AES. All nodes have the same
key, so a packet is sealed once for all receivers. With a hash but no cipher: the plain packet and the HMAC.

The salt is the initialisation vector. It is made as SP 800-38A, appendix C, proposes: by encrypting a block that never
repeats. One encryptor goes on from packet to packet. Its input begins with a counter block, whose ciphertext is the
salt. Setting up a cipher for each packet would cost more than encrypting it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from hmac import compare_digest
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, SHA384, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.hmac import HMAC

CIPHER_KEY_BYTES: Final = {"aes128": 16, "aes192": 24, "aes256": 32}
HASHES: Final[dict[str, HashAlgorithm]] = {"sha1": SHA1(), "sha256": SHA256(), "sha384": SHA384(), "sha512": SHA512()}
BLOCK: Final = 16
_PADDING: Final = tuple(bytes([size]) * size for size in range(BLOCK + 1))


class PacketCipher(ABC):
    """Seals and opens packets with one key."""

    @abstractmethod
    def seal(self, packet: bytes) -> bytes:
        """The datagram."""

    @abstractmethod
    def open(self, datagram: bytes) -> bytes | None:
        """The packet; None if it was sealed with another key, or altered."""

    @abstractmethod
    def room(self, datagram_bytes: int) -> int:
        """The largest packet that fits a datagram of so many bytes."""


class Clear(PacketCipher):
    """No protection."""

    def seal(self, packet: bytes) -> bytes:
        return packet

    def open(self, datagram: bytes) -> bytes | None:
        return datagram

    def room(self, datagram_bytes: int) -> int:
        return datagram_bytes


class Signed(PacketCipher):
    """HMAC alone. A keyed object is copied for each packet; the standard library's HMAC takes a third longer."""

    def __init__(self, key: bytes, hash_name: str) -> None:
        algorithm = HASHES[hash_name]
        self._keyed = HMAC(key, algorithm).copy
        self._mac_bytes = algorithm.digest_size

    def seal(self, packet: bytes) -> bytes:
        return packet + self._digest(packet)

    def open(self, datagram: bytes) -> bytes | None:
        body = datagram[: -self._mac_bytes]
        return body if compare_digest(self._digest(body), datagram[-self._mac_bytes :]) else None

    def room(self, datagram_bytes: int) -> int:
        return datagram_bytes - self._mac_bytes

    def _digest(self, body: bytes) -> bytes:
        mac = self._keyed()
        mac.update(body)
        return mac.finalize()


class Encrypted(Signed):
    """AES-CBC, then HMAC."""

    def __init__(self, key: bytes, cipher: str, hash_name: str, vector: bytes) -> None:
        """`vector`: 16 random bytes, new at each start."""
        super().__init__(key, hash_name)
        algorithm = AES(key[: CIPHER_KEY_BYTES[cipher]])
        self._encrypt = Cipher(algorithm, CBC(vector)).encryptor().update
        self._decrypt = Cipher(algorithm, CBC(bytes(BLOCK))).decryptor().update
        self._count = 0

    def seal(self, packet: bytes) -> bytes:
        self._count += 1
        padding = _PADDING[BLOCK - len(packet) % BLOCK]
        body = self._encrypt(b"".join((self._count.to_bytes(BLOCK, "big"), packet, padding)))
        return body + self._digest(body)

    def open(self, datagram: bytes) -> bytes | None:
        body = super().open(datagram)
        if body is None or len(body) < 2 * BLOCK or len(body) % BLOCK:
            return None
        # The decryptor's earlier state only affects the first block, the salt's, which is thrown away.
        padded = self._decrypt(body)
        padding = padded[-1]
        return padded[BLOCK:-padding] if 1 <= padding <= BLOCK else None

    def room(self, datagram_bytes: int) -> int:
        return (datagram_bytes - BLOCK - self._mac_bytes) // BLOCK * BLOCK - 1


def make_cipher(cipher: str, hash_name: str, key: bytes, vector: bytes) -> PacketCipher:
    """The cipher for `crypto_cipher` and `crypto_hash` of corosync.conf. `vector`: 16 random bytes."""
    if cipher != "none":
        return Encrypted(key, cipher, hash_name, vector)
    return Signed(key, hash_name) if hash_name != "none" else Clear()
