"""The secrets of this node's rings: of the installed one, and of the one that is being formed.

A ring has a secret once its commit token has gone round (agreement.py). The secret of an epoch gives that epoch's keys
and the secret of the next epoch, but never that of the previous one. So a wiped secret is lost, even to an attacker who
takes this node's memory later. A node that has sealed for an hour, or many packets, starts the next epoch. A node that
opens an authentic packet of the next epoch follows at once. The previous epoch is kept for packets in flight.

The secret of the installed ring is wiped when the next ring is installed. That of a ring that is never installed is
wiped when another one is formed. CPython may copy bytes anywhere. So lasting secrets are in bytearrays, which are
overwritten. The keys in ciphers belong to OpenSSL, which overwrites them. Copies in freed memory stay until it is used
again.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

from services.totem.security.forward import next_epoch, ring_tag
from services.totem.security.keys import Keyring
from services.totem.security.suites import Codec

NEVER_NS = 1 << 62

_RING = struct.Struct("<IQ")


def ring_bytes(ring: tuple[int, int]) -> bytes:
    """A ring identifier as it is in frames."""
    return _RING.pack(*ring)


class Pace(NamedTuple):
    """When an epoch ends."""

    epoch_ns: int = 3_600_000_000_000
    """After an hour, or after `packets`."""
    packets: int = 1 << 24
    """After so many packets of one sender, which are at most 2^36 blocks of the cipher."""
    kept_ns: int = 60_000_000_000
    """How long the previous epoch is kept."""
    look_ns: int = 1_000_000_000
    """How often to check whether an epoch ends."""


class Epoch:
    """A period in which a ring has one secret."""

    __slots__ = ("secret", "tag")

    def __init__(self, secret: bytes) -> None:
        self.secret = bytearray(secret)
        self.tag = ring_tag(secret)

    def wipe(self) -> None:
        """Overwrite the secret."""
        self.secret[:] = bytes(len(self.secret))


class RingKey:
    """One ring and its epochs."""

    __slots__ = ("former", "former_ns", "next_tag", "present", "ring", "since_ns")

    def __init__(self, ring: tuple[int, int], secret: bytes) -> None:
        self.ring = ring_bytes(ring)
        self.present = Epoch(secret)
        self.next_tag = ring_tag(next_epoch(secret))
        self.former: Epoch | None = None
        self.since_ns: int | None = None
        """When `tend` first saw this epoch; None: not yet."""
        self.former_ns = 0

    def epoch(self, tag: int) -> Epoch | None:
        """The epoch with this tag in envelopes; None if there is none. A coming epoch is derived anew each time."""
        if tag == self.present.tag:
            return self.present
        if self.former is not None and tag == self.former.tag:
            return self.former
        return Epoch(next_epoch(self.present.secret)) if tag == self.next_tag else None

    def advance(self) -> None:
        """The next epoch begins."""
        if self.former is not None:
            self.former.wipe()
        self.former, self.since_ns = self.present, None
        self.present = Epoch(next_epoch(self.present.secret))
        self.next_tag = ring_tag(next_epoch(self.present.secret))

    def wipe(self) -> None:
        """The ring is over."""
        self.present.wipe()
        self.end_former()

    def end_former(self) -> None:
        """No packet of the previous epoch is in flight any more: wipe its secret."""
        if self.former is not None:
            self.former.wipe()
            self.former = None


class RingKeys:
    """Keys by ring tag."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._installed: RingKey | None = None
        self._formed: RingKey | None = None
        self.sealing: Epoch | None = None
        """The epoch with which this node seals; None: its ring is not forward secret."""
        self.protected: frozenset[bytes] = frozenset()
        """The rings, as they are in frames, whose packets must be sealed with the ring's key."""
        self.on_ended: Callable[[], None] = lambda: None
        """Called after epochs were wiped."""
        self.due_ns = NEVER_NS
        """When to call `tend`."""
        self.pace = Pace()
        self.epochs_begun = 0
        """How many epochs have followed another one."""
        self._sealed_before = 0

    @property
    def is_forward_secret(self) -> bool:
        """Whether the installed ring is forward secret."""
        return self._installed is not None

    def _rings(self) -> list[RingKey]:
        both = (self._formed, self._installed)
        return [each for i, each in enumerate(both) if each is not None and each not in both[:i]]

    # -- rings come and go

    def form(self, ring: tuple[int, int], secret: bytes | None) -> None:
        """A ring is being formed, and this node seals for it from now on. `secret` None: it is not forward secret."""
        if self._formed is not None and self._formed is not self._installed:
            self._formed.wipe()
        self._formed = None if secret is None else RingKey(ring, secret)
        self._changed()

    def abandon(self) -> None:
        """Another ring is being formed: wipe the one formed last, unless it was installed."""
        if self._formed is not None and self._formed is not self._installed:
            self._formed.wipe()
            self._formed = self._installed
            self._changed()

    def install(self) -> None:
        """The ring that was being formed is installed: wipe the previous one."""
        if self._installed is not None and self._installed is not self._formed:
            self._installed.wipe()
        self._installed = self._formed
        self._changed()

    def end(self) -> None:
        """This node leaves."""
        for each in self._rings():
            each.wipe()
        self._formed = self._installed = None
        self._changed()

    def _changed(self) -> None:
        rings = self._rings()
        self.sealing = self._formed.present if self._formed is not None else None
        self.protected = frozenset(each.ring for each in rings)
        self.due_ns = 0 if rings else NEVER_NS
        self.on_ended()

    # -- epochs

    def tend(self, sealed: int, now_ns: int) -> None:
        """Check whether an epoch ends. `sealed`: packets that this node has sealed in its present boot."""
        pace = self.pace
        self.due_ns = now_ns + pace.look_ns
        for each in self._rings():
            if each.since_ns is None:
                each.since_ns = each.former_ns = now_ns
                self._sealed_before = sealed
            elif now_ns - each.since_ns >= pace.epoch_ns or sealed - self._sealed_before >= pace.packets:
                self._advance(each)
            elif each.former is not None and now_ns - each.former_ns >= pace.kept_ns:
                each.end_former()
                self.on_ended()

    def heard(self, tag: int) -> None:
        """An authentic packet with this tag came. If it is of the next epoch, start that."""
        for each in self._rings():
            if tag == each.next_tag:
                self._advance(each)

    def _advance(self, ring: RingKey) -> None:
        ring.advance()
        self.epochs_begun += 1
        self._changed()

    # -- keys

    def knows(self, tag: int) -> bool:
        """Whether there is a key for this tag."""
        return any(
            tag in (each.present.tag, each.next_tag) or (each.former is not None and tag == each.former.tag)
            for each in self._rings()
        )

    def codec(self, number: int, tag: int, sender: int, boot: bytes) -> Codec | None:
        """The codec for the packets of one boot of one member under the key `number`, which is installed; None: no ring
        has this tag."""
        for each in self._rings():
            epoch = each.epoch(tag)
            if epoch is not None:
                return self._keyring.ring_codec(number, epoch.secret, sender, boot)
        return None
