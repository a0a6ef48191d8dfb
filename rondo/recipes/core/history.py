"""Which state a replica has: how many entries made it, which, and who else has it.

Two replicas with the same fingerprint have the same state, because the digest runs over every entry. An *era* is what
happens between two decisions that the group goes on; it names the ring in which that was decided. Of two eras that
began in a majority the later has the larger ring sequence, because two majorities share a node, and its ring
sequence only grows.

On disk that does not do: all processes may end and begin again within a ring. There an era begins with a *round*, and
most of those who had the state before have it on their disks that they take part in no earlier one (a ballot: Lamport,
The part-time parliament, 1998).

Holders are counted by *seat*. In memory that is the process. On disk it is the disk, which may come back without what
its process knew last. So a change of holders is in doubt there until enough of the old ones have it on disk
(`storage.py`); in memory until all are certain to have it, or are dead.
"""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgpack

from rondo.recipes.core.wire import NO_ERA, Era, Fingerprint, Form, MemberId, seat

if TYPE_CHECKING:
    from collections.abc import Iterable

DIGEST_BYTES = 8
RECENT_MAX = 4096
DOUBTS_MAX = 8
"""Beyond this each of all that are meant has to be there: that is harder to get than a majority of each set."""
Doubt = tuple[int, frozenset[bytes]]
"""The index of a change of holders, and the seats of those before it."""


@dataclass(slots=True)
class History:
    """What is known of a state besides itself."""

    era: Era = NO_ERA
    index: int = 0
    digest: bytes = bytes(DIGEST_BYTES)
    holders: dict[bytes, MemberId] = field(default_factory=dict)
    """Who has this state, by author."""
    doubts: list[Doubt] = field(default_factory=list)
    """Holders of before, while it is not certain that enough of them know of the change."""
    lineage: bytes = b""
    """The same for all histories with one beginning."""
    is_stored: bool = False
    """It is on disk, and the holders' are."""
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

    @property
    def seats(self) -> frozenset[bytes]:
        """Of the holders."""
        return frozenset(map(seat, self.holders))

    def copy(self) -> History:
        """One that changes by itself."""
        holders, doubts = dict(self.holders), list(self.doubts)
        return History(self.era, self.index, self.digest, holders, doubts, self.lineage, self.is_stored)

    def advance(self, entry: bytes) -> None:
        """One more entry."""
        self.index += 1
        self.digest = hashlib.blake2b(self.digest + entry, digest_size=DIGEST_BYTES).digest()
        self.recent.append(self.digest)

    def present(self, members: Iterable[MemberId]) -> None:
        """From here on these are the members: who is gone does not have the state any more."""
        there = sorted(members)
        before = self.seats
        self.holders = {author: member for author, member in self.holders.items() if member in there}
        self._doubt(before, is_certain=False)
        self.advance(msgpack.packb(["present", there]))

    def form(self, form: Form, raw: bytes, members: Iterable[MemberId], *, is_certain: bool) -> None:
        """The group goes on, with those of the listed that are still there."""
        there = set(members)
        before = self.seats
        if self.is_blank:
            self.lineage = hashlib.blake2b(raw, digest_size=DIGEST_BYTES).digest()
        self.era = form.era
        self.holders = {author: (node, pid) for author, node, pid, _ in form.holders if (node, pid) in there}
        if is_certain and not self.is_stored:
            self.doubts = []
        elif form.why == "abandoned" and self.is_stored:
            self.doubts = []  # an operator has said that the others are lost
        else:
            self._doubt(before, is_certain=False)
        self.advance(raw)
        self.present(there)

    def certain(self) -> None:
        """A SAFE message came as regular: all members of the ring have everything before it, or are dead."""
        if self.doubts and not self.is_stored:
            self.doubts = []

    def settled(self, index: int) -> None:
        """Enough of those before have the change with this index on disk."""
        self.doubts = [doubt for doubt in self.doubts if doubt[0] != index]

    def add_holder(self, author: bytes, member: MemberId, raw: bytes, *, is_certain: bool) -> None:
        """One more has the state."""
        before = self.seats
        self.holders = {each: at for each, at in self.holders.items() if seat(each) != seat(author)}
        self.holders[author] = member
        self._doubt(before, is_certain=is_certain)
        self.advance(raw)

    def remove_holder(self, author: bytes, raw: bytes) -> None:
        """One has the state no more."""
        before = self.seats
        self.holders.pop(author, None)
        self._doubt(before, is_certain=False)
        self.advance(raw)

    def _doubt(self, before: frozenset[bytes], *, is_certain: bool) -> None:
        """These were the holders before the entry that comes next."""
        if not before or before == self.seats or (is_certain and not self.is_stored):
            return
        self.doubts.append((self.index + 1, before))
        if len(self.doubts) > DOUBTS_MAX:
            everybody = frozenset().union(*(seats for _, seats in self.doubts))
            self.doubts = [(self.index + 1, frozenset({each})) for each in sorted(everybody)]


def is_majority(present: frozenset[bytes], of: frozenset[bytes], *, is_direct: bool) -> bool:
    """Whether `present` has most of them. Of two equal halves only one can come directly from the ring of before."""
    there = len(present & of)
    return 2 * there > len(of) or (is_direct and there > 0 and 2 * there == len(of))
