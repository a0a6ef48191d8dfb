"""Every command once: what each author has had done, and the results that it may still ask for.

The table is part of the state: all replicas change it alike, and it travels with the snapshot. An author says from
which number on it still waits; what is below is over. Authors that are gone are kept, because they may come back with
a command whose outcome they do not know; beyond `ABSENT_MAX` the one that was gone longest is forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgpack

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rondo.recipes.core.wire import MemberId

ABSENT_MAX = 1024
MERGED_MAX = 65536
Result = tuple[bool, bytes]
"""Whether it was done; what came of it, or why it was not, as text."""


@dataclass(slots=True)
class Session:
    """One author."""

    member: MemberId
    is_present: bool = True
    low: int = 1
    results: dict[int, Result] = field(default_factory=dict)


class Sessions:
    """All authors, in the order in which they were last heard."""

    def __init__(self) -> None:
        self._by_author: dict[bytes, Session] = {}
        self._merged: dict[bytes, None] = {}
        self.forgotten = 0
        """How many absent authors were forgotten because there were too many."""

    def heard(self, author: bytes, member: MemberId, low: int) -> Session:
        """An author sends commands."""
        session = self._by_author.pop(author, None) or Session(member)
        self._by_author[author] = session
        session.member, session.is_present = member, True
        if low > session.low:
            session.low = low
            for number in [each for each in session.results if each < low]:
                del session.results[number]
        return session

    def result(self, author: bytes, number: int) -> Result | None:
        """What came of a command; None: it was not done, or is over."""
        session = self._by_author.get(author)
        return session.results.get(number) if session is not None else None

    def is_done(self, author: bytes, number: int) -> bool:
        """Whether this command is part of the state."""
        session = self._by_author.get(author)
        return session is not None and (number < session.low or number in session.results)

    def is_new_merge(self, author: bytes, number: int) -> bool:
        """Whether a command of a lost history was not taken over yet; from now on it was."""
        key = author + number.to_bytes(8, "big")
        if key in self._merged:
            return False
        self._merged[key] = None
        if len(self._merged) > MERGED_MAX:
            del self._merged[next(iter(self._merged))]
        return True

    def present(self, members: Iterable[MemberId]) -> list[bytes]:
        """From here on these are the members; the authors that are gone with that, ascending."""
        there = set(members)
        gone = []
        for author, session in self._by_author.items():
            if session.is_present and session.member not in there:
                session.is_present = False
                gone.append(author)
        absent = [author for author, session in self._by_author.items() if not session.is_present]
        for author in absent[: max(0, len(absent) - ABSENT_MAX)]:
            del self._by_author[author]
            self.forgotten += 1
        return sorted(gone)

    def snapshot(self) -> bytes:
        """All of it."""
        table = [
            [author, s.member, s.is_present, s.low, [[n, *result] for n, result in s.results.items()]]
            for author, s in self._by_author.items()
        ]
        packed: bytes = msgpack.packb([table, list(self._merged)])
        return packed

    @classmethod
    def restored(cls, snapshot: bytes) -> Sessions:
        """The table of a snapshot. Raises ValueError and its like for what is none."""
        made = cls()
        table, merged = msgpack.unpackb(snapshot, use_list=False, strict_map_key=False)
        for author, member, is_present, low, results in table:
            kept = {number: (is_done, value) for number, is_done, value in results}
            made._by_author[author] = Session(member, is_present, low, kept)
        made._merged = dict.fromkeys(merged)
        return made
