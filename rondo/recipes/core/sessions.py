"""At-most-once execution: which commands of each author were done, and the results that it may still need.

The table is part of the replicated state. All replicas change it in the same way, and a snapshot includes it. Each
author says with its commands up to which number all are over; their results are dropped. Authors that have left are
kept, because they may come back and send a command again. With more than `ABSENT_MAX` of them, the one that has been
silent longest is dropped.
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
"""True and the result, or False and the text of the exception."""


@dataclass(slots=True)
class Session:
    """The commands of one author."""

    member: MemberId
    is_present: bool = True
    low: int = 1
    results: dict[int, Result] = field(default_factory=dict)


class Sessions:
    """The sessions of all authors, those first that sent no command for longest."""

    def __init__(self) -> None:
        self._by_author: dict[bytes, Session] = {}
        self._merged: dict[bytes, None] = {}
        self.forgotten = 0
        """How many absent authors were dropped because there were more than `ABSENT_MAX`."""

    def heard(self, author: bytes, member: MemberId, low: int) -> Session:
        """Note that an author sends commands, and that those below `low` are over. Returns its session."""
        session = self._by_author.pop(author, None) or Session(member)
        self._by_author[author] = session
        session.member, session.is_present = member, True
        if low > session.low:
            session.low = low
            for number in [each for each in session.results if each < low]:
                del session.results[number]
        return session

    def result(self, author: bytes, number: int) -> Result | None:
        """The result of a command; None if it was not done, or if its author no longer needs the result."""
        session = self._by_author.get(author)
        return session.results.get(number) if session is not None else None

    def is_done(self, author: bytes, number: int) -> bool:
        """True if this command has been done in this state."""
        session = self._by_author.get(author)
        return session is not None and (number < session.low or number in session.results)

    def is_new_merge(self, author: bytes, number: int) -> bool:
        """True the first time it is called for a command of a lost history. Later it is False."""
        key = author + number.to_bytes(8, "big")
        if key in self._merged:
            return False
        self._merged[key] = None
        if len(self._merged) > MERGED_MAX:
            del self._merged[next(iter(self._merged))]
        return True

    def present(self, members: Iterable[MemberId]) -> list[bytes]:
        """Note the present members. Returns the authors that have left with this change, in ascending order."""
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
        """The whole table, packed."""
        table = [
            [author, s.member, s.is_present, s.low, [[n, *result] for n, result in s.results.items()]]
            for author, s in self._by_author.items()
        ]
        packed: bytes = msgpack.packb([table, list(self._merged)])
        return packed

    @classmethod
    def restored(cls, snapshot: bytes) -> Sessions:
        """The table from its packed form. Raises ValueError, TypeError or msgpack's exceptions for other bytes."""
        made = cls()
        table, merged = msgpack.unpackb(snapshot, use_list=False, strict_map_key=False)
        for author, member, is_present, low, results in table:
            kept = {number: (is_done, value) for number, is_done, value in results}
            made._by_author[author] = Session(member, is_present, low, kept)
        made._merged = dict.fromkeys(merged)
        return made
