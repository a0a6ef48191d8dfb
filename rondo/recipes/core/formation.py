"""Whether the group may go on after a change, and from which state: a decision that members make from their hellos.

Whoever goes on must have every command that anybody was told is done. Such a command was in every member of a ring that
had quorum. So the ring must have quorum now, and the latest state that is there must be the latest of all. That is so

- if most of those are there who had that state when it last went on: without them nobody can have gone on (dynamic
  voting). While it is uncertain with whom a state went on, that must hold for each possibility;
- or if half of them are, and they come *directly* from the ring in which it went on: no member of this ring has been in
  another one between, and a ring without any of them had no majority of nodes. So the other half has not gone on,
  and when it comes into a ring with a majority, that ring's sequence will show that it does not come directly.

Otherwise it waits for more members. If those that are missing are processes of nodes that are all there, they will
hardly come back: after `abandon_ms` the group goes on without them. A cluster without votes has no such rules: every
side of a split goes on, and when they meet the longer history wins.

Where states are on disk a process that has died may come back, with what it had written. A member's disk counts for
those who are there whatever is on it: while it is here nobody goes on with it elsewhere, and whatever anybody was told
is done is on so many of the disks that most of them include one that has it (`storage.py`). Each formation has a
round, larger than all before of which those who are needed know. They count once they have it on disk, so nobody takes
part in an earlier one later. Nobody is given up unless an operator says so. Histories with another beginning never
take each other's place: the one goes on whose holders are there, and the others are told.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rondo.recipes.core.history import is_majority
from rondo.recipes.core.wire import NO_ERA, Era, Fingerprint, Hello, MemberId, is_stored, seat

if TYPE_CHECKING:
    from collections.abc import Iterable

MS = 1_000_000
PATIENCE_MS = 1000
"""So long a member that says nothing is waited for: it may have been stopped."""
ABANDON_MS = 10_000
FIRST_MS = 10_000
"""So long those whose disks are empty wait for the other nodes before they begin a new history."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Go on from this state, because of `why`: first, majority, abandoned or unvoted."""

    why: str
    fingerprint: Fingerprint
    holders: tuple[tuple[bytes, int, int, int], ...]
    decider: MemberId
    round: int


@dataclass(slots=True)
class Formation:
    """The hellos of one ring, of those that are members still."""

    has_votes: bool = True
    abandon_ms: int | None = ABANDON_MS
    """None: never."""
    is_stored: bool = False
    began_ns: int = 0
    heard: dict[MemberId, Hello] = field(default_factory=dict)

    def begin(self, now_ns: int) -> None:
        """Everything anew."""
        self.heard.clear()
        self.began_ns = now_ns

    def keep(self, members: Iterable[MemberId]) -> None:
        """Forget all others."""
        there = set(members)
        self.heard = {member: hello for member, hello in self.heard.items() if member in there}

    def decide(self, members: tuple[MemberId, ...], nodes: Iterable[int], now_ns: int) -> Decision | None:
        """What follows from what was heard so far, in a ring that has quorum."""
        waited_ms = (now_ns - self.began_ns) // MS
        are_all_heard = all(member in self.heard for member in members)
        with_state = {member: hello for member, hello in self.heard.items() if hello.fingerprint[0] != NO_ERA}
        if not are_all_heard and (not with_state or waited_ms < PATIENCE_MS):
            return None
        having = with_state or self.heard
        known = max(hello.knows for hello in self.heard.values())
        if known == NO_ERA:
            may_begin = not self.is_stored or {node for node, _ in members} >= set(nodes) or waited_ms >= FIRST_MS
            return self._decision("first", having) if may_begin else None
        may_abandon = are_all_heard and self.abandon_ms is not None and waited_ms >= self.abandon_ms
        found = []
        for group in self._lineages(having):
            why = self._why(self._best(group), known) if with_state else ""
            if not why and may_abandon and self._are_missing_dead(nodes):
                why = "abandoned"
            if why:
                found.append(self._decision(why, group))
        return found[0] if len(found) == 1 else None

    @property
    def round(self) -> int:
        """The latest of which was heard."""
        return max((hello.round for hello in self.heard.values()), default=0)

    def awaited(self) -> tuple[int, ...]:
        """The nodes of those who had the latest state of all that is here, and are not here. For people."""
        with_state = {member: hello for member, hello in self.heard.items() if hello.fingerprint[0] != NO_ERA}
        if not with_state:
            return ()
        here = self._seats(self.heard)
        best = self._best(with_state)
        return tuple(sorted({node for hello in best.values() for at, node, _ in hello.holders if seat(at) not in here}))

    def _lineages(self, having: dict[MemberId, Hello]) -> list[dict[MemberId, Hello]]:
        """Histories that may take each other's place."""
        if not self.is_stored:
            return [having]
        groups: dict[bytes, dict[MemberId, Hello]] = {}
        for member, hello in having.items():
            groups.setdefault(hello.lineage, {})[member] = hello
        return list(groups.values())

    def _best(self, having: dict[MemberId, Hello]) -> dict[MemberId, Hello]:
        """Those with the latest state."""
        best = max((hello.fingerprint for hello in having.values()), key=self._rank)
        return {member: hello for member, hello in having.items() if hello.fingerprint == best}

    def _decision(self, why: str, having: dict[MemberId, Hello]) -> Decision:
        best = self._best(having)
        decider = min(best)
        return Decision(why, best[decider].fingerprint, _holders(best), decider, self.round)

    def _rank(self, fingerprint: Fingerprint) -> Any:
        era, index, digest = fingerprint
        return (era, index, digest) if self.has_votes else (index, era, digest)

    def _why(self, best: dict[MemberId, Hello], known: Era) -> str:
        """Why the group may go on with the latest state, if it may."""
        if not self.has_votes:
            return "unvoted"
        era = next(iter(best.values())).fingerprint[0]
        if era < known and not self.is_stored:
            return ""
        is_direct = any(hello.is_sound for hello in best.values())
        counted = {
            member: hello for member, hello in self.heard.items() if self.is_stored or hello.fingerprint[0] == era
        }
        present = self._seats(counted)
        for hello in best.values():
            needed = (frozenset(seat(author) for author, *_ in hello.holders), *map(frozenset, hello.doubts))
            # Nobody may have a state that its next holder had not taken over when its last one died. Then those count
            # who are in doubt.
            if self.is_stored and not needed[0]:
                needed = needed[1:]
            if all(is_majority(present, each, is_direct=is_direct) for each in needed):
                return "majority"
        return ""

    def _of_era(self, era: Era) -> dict[MemberId, Hello]:
        return {member: hello for member, hello in self.heard.items() if hello.fingerprint[0] == era}

    def _of_round(self) -> dict[MemberId, Hello]:
        """Those who take part in no earlier round; the others will follow."""
        return {member: hello for member, hello in self.heard.items() if hello.round == self.round}

    def _seats(self, hellos: dict[MemberId, Hello]) -> frozenset[bytes]:
        """Whose state, or disk, is here."""
        return frozenset(
            seat(hello.author) for hello in hellos.values() if not self.is_stored or is_stored(hello.author)
        )

    def _are_missing_dead(self, nodes: Iterable[int]) -> bool:
        """Whether all nodes are there on which somebody is known to have had a state."""
        there = set(nodes)
        return all({node for _, node, _ in hello.holders} <= there for hello in self.heard.values())


def _holders(having: dict[MemberId, Hello]) -> tuple[tuple[bytes, int, int, int], ...]:
    return tuple(sorted((hello.author, *member, hello.life) for member, hello in having.items()))
