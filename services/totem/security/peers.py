"""What a receiver remembers of the senders: the boot that each lives with, another one of late, the open question.

Both are bounded: one sender has at most two boots here, and there are at most as many senders as a ring has members.
The keys of a boot are derived when a packet under it comes, and kept only if that packet was authentic: a flood of
invented boots takes time, but no memory and no place of a true one.
"""

from __future__ import annotations

from collections.abc import Callable

from services.totem.security.challenge import Answers, Question
from services.totem.security.marks import SegmentKeys
from services.totem.security.replay import ReplayWindow
from services.totem.security.suites import Codec

PEERS_MAX = 384
"""As many members as a ring can have."""

_NEVER_NS = -(1 << 62)
_KEY_MASK, _TAG_SHIFT = 0xFFFF, 16


def codec_key(key_number: int, ring_tag: int) -> int:
    """Where a codec stands in `Boot.codecs`."""
    return key_number | ring_tag << _TAG_SHIFT


class Boot:
    """One life of a sender."""

    __slots__ = ("boot", "codecs", "segment_keys", "window")

    def __init__(self, boot: bytes) -> None:
        self.boot = boot
        self.codecs: dict[int, Codec] = {}
        """By key number, and ring tag times 65536 where they are a ring's."""
        self.window: ReplayWindow | None = None
        """Set when this is known to be the present life."""
        self.segment_keys: SegmentKeys | None = None
        """What its segments are marked with, once some came; made anew when keys come or go."""


class Peer:
    """One sender."""

    __slots__ = ("answers", "asked_ns", "known", "other", "question")

    def __init__(self) -> None:
        self.known: Boot | None = None
        """The boot that answered; its packets are taken."""
        self.other: Boot | None = None
        """The boot besides that of which an authentic packet came last."""
        self.question: Question | None = None
        self.asked_ns = _NEVER_NS
        """When a question was last sent."""
        self.answers = Answers()
        """To its own questions, under boots that are not known to live."""

    def boot(self, boot: bytes) -> Boot | None:
        """What is remembered of a boot."""
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
        """A key is valid now that was not before."""
        for each in (self.known, self.other):
            if each is not None:
                each.segment_keys = None

    def forget_key(self, key_number: int) -> None:
        """Drop what was derived from a key that is no longer valid."""
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
        """What is remembered of a sender."""
        return self._peers.get(sender)

    def get_or_add(self, sender: int) -> Peer:
        """The same; it has a place from now on. The oldest one makes room, one that never answered before others."""
        peer = self._peers.get(sender)
        if peer is None:
            if len(self._peers) >= PEERS_MAX:
                silent = (node for node, each in self._peers.items() if each.known is None)
                del self._peers[next(silent, next(iter(self._peers)))]
            peer = self._peers[sender] = Peer()
        return peer

    def all(self) -> list[Peer]:
        """Every one."""
        return list(self._peers.values())

    def held_bytes(self) -> int:
        """What waits for answers, of all senders."""
        return sum(peer.question.held_bytes for peer in self._peers.values() if peer.question is not None)
