"""The giving side of state transfers: which holder gives, which is its deputy, and how a transfer is resumed.

All holders apply the same rules to the same entries, so they agree on the giver without a message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rondo.recipes.core.transfer import GIVERS, GIVING_MAX, Giving
from rondo.recipes.core.wire import Again, Begin, Hello, Letter, MemberId, Part, RingId

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rondo.recipes.core.state import State


class Givers:
    """The transfers in which this member is the giver or its deputy."""

    def __init__(self, me: MemberId, state: State) -> None:
        self._me = me
        self._state = state
        self._giving: dict[bytes, Giving] = {}
        """By the author who asks."""
        self.turned_away = 0
        """Hellos that got no answer because `GIVING_MAX` transfers were open."""

    def answer(self, hello: Hello, sender: MemberId, ring: RingId) -> list[Letter]:
        """Answer a hello that asks for the state at this place of the order. Returns what this member has to send."""
        history = self._state.history
        if history.holders.get(hello.author) == sender:
            return []
        holders = sorted(member for author, member in history.holders.items() if author != hello.author)
        givers = tuple(holders[:GIVERS])
        if hello.fingerprint == history.fingerprint and not history.is_blank:
            same = self._begin(hello, ring, givers, is_same=True)
            return [same] if givers[:1] == (self._me,) else []
        if hello.begun is not None and history.was(hello.begun[2]):
            return self._take_up(hello, [each for each in hello.givers if each in holders] or holders)
        self._giving.pop(hello.author, None)
        if self._me not in givers:
            return []
        if len(self._giving) >= GIVING_MAX:
            self.turned_away += 1
            return []
        begin = self._begin(hello, ring, givers, is_same=False)
        giving = self._giving[hello.author] = Giving(begin, sender, self._state.machine.snapshot())
        giving.is_active = givers[0] == self._me
        return [begin] if giving.is_active else []

    def _begin(self, hello: Hello, ring: RingId, givers: tuple[MemberId, ...], *, is_same: bool) -> Begin:
        history = self._state.history
        holders = tuple(sorted((author, *member) for author, member in history.holders.items()))
        doubts = tuple((index, tuple(sorted(seats))) for index, seats in history.doubts)
        sessions = b"" if is_same else self._state.sessions.snapshot()
        fingerprint, lineage = history.fingerprint, history.lineage
        return Begin(hello.author, hello.token, ring, fingerprint, lineage, holders, doubts, sessions, givers, is_same)

    def _take_up(self, hello: Hello, candidates: list[MemberId]) -> list[Letter]:
        """Resume an interrupted transfer if this member is the first candidate."""
        giving = self._giving.get(hello.author)
        if candidates[:1] != [self._me]:
            if giving is not None:
                giving.is_active = False
            return []
        assert hello.begun is not None
        origin, parts, _ = hello.begun
        if giving is not None and giving.begin.token == origin and giving.take_up(hello.token, parts):
            return []
        return [Again(hello.author, hello.token)]

    def came_back(self, part: Part) -> None:
        """Note that an own part was delivered, so the next one may be sent."""
        giving = self._giving.get(part.to)
        if giving is not None and giving.token == part.token:
            giving.came_back()

    def messages(self) -> list[Letter]:
        """The messages that may be sent now."""
        return [letter for giving in self._giving.values() for letter in giving.messages()]

    def keep(self, members: Iterable[MemberId]) -> None:
        """Drop the transfers to members that have left."""
        there = set(members)
        self._giving = {author: giving for author, giving in self._giving.items() if giving.asker in there}

    def forget(self, author: bytes) -> None:
        """Drop the transfer to an author that has the state now."""
        self._giving.pop(author, None)

    def forget_all(self) -> None:
        """Drop all transfers: this member has left the group."""
        self._giving.clear()
