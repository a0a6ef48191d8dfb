"""The packets of one ring, by sequence number: received, received without a hole, and delivered.

A node has two stores: one for its installed ring and, during recovery, one for the ring that is being formed. aru and
high belong to the store, so giving up a recovery only drops its store.

Sequence numbers here are integers that do not wrap; `services.totem.wire.base.extend_u32` makes them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from services.totem.ring.events import Tag
from services.totem.ring.options import SORT_QUEUE_SLOTS
from services.totem.wire.base import RingId

HOLES_MAX: Final = 1024
"""How far beyond the first hole the search for more holes goes."""


class PacketStore:
    """Packets of `ring` with sequence numbers in (released, released + SORT_QUEUE_SLOTS]."""

    __slots__ = ("aru", "delivered", "frames", "high", "missed", "released", "ring", "tags")

    def __init__(self, ring: RingId, base: int) -> None:
        self.ring = ring
        self.frames: dict[int, bytes] = {}
        self.tags: dict[int, tuple[Tag, ...]] = {}
        """For packets of this node: the tags of the messages that end in each."""
        self.aru = base
        """All packets up to here were received."""
        self.high = base
        """Highest sequence number received or sent."""
        self.delivered = base
        """All packets up to here were delivered or skipped."""
        self.released = base
        """All packets up to here were freed: every member has them."""
        self.missed: dict[int, int] = {}
        """For each missing packet, the number of token visits at which it was missing."""

    def in_window(self, seq: int) -> bool:
        """Whether a packet with this number may be kept."""
        return self.released < seq <= self.released + SORT_QUEUE_SLOTS

    def add(self, seq: int, frame: bytes) -> bool:
        """Keep a packet that is in the window; False if it is here already."""
        frames = self.frames
        if seq in frames:
            return False
        frames[seq] = frame
        if seq > self.high:
            self.high = seq
        if seq == self.aru + 1:
            seq += 1
            while seq in frames:
                seq += 1
            self.aru = seq - 1
        return True

    def tag(self, seq: int, tags: tuple[Tag, ...]) -> None:
        """Keep the tags of the messages that end in this packet, which is one of this node's."""
        self.tags[seq] = tags

    def pass_over(self, seq: int) -> None:
        """The packets up to here are delivered, or never will be."""
        self.delivered = seq

    def drop_unnumbered(self, seq: int) -> None:
        """Drop packets above this number. No token has assigned their numbers, so no member of this ring sent them."""
        for number in range(seq + 1, self.high + 1):
            self.frames.pop(number, None)
        self.high = seq
        self.aru = min(self.aru, seq)
        self.delivered = min(self.delivered, seq)

    def release(self, upto: int) -> None:
        """Free packets that every member has."""
        for seq in range(self.released + 1, upto + 1):
            self.frames.pop(seq, None)
            self.tags.pop(seq, None)
        self.released = max(self.released, upto)

    def holes(self, upto: int) -> Iterator[tuple[int, int]]:
        """First and last number of each run of missing packets, up to `upto` and the end of the window."""
        frames = self.frames
        last = min(upto, self.released + SORT_QUEUE_SLOTS, self.aru + HOLES_MAX)
        first = self.aru + 1
        while first <= last:
            end = first
            while end < last and end + 1 not in frames:
                end += 1
            yield first, end
            first = end + 2
            while first <= last and first in frames:
                first += 1

    def missing(self, upto: int, miss_count: int, room: int) -> list[int]:
        """Corosync's rule: count this visit for each missing packet up to `upto`. Returns the first `room` packets that
        were missing often enough."""
        if self.aru >= upto:
            if self.missed:
                self.missed.clear()
            return []
        wanted: list[int] = []
        seen: dict[int, int] = {}
        # Far fewer packets than that are in flight. More holes come from a forged token, and would cost time.
        last = min(upto, self.released + SORT_QUEUE_SLOTS, self.aru + HOLES_MAX)
        for seq in range(self.aru + 1, last + 1):
            if seq in self.frames:
                continue
            visits = self.missed.get(seq, 0) + 1
            seen[seq] = visits
            if visits >= miss_count:
                wanted.append(seq)
                if len(wanted) >= room:
                    break
        for seq, visits in self.missed.items():
            if seq not in seen and seq not in self.frames and seq > self.aru:
                seen[seq] = visits
        self.missed = seen
        return wanted
