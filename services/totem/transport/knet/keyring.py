"""Several valid keys: packets are opened with any of them, and sealed with one.

So a cluster changes its key without losing a packet. Packets do not name their key, so the keys are tried in turn, the
one in use first. While there are two keys, a packet under the other key, or under none, costs one more HMAC.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Final

from services.totem.transport.knet.crypto import PacketCipher

KEYS_MAX: Final = 8
"""Keys that may be valid at once."""

IDENTITY_BYTES: Final = 8


class Keyring(PacketCipher):
    """The keys of a node, by number."""

    def __init__(self, make: Callable[[bytes], PacketCipher], key: bytes) -> None:
        """`make`: makes a cipher with a key."""
        self._make = make
        self._ciphers: dict[int, tuple[bytes, PacketCipher]] = {}
        self._count = 0
        self.key_in_use = self.install_key(key)
        """Number of the key that seals."""
        self.heard_number = 0
        """Number of another key, under which a packet came last; 0: none came since this was set to 0."""
        self.use_key(self.key_in_use)

    def seal(self, packet: bytes) -> bytes:
        return self._sealing.seal(packet)

    def open(self, datagram: bytes) -> bytes | None:
        packet = self._sealing.open(datagram)
        if packet is None:
            for number, other in self._others:
                if (packet := other.open(datagram)) is not None:
                    self.heard_number = number
                    return packet
        return packet

    def room(self, datagram_bytes: int) -> int:
        return self._sealing.room(datagram_bytes)

    @property
    def key_numbers(self) -> tuple[int, ...]:
        """The valid keys, in the order in which they were installed."""
        return tuple(self._ciphers)

    def key_identity(self, number: int) -> bytes:
        """The identity of a key, for other nodes. It reveals nothing about the key."""
        return hmac.digest(self._ciphers[number][0], b"rondo knet key identity", "sha256")[:IDENTITY_BYTES]

    def install_key(self, key: bytes) -> int:
        """Accept packets under this key too. Returns its number. Raises ValueError if there are too many."""
        for number, (known, _) in self._ciphers.items():
            if known == key:
                return number
        if len(self._ciphers) >= KEYS_MAX:
            raise ValueError(f"{KEYS_MAX} keys are valid already; remove one first")
        self._count += 1
        self._ciphers[self._count] = (key, self._make(key))
        if self._count > 1:
            self._sort()
        return self._count

    def use_key(self, number: int) -> None:
        """Seal with this installed key from now on."""
        self.key_in_use = number
        self._sort()

    def remove_key(self, number: int) -> None:
        """Refuse packets under this installed key, which is not in use, from now on."""
        del self._ciphers[number]
        self._sort()

    def _sort(self) -> None:
        self._sealing = self._ciphers[self.key_in_use][1]
        self._others = [(number, each) for number, (_, each) in self._ciphers.items() if number != self.key_in_use]
        self.heard_number = 0
