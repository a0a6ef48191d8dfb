"""What marks the segments of a datagram, so that nobody can put false ones among them (transport/segments.py).

A datagram is authentic, or not, once it is whole. Until then its segments wait, and a false one that is taken for true
would spoil it. So each segment has a mark of 8 bytes:

    segment key = HKDF-Expand(cluster key, "segment key" 0 sender(4) boot(16), 32 bytes)
    marks       = SHAKE128(segment key, number of the datagram(8), how many shares(1)), 8 bytes for each segment

The marks of a datagram tell nothing of those of another one, nor the mark of a segment of another segment's: who hears
the network cannot make those of what is still to come. The key belongs to a boot of the sender, and only that boot
counts which the receiver knows to live, so segments of an earlier life are worth nothing. What is in a segment is not
marked, which would cost as much as sealing it once more: who has heard a segment can send another one in its place, to
a receiver that does not have the true one yet.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple, Protocol

MARK_SIZE = 8
SEGMENT_KEY_SIZE = 32

_COUNTED = 9


class SegmentKeys(NamedTuple):
    """What the segments of a sender are marked with: the boot that is known to live, its key under each valid key."""

    boot: bytes
    keys: tuple[bytes, ...]


class SegmentMarks(Protocol):
    """Where a transport has its marks from."""

    @property
    def sender(self) -> int:
        """This node."""

    def next_number(self) -> int:
        """The number of the next datagram that this node cuts: no two of one boot have the same."""

    def own_key(self) -> bytes:
        """What this node marks its segments with."""

    def keys_of(self, sender: int) -> SegmentKeys | None:
        """What another node's are marked with; None: no boot of it is known to live."""


def marks(key: bytes, number: int, shares: int, parities: int = 0) -> bytes:
    """The marks of a datagram of so many shares, in their order, and then of so many segments of parity."""
    counted = ((number << 8) | shares).to_bytes(_COUNTED, "big")
    return hashlib.shake_128(key + counted).digest(MARK_SIZE * (shares + parities))
