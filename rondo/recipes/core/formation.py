"""The decision whether the group goes on after a change, and from which state. Members derive it from their hellos.

The chosen state must contain every acknowledged command. An acknowledged command had reached every member of a ring
with quorum. So two things are needed: the present ring has quorum, and the latest state in it is the latest anywhere.
The second holds in two cases (dynamic voting):

- A majority of those who had that state when it last went on is present. Then no group without them can have gone on.
  If it is uncertain who had it, there must be a majority of each possible set.
- Half of them are present, and they come *directly* from the ring in which that state went on. This means that no
  member of the present ring has been in another ring in between. A ring without any of them had no majority of nodes,
  so the other half has not gone on. When the other half later joins a ring with a majority, the sequence of that ring
  shows that it does not come directly.

In all other cases the group waits for more members. The missing ones may be processes of nodes that are all present.
Then they are most likely dead, and after `abandon_ms` the group goes on without them. A cluster without votes has no
such rules: every side of a split goes on, and when the sides meet the longer history wins.

States on disk need more, because a process that died may come back with what it had written.

- A present disk counts, whatever is on it. While it is here it cannot take part elsewhere. An acknowledged command is
  on so many disks that any majority includes one that has it (`storage.py`).
- Each decision has a round. It is larger than all earlier rounds that the needed members know of. A member counts only
  after it has written the round to disk, so it cannot take part in an earlier decision later.
- Missing disks are abandoned only if an operator says so.
- A history never replaces one that began separately. The one whose holders are present goes on, and the members with
  the other one are told so.
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
"""How long the group waits for a member that sends no hello. It may be suspended."""
ABANDON_MS = 10_000
FIRST_MS = 10_000
"""How long members with empty disks wait for the other nodes before they begin a new history."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The group goes on from the state `fingerprint`. `why` is "first", "majority", "abandoned" or "unvoted"."""

    why: str
    fingerprint: Fingerprint
    holders: tuple[tuple[bytes, int, int, int], ...]
    decider: MemberId
    round: int


@dataclass(slots=True)
class Formation:
    """The hellos of the present members in one ring."""

    has_votes: bool = True
    abandon_ms: int | None = ABANDON_MS
    """None: missing holders are never abandoned."""
    is_stored: bool = False
    nodes_min: int = 1
    """A new state begins only with members on so many nodes."""
    began_ns: int = 0
    heard: dict[MemberId, Hello] = field(default_factory=dict)

    def begin(self, now_ns: int) -> None:
        """Forget all hellos: a new ring needs new ones."""
        self.heard.clear()
        self.began_ns = now_ns

    def keep(self, members: Iterable[MemberId]) -> None:
        """Forget the hellos of all who are not members."""
        there = set(members)
        self.heard = {member: hello for member, hello in self.heard.items() if member in there}

    def decide(self, members: tuple[MemberId, ...], nodes: Iterable[int], now_ns: int) -> Decision | None:
        """The decision that the hellos so far allow in a ring with quorum; None if they allow none."""
        waited_ms = (now_ns - self.began_ns) // MS
        are_all_heard = all(member in self.heard for member in members)
        with_state = {member: hello for member, hello in self.heard.items() if hello.fingerprint[0] != NO_ERA}
        if not are_all_heard and (not with_state or waited_ms < PATIENCE_MS):
            return None
        having = with_state or self.heard
        known = max(hello.knows for hello in self.heard.values())
        if known == NO_ERA:
            may_begin = not self.is_stored or {node for node, _ in members} >= set(nodes) or waited_ms >= FIRST_MS
            may_begin = may_begin and not self.nodes_lacking(members)
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
        """The latest round in any hello."""
        return max((hello.round for hello in self.heard.values()), default=0)

    def nodes_lacking(self, members: Iterable[MemberId]) -> int:
        """So many nodes more must have a member before a new state begins; 0 where there is one, as far as is heard."""
        if any(hello.knows != NO_ERA for hello in self.heard.values()):
            return 0
        return max(0, self.nodes_min - len({node for node, _ in members}))

    def awaited(self) -> tuple[int, ...]:
        """The nodes whose holders of the latest state are missing. Only for log messages and status."""
        with_state = {member: hello for member, hello in self.heard.items() if hello.fingerprint[0] != NO_ERA}
        if not with_state:
            return ()
        here = self._seats(self.heard)
        best = self._best(with_state)
        return tuple(sorted({node for hello in best.values() for at, node, _ in hello.holders if seat(at) not in here}))

    def _lineages(self, having: dict[MemberId, Hello]) -> list[dict[MemberId, Hello]]:
        """The hellos grouped by lineage. Only histories of one group may replace each other."""
        if not self.is_stored:
            return [having]
        groups: dict[bytes, dict[MemberId, Hello]] = {}
        for member, hello in having.items():
            groups.setdefault(hello.lineage, {})[member] = hello
        return list(groups.values())

    def _best(self, having: dict[MemberId, Hello]) -> dict[MemberId, Hello]:
        """The members with the latest state."""
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
        """The reason for which the group may go on from the latest state; empty if it may not."""
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
            # A state without holders: the last one died before the next had it. Then only the sets in doubt count.
            if self.is_stored and not needed[0]:
                needed = needed[1:]
            if all(is_majority(present, each, is_direct=is_direct) for each in needed):
                return "majority"
        return ""

    def _of_era(self, era: Era) -> dict[MemberId, Hello]:
        return {member: hello for member, hello in self.heard.items() if hello.fingerprint[0] == era}

    def _of_round(self) -> dict[MemberId, Hello]:
        """The hellos of the latest round. The other members will send hellos of that round, too."""
        return {member: hello for member, hello in self.heard.items() if hello.round == self.round}

    def _seats(self, hellos: dict[MemberId, Hello]) -> frozenset[bytes]:
        """The seats of these members. On disk only members with a disk count."""
        return frozenset(
            seat(hello.author) for hello in hellos.values() if not self.is_stored or is_stored(hello.author)
        )

    def _are_missing_dead(self, nodes: Iterable[int]) -> bool:
        """True if every node with a known holder is in the ring. Then missing holders are dead processes."""
        there = set(nodes)
        return all({node for _, node, _ in hello.holders} <= there for hello in self.heard.values())


def _holders(having: dict[MemberId, Hello]) -> tuple[tuple[bytes, int, int, int], ...]:
    return tuple(sorted((hello.author, *member, hello.life) for member, hello in having.items()))
