"""The identity of a replica's state: how many entries made it, their digest, and which members have it.

Two replicas with the same fingerprint have the same state, because the digest covers every entry. An *era* lasts from
one decision that the group goes on to the next. It is named after the ring in which that was decided. Of two eras that
began with a majority of the nodes, the later one has the larger ring sequence. This is because two majorities share a
node, and the ring sequence of a node only grows.

The ring sequence is not enough for states on disk, because all processes may end and start again within one ring. There
an era begins with a *round*. Before it begins, a majority of the previous holders has written to disk that it takes
part in no earlier round. This is a ballot (Lamport, The part-time parliament, 1998).

Holders are counted by *seat*. In memory the seat is the process. On disk it is the disk, which may come back without
the last entries that its process knew. So a change of holders is in doubt until enough of the previous holders have it
on disk (`storage.py`). In memory it is in doubt until every previous holder has it or is dead.
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
"""With more sets in doubt, every seat in them has to be present. That is stricter than a majority of each set."""
Doubt = tuple[int, frozenset[bytes]]
"""The index of a change of holders, and the seats that were holders before it."""


@dataclass(slots=True)
class History:
    """What is known about a state apart from its content."""

    era: Era = NO_ERA
    index: int = 0
    digest: bytes = bytes(DIGEST_BYTES)
    holders: dict[bytes, MemberId] = field(default_factory=dict)
    """The members that have this state, by author."""
    doubts: list[Doubt] = field(default_factory=list)
    """Earlier sets of holders, as long as too few of them are certain to know of the change."""
    lineage: bytes = b""
    """Identifies the beginning: equal in all histories that began with the same `Form`."""
    is_stored: bool = False
    """True if the holders keep this state on disk."""
    recent: deque[bytes] = field(default_factory=lambda: deque(maxlen=RECENT_MAX))
    """The latest digests, the newest one last."""

    @property
    def is_blank(self) -> bool:
        """True if this replica never had a state of the group."""
        return self.era == NO_ERA

    @property
    def fingerprint(self) -> Fingerprint:
        """Identifies this state among all others."""
        return self.era, self.index, self.digest

    def was(self, fingerprint: Fingerprint) -> bool:
        """True if this history had that fingerprint within its last `RECENT_MAX` entries."""
        _, index, digest = fingerprint
        ago = self.index - index
        return 0 <= ago < len(self.recent) and self.recent[-1 - ago] == digest

    @property
    def seats(self) -> frozenset[bytes]:
        """The seats of the holders."""
        return frozenset(map(seat, self.holders))

    def copy(self) -> History:
        """An independent copy, without the recent digests."""
        holders, doubts = dict(self.holders), list(self.doubts)
        return History(self.era, self.index, self.digest, holders, doubts, self.lineage, self.is_stored)

    def advance(self, entry: bytes) -> None:
        """Append an entry."""
        self.index += 1
        self.digest = hashlib.blake2b(self.digest + entry, digest_size=DIGEST_BYTES).digest()
        self.recent.append(self.digest)

    def present(self, members: Iterable[MemberId]) -> None:
        """Append a membership change: a member that is gone is a holder no longer."""
        there = sorted(members)
        before = self.seats
        self.holders = {author: member for author, member in self.holders.items() if member in there}
        self._doubt(before, is_certain=False)
        self.advance(msgpack.packb(["present", there]))

    def form(self, form: Form, raw: bytes, members: Iterable[MemberId], *, is_certain: bool) -> None:
        """Append the decision that the group goes on. Its holders are those it lists who are still members."""
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
        """Note a SAFE message in the regular configuration: every member of the ring has all before it, or is dead."""
        if self.doubts and not self.is_stored:
            self.doubts = []

    def settled(self, index: int) -> None:
        """Note that enough of the earlier holders have the change with this index on disk."""
        self.doubts = [doubt for doubt in self.doubts if doubt[0] != index]

    def add_holder(self, author: bytes, member: MemberId, raw: bytes, *, is_certain: bool) -> None:
        """Append that one more member has the state."""
        before = self.seats
        self.holders = {each: at for each, at in self.holders.items() if seat(each) != seat(author)}
        self.holders[author] = member
        self._doubt(before, is_certain=is_certain)
        self.advance(raw)

    def remove_holder(self, author: bytes, raw: bytes) -> None:
        """Append that a member does not have the state."""
        before = self.seats
        self.holders.pop(author, None)
        self._doubt(before, is_certain=False)
        self.advance(raw)

    def _doubt(self, before: frozenset[bytes], *, is_certain: bool) -> None:
        """Put the change from these holders to the present ones in doubt, for the entry that is appended next."""
        if not before or before == self.seats or (is_certain and not self.is_stored):
            return
        self.doubts.append((self.index + 1, before))
        if len(self.doubts) > DOUBTS_MAX:
            everybody = frozenset().union(*(seats for _, seats in self.doubts))
            self.doubts = [(self.index + 1, frozenset({each})) for each in sorted(everybody)]


def is_majority(present: frozenset[bytes], of: frozenset[bytes], *, is_direct: bool) -> bool:
    """True if `present` has a majority of the seats `of`. Half is enough for `is_direct`: only one half can be that."""
    there = len(present & of)
    return 2 * there > len(of) or (is_direct and there > 0 and 2 * there == len(of))
