"""Refuses packets of a forward secret ring that are not sealed with that ring's key.

Any node with the cluster key can seal a packet that claims to be a token or data of a ring. In a ring with a secret of
its own that is not enough. Joins, leaves, merge detects, commit tokens, hold cancels and notices stay under the cluster
key. They come before a ring, or from outside of it, and hold no messages.
"""

from __future__ import annotations

from services.totem.security.ring_keys import RingKeys
from services.totem.security.suites import Codec, Forged

_KIND_AT = 3
_RING_AT = {0: slice(29, 41), 1: slice(25, 37)}
"""Where a token and an mcast hold their ring identifier."""


class Unprotected(Forged):
    """The packet is authentic, but belongs to a ring whose packets are sealed with the ring's key."""


class GuardedCodec(Codec):
    """Opens packets under the cluster key, unless they had to be sealed with a ring's key."""

    def __init__(self, codec: Codec, rings: RingKeys) -> None:
        self._codec = codec
        self._rings = rings

    def seal(self, header: bytes, content: bytes, bound: bytes = b"") -> bytes:
        return self._codec.seal(header, content, bound)

    def open(self, datagram: bytes, bound: bytes = b"") -> bytes:
        frame = self._codec.open(datagram, bound)
        ring_at = _RING_AT.get(frame[_KIND_AT]) if len(frame) > _KIND_AT else None
        if ring_at is not None and frame[ring_at] in self._rings.protected:
            raise Unprotected
        return frame
