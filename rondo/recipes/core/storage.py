"""What of a history is written where, and so what will outlive even the end of all processes.

A replica whose state is on disk leaves `writes`: each entry, and now and then a snapshot. Its shell carries them out in
order and says how far it is. Then the replica says so to the others (`Stored`), and all know how far each is.

A caller is told that a command is done once enough holders have it on disk. *Enough* is half of them: after the end of
all processes the group goes on only with more than half of the disks (`formation.py`), so one of these has it. The
holders change too. Those of before are in doubt until half of *them* have the change on disk; meanwhile half of both is
needed. Otherwise most of the old ones, who do not know of the change, could go on from an older state. That is joint
consensus (Ongaro, 2014, 4.3), with half where that has most, because what is ordered needs no election.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgpack

from rondo.recipes.core.history import History
from rondo.recipes.core.transfer import Entry
from rondo.recipes.core.wire import NO_ERA, Era, Fingerprint, Malformed, MemberId, Stored, decode, seat

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FORMAT = 1
Place = tuple[Era, int]
"""Era and index of the last entry of it."""


@dataclass(frozen=True, slots=True)
class Append:
    """One more record; with it the history is there up to `place` (None: as far as before)."""

    record: bytes
    place: Place | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """From here on records belong to this state. `is_adopted`: it has come from others, and is not what was written
    before; until it is written, what was written before stands."""

    header: bytes
    sessions: bytes
    pieces: Iterator[bytes]
    fingerprint: Fingerprint
    is_adopted: bool

    @property
    def place(self) -> Place:
        """Of the state."""
        return self.fingerprint[:2]


@dataclass(frozen=True, slots=True)
class Round:
    """This disk takes part in no earlier round."""

    round: int


Write = Append | Snapshot | Round


class Storage:
    """Of one replica."""

    def __init__(self, author: bytes, *, has_votes: bool) -> None:
        self.writes: deque[Write] = deque()
        self._author = author
        self._has_votes = has_votes
        self._era = NO_ERA
        self._stored: dict[bytes, int] = {}
        """By seat: how far its disk has the history of this era."""
        self._held: deque[tuple[int, int]] = deque()
        """Index and number of what callers wait for, which is done and not certain to outlive everything."""
        self._said = 0
        self._is_on_the_way = False
        self.round = 0
        """The latest of which the disk is to know."""
        self.round_written = 0

    def at_least(self, number: int) -> None:
        """Take part in no earlier round than this, from when it is written."""
        if number > self.round:
            self.round = number
            self.writes.append(Round(number))

    # -- what is to be written -----------------------------------------------------------------------------------

    def append(self, entry: Entry, history: History) -> None:
        """An entry was applied."""
        if history.era != self._era:
            self._begin(history.era)
        record = msgpack.packb(["entry", entry.sender, entry.raw, entry.is_certain, entry.members])
        self.writes.append(Append(record, (history.era, history.index)))

    def snapshot(self, history: History, sessions: bytes, pieces: Iterable[bytes], *, is_adopted: bool) -> None:
        """This is the state, from here on."""
        if is_adopted:
            self._begin(history.era)
        holders = [[author, *member] for author, member in history.holders.items()]
        doubts = [[index, sorted(seats)] for index, seats in history.doubts]
        known = [FORMAT, history.era, history.index, history.digest, history.lineage, holders, doubts]
        self.writes.append(Snapshot(msgpack.packb(known), sessions, iter(pieces), history.fingerprint, is_adopted))

    def _begin(self, era: Era) -> None:
        """Another history: what was said of the old one does not count."""
        self._era = era
        self._stored.clear()
        self._said = 0
        self.stop()

    def stop(self) -> None:
        """The group does not go on: what is held will be looked at again when it does."""
        self._held.clear()
        self._is_on_the_way = False

    # -- what is written -----------------------------------------------------------------------------------------

    def written(self, place: Place) -> None:
        """The own disk has everything up to there."""
        era, index = place
        if era == self._era:
            own = seat(self._author)
            self._stored[own] = max(index, self._stored.get(own, 0))

    def message(self) -> Stored | None:
        """What is to be said of it now. One at a time is on its way."""
        index = self._stored.get(seat(self._author), 0)
        if self._is_on_the_way or index <= self._said:
            return None
        self._is_on_the_way, self._said = True, index
        return Stored(self._author, self._era, index)

    def heard(self, letter: Stored, history: History) -> None:
        """How far a disk is."""
        if letter.author == self._author:
            self._is_on_the_way = False
        if letter.era != self._era or letter.era != history.era:
            return
        of = seat(letter.author)
        self._stored[of] = max(letter.index, self._stored.get(of, 0))
        for index in {index for index, _ in history.doubts}:
            if all(self._common(seats) >= index for at, seats in history.doubts if at == index):
                history.settled(index)
                self.writes.append(Append(msgpack.packb(["settled", index]), None))

    def _common(self, seats: frozenset[bytes]) -> int:
        """How far half of them are, at least."""
        indices = sorted((self._stored.get(each, 0) for each in seats), reverse=True)
        return indices[(len(indices) + 1) // 2 - 1] if indices else 0

    def durable(self, history: History) -> int:
        """Everything up to this index outlives the end of all processes."""
        doubts = [seats for _, seats in history.doubts] if self._has_votes else []
        return min(self._common(seats) for seats in (history.seats, *doubts))

    # -- who waits for it ----------------------------------------------------------------------------------------

    def hold(self, index: int, numbers: Iterable[int]) -> None:
        """Somebody waits for these, which were done with this entry."""
        self._held.extend((index, number) for number in numbers)

    def held(self) -> set[int]:
        """Everything for which somebody waits."""
        return {number for _, number in self._held}

    def due(self, history: History) -> list[int]:
        """What will outlive everything now."""
        if not self._held:
            return []
        durable = self.durable(history)
        found = []
        while self._held and self._held[0][0] <= durable:
            found.append(self._held.popleft()[1])
        return found


def history_of(header: bytes) -> History:
    """What a snapshot says of its state. Raises Malformed."""
    try:
        version, era, index, digest, lineage, holders, doubts = msgpack.unpackb(header, use_list=False)
        if version != FORMAT:
            raise Malformed(f"format {version}, and this version knows {FORMAT}")
        at = {author: (node, pid) for author, node, pid in holders}
        return History(era, index, digest, at, [(n, frozenset(seats)) for n, seats in doubts], lineage, is_stored=True)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise Malformed(f"no header of a snapshot: {error}") from error


def entry_of(record: bytes) -> Entry | int:
    """The entry in a record, or the index of a change that is not in doubt any more. Raises Malformed."""
    try:
        kind, *values = msgpack.unpackb(record, use_list=False)
        if kind == "settled":
            return int(values[0])
        sender, raw, is_certain, members = values
        return Entry(_member(sender), raw, decode(raw) if raw else None, is_certain, tuple(map(_member, members)))
    except (ValueError, TypeError, IndexError, msgpack.UnpackException) as error:
        raise Malformed(f"no record of a log: {error}") from error


def _member(value: Any) -> MemberId:
    node, pid = value
    return int(node), int(pid)
