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
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rondo.recipes.core.history import is_majority
from rondo.recipes.core.wire import NO_ERA, Fingerprint, Hello, MemberId

if TYPE_CHECKING:
    from collections.abc import Iterable

MS = 1_000_000
PATIENCE_MS = 1000
"""So long a member that says nothing is waited for: it may have been stopped."""
ABANDON_MS = 10_000


@dataclass(frozen=True, slots=True)
class Decision:
    """Go on from this state, because of `why`: first, majority, abandoned or unvoted."""

    why: str
    fingerprint: Fingerprint
    holders: tuple[tuple[bytes, int, int, int], ...]
    decider: MemberId


@dataclass(slots=True)
class Formation:
    """The hellos of one ring, of those that are members still."""

    has_votes: bool = True
    abandon_ms: int = ABANDON_MS
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
        best = max((hello.fingerprint for hello in having.values()), key=self._rank)
        having = {member: hello for member, hello in having.items() if hello.fingerprint == best}
        known = max(hello.knows for hello in self.heard.values())
        why = ""
        if known == NO_ERA:
            why = "first"
        elif with_state and (best[0] >= known or not self.has_votes):
            why = self._why(best, having, with_state)
        if not why and are_all_heard and waited_ms >= self.abandon_ms and self._are_missing_dead(nodes):
            why = "abandoned"
        return Decision(why, best, _holders(having), min(having)) if why else None

    def _rank(self, fingerprint: Fingerprint) -> Any:
        era, index, digest = fingerprint
        return (era, index, digest) if self.has_votes else (index, era, digest)

    def _why(self, best: Fingerprint, having: dict[MemberId, Hello], with_state: dict[MemberId, Hello]) -> str:
        if not self.has_votes:
            return "unvoted"
        is_direct = any(hello.is_sound for hello in having.values())
        present = frozenset(hello.author for hello in with_state.values() if hello.fingerprint[0] == best[0])
        for hello in having.values():
            needed = (frozenset(author for author, *_ in hello.holders), *map(frozenset, hello.doubts))
            if all(is_majority(present, each, is_direct=is_direct) for each in needed):
                return "majority"
        return ""

    def _are_missing_dead(self, nodes: Iterable[int]) -> bool:
        """Whether all nodes are there on which somebody is known to have had a state."""
        there = set(nodes)
        return all({node for _, node, _ in hello.holders} <= there for hello in self.heard.values())


def _holders(having: dict[MemberId, Hello]) -> tuple[tuple[bytes, int, int, int], ...]:
    return tuple(sorted((hello.author, *member, hello.life) for member, hello in having.items()))
