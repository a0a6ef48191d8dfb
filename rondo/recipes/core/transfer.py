"""State transfer: a member without the state receives it in parts, while commands go on.

The asker sends a hello. The state it receives is that of the hello's place in the order. Two holders take a snapshot at
that place, the giver and its deputy. Their parts are equal, because the place is. So if the giver dies, the deputy goes
on with the next part. The asker keeps all entries after its hello. From their digest it knows whether the state in
transfer still leads to the state of the group.
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
"""How many members may receive the state at once. Further ones get no answer, and ask again later."""
BACKLOG_BYTES_MAX = 256 * 1024 * 1024


class Giving:
    """One transfer on the side of the giver or its deputy."""

    def __init__(self, begin: Begin, asker: MemberId, pieces: Iterable[bytes]) -> None:
        self.asker = asker
        self.begin = begin
        self.token = begin.token
        """The token of the hello that is answered."""
        self._parts: Iterator[Part] = self._cut(iter(pieces))
        self._made = 0
        self._has_ended = False
        self.is_active = False
        """True for the one that sends: the giver, or the deputy after it has taken over."""
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
        """Resume after `parts` parts, as an answer to another hello. False if that is impossible."""
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
        """Note that a part was delivered."""
        if self._on_the_way:
            self._on_the_way.popleft()

    def messages(self) -> list[Part | End]:
        """The messages that may be sent now."""
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
    """A message or membership change, at its place in the order, that changes the state."""

    sender: MemberId
    raw: bytes
    letter: Letter | None
    """None for a membership change."""
    is_certain: bool
    members: tuple[MemberId, ...]


def advance(history: History, entry: Entry) -> None:
    """Append an entry to a history."""
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
    """One transfer on the side of the asker, from its hello on."""

    token: int
    """The token of the latest hello."""
    origin: int
    """The token of the first hello. Its place in the order is that of the state in transfer."""
    backlog: deque[Entry] = field(default_factory=deque)
    backlog_bytes: int = 0
    base: History | None = None
    """The history at the place of the first hello. None until a giver has sent it."""
    shadow: History | None = None
    """The history at the present place: `base` with the backlog applied."""
    sessions: bytes = b""
    givers: tuple[MemberId, ...] = ()
    giver: MemberId | None = None
    """The member that sent the last part."""
    is_same: bool = False
    """True if the own state is the one asked for, so no parts are sent."""
    parts: int = 0
    pieces: deque[bytes] = field(default_factory=deque)
    pieces_come: int = 0
    bytes_come: int = 0
    _unfinished: list[bytes] = field(default_factory=list)

    def begin(self, base: History, begin: Begin) -> None:
        """Take over what the giver says about the state it gives."""
        self.base, self.shadow = base, base.copy()
        self.sessions, self.givers, self.is_same = begin.sessions, begin.givers, begin.is_same
        for entry in self.backlog:
            advance(self.shadow, entry)

    def keep(self, entry: Entry) -> bool:
        """Keep an entry until the state is complete. False if the backlog is too large."""
        if self.shadow is not None:
            advance(self.shadow, entry)
        self.backlog.append(entry)
        self.backlog_bytes += len(entry.raw) + 64
        return self.backlog_bytes <= BACKLOG_BYTES_MAX

    def part(self, part: Part) -> bool:
        """Take a part. False if it is not the next one."""
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
        """All complete pieces. Each is released as it is taken."""
        while self.pieces:
            yield self.pieces.popleft()
