"""Marks on the segments of a datagram, so that nobody can slip in forged ones (transport/segments.py).

A datagram can be authenticated only once it is whole. Until then its segments wait, and one forged segment would spoil
it. So each segment has a mark of 8 bytes:

    segment key = HKDF-Expand(cluster key, "segment key" 0 sender(4) boot(16), 32 bytes)
    marks       = SHAKE128(segment key, number of the datagram(8), how many shares(1)), 8 bytes for each segment

The marks of one datagram reveal nothing about those of another, and the mark of one segment nothing about another's. So
an eavesdropper cannot make the marks of segments to come. The key belongs to one boot of the sender. Only the boot that
the receiver has confirmed counts, so segments of an earlier boot are worthless. The mark does not cover the segment's
content, because that would cost as much as sealing it again. So an eavesdropper can still replace a segment that it has
heard, at a receiver that does not have the genuine one yet.
"""

from __future__ import annotations

import hashlib
from typing import Final, NamedTuple, Protocol

MARK_SIZE: Final = 8
SEGMENT_KEY_SIZE: Final = 32

_COUNTED: Final = 9


class SegmentKeys(NamedTuple):
    """The keys that mark a sender's segments: its confirmed boot, and that boot's segment key under each valid key."""

    boot: bytes
    keys: tuple[bytes, ...]


class SegmentMarks(Protocol):
    """The source of a transport's marks."""

    @property
    def sender(self) -> int:
        """This node."""

    def next_number(self) -> int:
        """The number of the next datagram that this node cuts; unique within a boot."""

    def own_key(self) -> bytes:
        """The key that marks this node's segments."""

    def keys_of(self, sender: int) -> SegmentKeys | None:
        """The keys that mark another node's segments; None if no boot of it is confirmed."""


def marks(key: bytes, number: int, shares: int, parities: int = 0) -> bytes:
    """The marks of a datagram: first of its shares, in order, then of its parity segments."""
    counted = ((number << 8) | shares).to_bytes(_COUNTED, "big")
    return hashlib.shake_128(key + counted).digest(MARK_SIZE * (shares + parities))
