"""Which state a replica has: how many entries made it, which, and who else has it.

Two replicas with the same fingerprint have the same state, because the digest runs over every entry. An *era* is what
happens between two decisions that the group goes on; it names the ring in which that was decided. Of two eras that
began in a majority the later has the larger ring sequence, because two majorities share a node, and its ring
sequence only grows.
"""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgpack

from rondo.recipes.core.wire import NO_ERA, Era, Fingerprint, Form, MemberId

if TYPE_CHECKING:
    from collections.abc import Iterable

DIGEST_BYTES = 8
RECENT_MAX = 4096
DOUBTS_MAX = 8
"""Beyond this the oldest are merged: a majority of their union is harder to get, never easier."""


@dataclass(slots=True)
class History:
    """What is known of a state besides itself."""

    era: Era = NO_ERA
    index: int = 0
    digest: bytes = bytes(DIGEST_BYTES)
    holders: dict[bytes, MemberId] = field(default_factory=dict)
    """Who has this state, by author."""
    doubts: list[frozenset[bytes]] = field(default_factory=list)
    """Holders of before, while it is not certain that all of them know of the change."""
    recent: deque[bytes] = field(default_factory=lambda: deque(maxlen=RECENT_MAX))
    """The last digests, the newest last."""

    @property
    def is_blank(self) -> bool:
        """Nothing was ever agreed on."""
        return self.era == NO_ERA

    @property
    def fingerprint(self) -> Fingerprint:
        """What tells this state from all others."""
        return self.era, self.index, self.digest

    def was(self, fingerprint: Fingerprint) -> bool:
        """Whether this history lately had that fingerprint."""
        _, index, digest = fingerprint
        ago = self.index - index
        return 0 <= ago < len(self.recent) and self.recent[-1 - ago] == digest

    def copy(self) -> History:
        """One that changes by itself."""
        return History(self.era, self.index, self.digest, dict(self.holders), list(self.doubts))

    def advance(self, entry: bytes) -> None:
        """One more entry."""
        self.index += 1
        self.digest = hashlib.blake2b(self.digest + entry, digest_size=DIGEST_BYTES).digest()
        self.recent.append(self.digest)

    def present(self, members: Iterable[MemberId]) -> None:
        """From here on these are the members: who is gone does not have the state any more."""
        there = sorted(members)
        before = frozenset(self.holders)
        self.holders = {author: member for author, member in self.holders.items() if member in there}
        if len(self.holders) < len(before):
            self._doubt(before, is_certain=False)
        self.advance(msgpack.packb(["present", there]))

    def form(self, form: Form, raw: bytes, members: Iterable[MemberId], *, is_certain: bool) -> None:
        """The group goes on, with those of the listed that are still there."""
        there = set(members)
        before = frozenset(self.holders)
        self.era = (form.ring[1], form.ring[0], self.index + 1)
        self.holders = {author: (node, pid) for author, node, pid, _ in form.holders if (node, pid) in there}
        self._doubt(before, is_certain=is_certain)
        self.advance(raw)
        self.present(there)

    def certain(self) -> None:
        """A SAFE message came as regular: all members of the ring have everything before it, or are dead."""
        if self.doubts:
            self.doubts = []

    def add_holder(self, author: bytes, member: MemberId, raw: bytes, *, is_certain: bool) -> None:
        """One more has the state."""
        before = frozenset(self.holders)
        self.holders[author] = member
        if not is_certain:
            self._doubt(before, is_certain=False)
        self.advance(raw)

    def _doubt(self, before: frozenset[bytes], *, is_certain: bool) -> None:
        if is_certain:
            self.doubts = []
        elif before:
            self.doubts.append(before)
            while len(self.doubts) > DOUBTS_MAX:
                self.doubts[:2] = [self.doubts[0] | self.doubts[1]]


def is_majority(present: frozenset[bytes], of: frozenset[bytes], *, is_direct: bool) -> bool:
    """Whether `present` has most of them. Of two equal halves only one can come directly from the ring of before."""
    there = len(present & of)
    return 2 * there > len(of) or (is_direct and there > 0 and 2 * there == len(of))
