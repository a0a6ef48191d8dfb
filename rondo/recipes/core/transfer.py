"""A state on its way to a member that has none, in parts, while commands go on.

The asker's hello has a place in the order; the state is that of this place. Two members take the snapshot there, the
giver and its deputy: if the giver dies, the deputy goes on with the next part, because the same place in the order
gives the same parts. The asker keeps the entries that come after its hello, and knows from their digest alone whether
what it is getting is still what the group has.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING

from rondo.recipes.core.wire import Begin, Commands, Done, End, Form, Lacks, Letter, MemberId, Merged, Part

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rondo.recipes.core.history import History

PART_BYTES_MAX = 256 * 1024
PARTS_ON_THE_WAY_MAX = 4
GIVERS = 2
GIVING_MAX = 16
"""So many members may be getting the state at once; who asks beyond asks again."""
BACKLOG_BYTES_MAX = 256 * 1024 * 1024


class Giving:
    """The giver's, or the deputy's, side of one transfer."""

    def __init__(self, begin: Begin, asker: MemberId, pieces: Iterable[bytes]) -> None:
        self.asker = asker
        self.begin = begin
        self.token = begin.token
        """Of the hello that is answered."""
        self._parts: Iterator[Part] = self._cut(iter(pieces))
        self._made = 0
        self._has_ended = False
        self.is_active = False
        """Whether it is this one that sends."""
        self._on_the_way: deque[Part] = deque()

    def _cut(self, pieces: Iterator[bytes]) -> Iterator[Part]:
        number = 0
        for piece in pieces:
            for at in range(0, max(1, len(piece)), PART_BYTES_MAX):
                number += 1
                data = piece[at : at + PART_BYTES_MAX]
                is_last = at + PART_BYTES_MAX >= len(piece)
                yield Part(self.begin.to, 0, number, data, is_last)

    def take_up(self, token: int, parts: int) -> bool:
        """Go on after so many parts, as an answer to another hello. False if that cannot be."""
        while self._made < parts and next(self._parts, None) is not None:
            self._made += 1
        while self._on_the_way and self._on_the_way[0].number <= parts:
            self._on_the_way.popleft()
        if self._made - len(self._on_the_way) != parts:
            return False
        self.is_active, self._has_ended = True, False
        self.token = token
        self._parts = chain(tuple(self._on_the_way), self._parts)
        self._made = parts
        self._on_the_way.clear()
        return True

    def came_back(self) -> None:
        """A part has its place in the order."""
        if self._on_the_way:
            self._on_the_way.popleft()

    def messages(self) -> list[Part | End]:
        """What may be sent now."""
        found: list[Part | End] = []
        while self.is_active and not self._has_ended and len(self._on_the_way) < PARTS_ON_THE_WAY_MAX:
            part = next(self._parts, None)
            if part is None:
                self._has_ended = True
                found.append(End(self.begin.to, self.token, self._made))
            else:
                self._made += 1
                self._on_the_way.append(part)
                found.append(Part(part.to, self.token, part.number, part.data, part.ends_piece))
        return found


@dataclass(slots=True)
class Entry:
    """An entry that came while the state was on its way."""

    sender: MemberId
    raw: bytes
    letter: Letter | None
    """None: a change of membership."""
    is_certain: bool
    members: tuple[MemberId, ...]


def advance(history: History, entry: Entry) -> None:
    """What an entry makes of a history."""
    letter = entry.letter
    if letter is not None and entry.is_certain:
        history.certain()
    match letter:
        case Commands() | Merged():
            history.advance(entry.raw)
        case Done():
            if letter.era == history.era:
                history.add_holder(letter.author, entry.sender, entry.raw, is_certain=entry.is_certain)
        case Lacks(author=author) if letter.era == history.era:
            history.remove_holder(author, entry.raw)
        case Lacks():
            history.advance(entry.raw)
        case Form():
            history.form(letter, entry.raw, entry.members, is_certain=entry.is_certain)
        case _:
            history.present(entry.members)


@dataclass(slots=True)
class Getting:
    """The asker's side, from its hello on."""

    token: int
    """Of the last hello."""
    origin: int
    """Of the first one: the place in the order to which the parts belong."""
    backlog: deque[Entry] = field(default_factory=deque)
    backlog_bytes: int = 0
    base: History | None = None
    """Of the place of the hello, once a giver has said it."""
    shadow: History | None = None
    """Of the place that the group has reached: what the state would be with all of the transfer and the backlog."""
    sessions: bytes = b""
    givers: tuple[MemberId, ...] = ()
    giver: MemberId | None = None
    """Who has sent something last."""
    is_same: bool = False
    """The own state is the one that was asked for."""
    parts: int = 0
    pieces: deque[bytes] = field(default_factory=deque)
    pieces_come: int = 0
    bytes_come: int = 0
    _unfinished: list[bytes] = field(default_factory=list)

    def begin(self, base: History, begin: Begin) -> None:
        """A giver says what the state is that it gives."""
        self.base, self.shadow = base, base.copy()
        self.sessions, self.givers, self.is_same = begin.sessions, begin.givers, begin.is_same
        for entry in self.backlog:
            advance(self.shadow, entry)

    def keep(self, entry: Entry) -> bool:
        """An entry for later. False if there are too many."""
        if self.shadow is not None:
            advance(self.shadow, entry)
        self.backlog.append(entry)
        self.backlog_bytes += len(entry.raw) + 64
        return self.backlog_bytes <= BACKLOG_BYTES_MAX

    def part(self, part: Part) -> bool:
        """The next part. False if it is another one."""
        if part.number != self.parts + 1:
            return False
        self.parts += 1
        self.bytes_come += len(part.data)
        self._unfinished.append(part.data)
        if part.ends_piece:
            self.pieces.append(b"".join(self._unfinished))
            self.pieces_come += 1
            self._unfinished = []
        return True

    def take_pieces(self) -> Iterator[bytes]:
        """All pieces; what is taken is not kept."""
        while self.pieces:
            yield self.pieces.popleft()
