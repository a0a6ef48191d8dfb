"""Durability: how far the history is on the disk of each holder, and so which entries survive the end of all processes.

A replica with its state on disk fills `writes` with each entry, and now and then with a snapshot. Its shell carries
them out in order and reports how far it is. The replica tells the others with a `Stored` message. So each replica knows
how far every disk is.

A caller is told that a command is done once half of the holders have it on disk. Half is enough: after the end of all
processes the group goes on only with more than half of the disks (`formation.py`), so at least one of them has it.

The set of holders changes, too. A change is in doubt until half of the *previous* holders have it on disk. Until then
an entry needs half of both sets. Otherwise a majority of the previous holders, who do not know of the change, could go
on from an older state. This is joint consensus (Ongaro, 2014, 4.3), with half in place of a majority. Half is enough
here because the order comes from the ring and not from an elected leader.
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
"""A place in a history: era and index of an entry."""


@dataclass(frozen=True, slots=True)
class Append:
    """Append a record to the log. With it the history is on disk up to `place` (None: no further than before)."""

    record: bytes
    place: Place | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Write a snapshot. The records after it belong to its state.

    `is_adopted`: the state comes from another member and replaces the one on disk. The old one stays valid until the
    snapshot is complete.
    """

    header: bytes
    sessions: bytes
    pieces: Iterator[bytes]
    fingerprint: Fingerprint
    is_adopted: bool

    @property
    def place(self) -> Place:
        """Era and index of the state."""
        return self.fingerprint[:2]


@dataclass(frozen=True, slots=True)
class Round:
    """Write that this disk takes part in no earlier round."""

    round: int


Write = Append | Snapshot | Round


class Storage:
    """The writes of one replica, and what is known of all disks."""

    def __init__(self, author: bytes, *, has_votes: bool) -> None:
        self.writes: deque[Write] = deque()
        self._author = author
        self._has_votes = has_votes
        self._era = NO_ERA
        self._stored: dict[bytes, int] = {}
        """By seat: the index up to which its disk has the history of this era."""
        self._held: deque[tuple[int, int]] = deque()
        """Index and number of the own commands and reads that are done but not yet durable."""
        self._said = 0
        self._is_on_the_way = False
        self.round = 0
        """The latest round that the disk has to record. `round_written` is the latest that it has."""
        self.round_written = 0

    def at_least(self, number: int) -> None:
        """Have it recorded that this disk takes part in no earlier round than this."""
        if number > self.round:
            self.round = number
            self.writes.append(Round(number))

    # -- writes --------------------------------------------------------------------------------------------------

    def append(self, entry: Entry, history: History) -> None:
        """Have an applied entry written."""
        if history.era != self._era:
            self._begin(history.era)
        record = msgpack.packb(["entry", entry.sender, entry.raw, entry.is_certain, entry.members])
        self.writes.append(Append(record, (history.era, history.index)))

    def snapshot(self, history: History, sessions: bytes, pieces: Iterable[bytes], *, is_adopted: bool) -> None:
        """Have a snapshot written."""
        if is_adopted:
            self._begin(history.era)
        holders = [[author, *member] for author, member in history.holders.items()]
        doubts = [[index, sorted(seats)] for index, seats in history.doubts]
        known = [FORMAT, history.era, history.index, history.digest, history.lineage, holders, doubts]
        self.writes.append(Snapshot(msgpack.packb(known), sessions, iter(pieces), history.fingerprint, is_adopted))

    def _begin(self, era: Era) -> None:
        """Begin a new era: `Stored` messages of the old one do not count for it."""
        self._era = era
        self._stored.clear()
        self._said = 0
        self.stop()

    def stop(self) -> None:
        """Forget what is held: the group has stopped. When it goes on, commands are held anew and reads sent again."""
        self._held.clear()
        self._is_on_the_way = False

    # -- what the disks have -------------------------------------------------------------------------------------

    def written(self, place: Place) -> None:
        """Note that the own disk has everything up to `place`."""
        era, index = place
        if era == self._era:
            own = seat(self._author)
            self._stored[own] = max(index, self._stored.get(own, 0))

    def message(self) -> Stored | None:
        """The message that says how far the own disk is, if it has news. Only one is in flight at a time."""
        index = self._stored.get(seat(self._author), 0)
        if self._is_on_the_way or index <= self._said:
            return None
        self._is_on_the_way, self._said = True, index
        return Stored(self._author, self._era, index)

    def heard(self, letter: Stored, history: History) -> None:
        """Note how far the disk of another replica is, and settle the changes of holders that this allows."""
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
        """The index up to which at least half of these disks have the history."""
        indices = sorted((self._stored.get(each, 0) for each in seats), reverse=True)
        return indices[(len(indices) + 1) // 2 - 1] if indices else 0

    def durable(self, history: History) -> int:
        """The index up to which everything survives the end of all processes."""
        doubts = [seats for _, seats in history.doubts] if self._has_votes else []
        return min(self._common(seats) for seats in (history.seats, *doubts))

    # -- calls that wait for it ----------------------------------------------------------------------------------

    def hold(self, index: int, numbers: Iterable[int]) -> None:
        """Hold these own commands or reads, done at `index`, until they are durable."""
        self._held.extend((index, number) for number in numbers)

    def held(self) -> set[int]:
        """The numbers of all that is held."""
        return {number for _, number in self._held}

    def due(self, history: History) -> list[int]:
        """Remove and return the numbers of what has become durable."""
        if not self._held:
            return []
        durable = self.durable(history)
        found = []
        while self._held and self._held[0][0] <= durable:
            found.append(self._held.popleft()[1])
        return found


def history_of(header: bytes) -> History:
    """The history in the header of a snapshot. Raises Malformed."""
    try:
        version, era, index, digest, lineage, holders, doubts = msgpack.unpackb(header, use_list=False)
        if version != FORMAT:
            raise Malformed(f"format {version}, and this version knows {FORMAT}")
        at = {author: (node, pid) for author, node, pid in holders}
        return History(era, index, digest, at, [(n, frozenset(seats)) for n, seats in doubts], lineage, is_stored=True)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise Malformed(f"no header of a snapshot: {error}") from error


def entry_of(record: bytes) -> Entry | int:
    """The entry in a log record, or the index of a change of holders that was settled. Raises Malformed."""
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
