"""A receiver's state of the senders: the confirmed boot of each, one other boot, and the open challenge.

It is bounded: a sender has at most two boots here, and there are at most as many senders as a ring has members. The
keys of a boot are derived when a packet under it comes, and kept only if that packet was authentic. So a flood of
invented boots takes time, but no memory, and pushes out no genuine boot.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from services.totem.security.challenge import Answers, Question
from services.totem.security.marks import SegmentKeys
from services.totem.security.replay import ReplayWindow
from services.totem.security.suites import Codec

PEERS_MAX: Final = 384
"""The most members that a ring can have."""

_NEVER_NS: Final = -(1 << 62)
_KEY_MASK: Final = 0xFFFF
_TAG_SHIFT: Final = 16


def codec_key(key_number: int, ring_tag: int) -> int:
    """The key of a codec in `Boot.codecs`."""
    return key_number | ring_tag << _TAG_SHIFT


class Boot:
    """One boot of a sender."""

    __slots__ = ("boot", "codecs", "segment_keys", "window")

    def __init__(self, boot: bytes) -> None:
        self.boot = boot
        self.codecs: dict[int, Codec] = {}
        """By key number; for a ring's codec plus its tag times 65536."""
        self.window: ReplayWindow | None = None
        """Set when the sender has confirmed this boot."""
        self.segment_keys: SegmentKeys | None = None
        """The keys that mark its segments; made when first needed, and again when keys change."""


class Peer:
    """One sender."""

    __slots__ = ("answers", "asked_ns", "known", "other", "question")

    def __init__(self) -> None:
        self.known: Boot | None = None
        """The confirmed boot. Its packets are accepted."""
        self.other: Boot | None = None
        """The unconfirmed boot whose authentic packet came last."""
        self.question: Question | None = None
        self.asked_ns = _NEVER_NS
        """When a challenge was last sent."""
        self.answers = Answers()
        """Answers to its challenges under unconfirmed boots."""

    def boot(self, boot: bytes) -> Boot | None:
        """The state of a boot, if it is known here."""
        for each in (self.known, self.other):
            if each is not None and each.boot == boot:
                return each
        return None

    def remember(self, boot: bytes, key: int, codec: Codec) -> Boot:
        """An authentic packet of this boot came, under this key (see `Boot.codecs`)."""
        found = self.boot(boot)
        if found is None:
            found = self.other = Boot(boot)
        found.codecs[key] = codec
        return found

    def keys_changed(self) -> None:
        """Another key became valid."""
        for each in (self.known, self.other):
            if each is not None:
                each.segment_keys = None

    def forget_key(self, key_number: int) -> None:
        """Drop what was derived from a removed key."""
        self.keys_changed()
        for each in (self.known, self.other):
            if each is not None:
                each.codecs = {key: codec for key, codec in each.codecs.items() if key & _KEY_MASK != key_number}

    def keep_rings(self, knows: Callable[[int], bool]) -> None:
        """Drop what belongs to epochs of rings that are over."""
        for each in (self.known, self.other):
            if each is not None:
                each.codecs = {
                    key: codec for key, codec in each.codecs.items() if key <= _KEY_MASK or knows(key >> _TAG_SHIFT)
                }


class Peers:
    """All senders, by node id."""

    def __init__(self) -> None:
        self._peers: dict[int, Peer] = {}

    def get(self, sender: int) -> Peer | None:
        """The state of a sender."""
        return self._peers.get(sender)

    def get_or_add(self, sender: int) -> Peer:
        """The state of a sender, added if missing. If the table is full, the oldest sender without a confirmed boot
        makes room, else the oldest of all."""
        peer = self._peers.get(sender)
        if peer is None:
            if len(self._peers) >= PEERS_MAX:
                silent = (node for node, each in self._peers.items() if each.known is None)
                del self._peers[next(silent, next(iter(self._peers)))]
            peer = self._peers[sender] = Peer()
        return peer

    def all(self) -> list[Peer]:
        """All senders."""
        return list(self._peers.values())

    def held_bytes(self) -> int:
        """Bytes that wait for answers, of all senders."""
        return sum(peer.question.held_bytes for peer in self._peers.values() if peer.question is not None)
