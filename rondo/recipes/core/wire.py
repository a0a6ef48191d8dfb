"""The messages that replicas of one recipe send to each other: msgpack arrays `[version, kind, field, ...]`.

What is not well-formed raises `Malformed` with a reason, which the replica counts; nothing else can come of it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar, get_type_hints

import msgpack

VERSION = 2

Era = tuple[int, int, int]
"""Ring sequence, representative, and index of the entry with which a history began to go on in that ring; on disk:
round, ring sequence, index."""
NO_ERA: Era = (0, 0, 0)
Fingerprint = tuple[Era, int, bytes]
"""Era, number of entries, digest of them all: equal fingerprints mean equal states."""
MemberId = tuple[int, int]
RingId = tuple[int, int]
SEAT_BYTES = 12


def seat(author: bytes) -> bytes:
    """Who an author is over several lives: one whose state is on disk has a number of its life behind that."""
    return author[:SEAT_BYTES]


def is_stored(author: bytes) -> bool:
    """Whether this author keeps its state on disk."""
    return len(author) > SEAT_BYTES


class Malformed(Exception):  # noqa: N818 - it is a reason, and no error of this program
    """A message that no replica of this version sends."""


@dataclass(frozen=True, slots=True)
class Commands:
    """Commands of one author, in the order of their numbers."""

    kind: ClassVar[int] = 0
    author: bytes
    stamp: int
    """Tells the author which of its messages has come back."""
    low: int
    """All its commands below this number are over: nobody will ask for their results."""
    items: tuple[tuple[int, bytes], ...]


@dataclass(frozen=True, slots=True)
class Reads:
    """A place in the order, at which the author reads."""

    kind: ClassVar[int] = 1
    author: bytes
    stamp: int


@dataclass(frozen=True, slots=True)
class Hello:
    """What a member has. In a group that goes on, it also asks for the state."""

    kind: ClassVar[int] = 2
    author: bytes
    life: int
    """Counts its joins."""
    token: int
    """Counts its hellos."""
    ring: RingId | None
    """None: it does not know yet; the ring in which it arrives."""
    fingerprint: Fingerprint
    is_sound: bool
    """It comes directly from the ring in which its history went on: nobody can have gone on without it."""
    holders: tuple[tuple[bytes, int, int], ...]
    """Author, node and pid of those who had this state when it last went on; without a state, of those known to have
    one."""
    knows: Era
    """The latest era that it knows somebody to have."""
    doubts: tuple[tuple[bytes, ...], ...]
    """Other sets of holders' seats, if it is not certain with whom it went on."""
    lineage: bytes
    """Of its history."""
    round: int
    """In memory 0. On disk: it takes part in no earlier formation than this, in no life."""
    begun: tuple[int, int, Fingerprint] | None
    """A transfer that was cut short: its first token, the parts that have come, what the state would be with all of
    it."""
    givers: tuple[MemberId, ...]
    members: tuple[MemberId, ...]
    """Who was in the group when this was said."""


@dataclass(frozen=True, slots=True)
class Form:
    """The group goes on from this state."""

    kind: ClassVar[int] = 3
    author: bytes
    ring: RingId
    why: str
    fingerprint: Fingerprint
    holders: tuple[tuple[bytes, int, int, int], ...]
    """Author, node, pid and life of everybody who has the state."""
    members: tuple[MemberId, ...]
    """Who was in the group when this was decided."""
    round: int
    """Of the hellos from which it was decided."""

    @property
    def era(self) -> Era:
        """That begins with it."""
        _, index, _ = self.fingerprint
        representative, sequence = self.ring
        return (self.round, sequence, index + 1) if self.round else (sequence, representative, index + 1)


@dataclass(frozen=True, slots=True)
class Stop:
    """The ring has lost quorum: the group does not go on."""

    kind: ClassVar[int] = 4
    author: bytes
    era: Era


@dataclass(frozen=True, slots=True)
class Begin:
    """The first part of a transfer: what there is to know of the state besides itself."""

    kind: ClassVar[int] = 5
    to: bytes
    token: int
    ring: RingId
    fingerprint: Fingerprint
    lineage: bytes
    holders: tuple[tuple[bytes, int, int], ...]
    doubts: tuple[tuple[int, tuple[bytes, ...]], ...]
    sessions: bytes
    givers: tuple[MemberId, ...]
    is_same: bool
    """The asker has this state already."""


@dataclass(frozen=True, slots=True)
class Part:
    """Part `number` of a transfer, from 1. A piece of a snapshot has several if it is large."""

    kind: ClassVar[int] = 6
    to: bytes
    token: int
    number: int
    data: bytes
    ends_piece: bool


@dataclass(frozen=True, slots=True)
class End:
    """That was all."""

    kind: ClassVar[int] = 7
    to: bytes
    token: int
    parts: int


@dataclass(frozen=True, slots=True)
class Again:
    """The transfer cannot be taken up again: ask anew."""

    kind: ClassVar[int] = 8
    to: bytes
    token: int


@dataclass(frozen=True, slots=True)
class Done:
    """The author has the state now."""

    kind: ClassVar[int] = 9
    author: bytes
    era: Era


@dataclass(frozen=True, slots=True)
class Merged:
    """Commands of a history that was thrown away, to be done on the one that went on: author, number, command."""

    kind: ClassVar[int] = 10
    author: bytes
    items: tuple[tuple[bytes, int, bytes], ...]


@dataclass(frozen=True, slots=True)
class Stored:
    """The author has its history of this era on disk, up to this index."""

    kind: ClassVar[int] = 11
    author: bytes
    era: Era
    index: int


@dataclass(frozen=True, slots=True)
class Lacks:
    """The author counts as one who has the state, and has it not: it left and came back before that was decided."""

    kind: ClassVar[int] = 12
    author: bytes
    era: Era


Letter = Commands | Reads | Hello | Form | Stop | Begin | Part | End | Again | Done | Merged | Stored | Lacks
_LETTERS: tuple[type[Letter], ...] = (
    Commands, Reads, Hello, Form, Stop, Begin, Part, End, Again, Done, Merged, Stored, Lacks,
)  # fmt: skip


def encode(letter: Letter) -> bytes:
    """The bytes of a message."""
    packed: bytes = msgpack.packb(
        [VERSION, letter.kind, *[getattr(letter, name) for name in _NAMES[letter.kind]]], use_bin_type=True
    )
    return packed


def decode(data: bytes) -> Letter:
    """The message in these bytes. Raises Malformed."""
    try:
        content = msgpack.unpackb(data, raw=False, use_list=False, strict_map_key=True)
    except Exception as error:  # whatever msgpack finds wrong with bytes of others
        raise Malformed("not msgpack") from error
    if type(content) is not tuple or len(content) < 2 or content[0] != VERSION:
        raise Malformed("another version")
    kind = content[1]
    if type(kind) is not int or not 0 <= kind < len(_LETTERS):
        raise Malformed("unknown kind")
    values = content[2:]
    checks = _CHECKS[kind]
    if len(values) != len(checks) or not all(check(value) for check, value in zip(checks, values, strict=True)):
        raise Malformed("wrong fields")
    return _LETTERS[kind](*values)


def _is_number(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**64


def _is_bytes(value: Any) -> bool:
    return type(value) is bytes


def _is_bool(value: Any) -> bool:
    return type(value) is bool


def _is_text(value: Any) -> bool:
    return type(value) is str


def _tuple_of(*checks: Any) -> Any:
    def check(value: Any) -> bool:
        return (
            type(value) is tuple
            and len(value) == len(checks)
            and all(one(item) for one, item in zip(checks, value, strict=True))
        )

    return check


def _many(check: Any) -> Any:
    return lambda value: type(value) is tuple and all(map(check, value))


def _or_none(check: Any) -> Any:
    return lambda value: value is None or check(value)


_ERA = _tuple_of(_is_number, _is_number, _is_number)
_PAIR = _tuple_of(_is_number, _is_number)
_FINGERPRINT = _tuple_of(_ERA, _is_number, _is_bytes)
_AUTHORS = _many(_is_bytes)
_BY_HINT: dict[Any, Any] = {
    int: _is_number,
    bytes: _is_bytes,
    bool: _is_bool,
    str: _is_text,
    Era: _ERA,
    Fingerprint: _FINGERPRINT,
    MemberId: _PAIR,
    MemberId | None: _or_none(_PAIR),
    tuple[bytes, ...]: _AUTHORS,
    tuple[tuple[bytes, ...], ...]: _many(_AUTHORS),
    tuple[MemberId, ...]: _many(_PAIR),
    tuple[tuple[int, tuple[bytes, ...]], ...]: _many(_tuple_of(_is_number, _AUTHORS)),
    tuple[tuple[int, bytes], ...]: _many(_tuple_of(_is_number, _is_bytes)),
    tuple[tuple[bytes, int, bytes], ...]: _many(_tuple_of(_is_bytes, _is_number, _is_bytes)),
    tuple[tuple[bytes, int, int], ...]: _many(_tuple_of(_is_bytes, _is_number, _is_number)),
    tuple[tuple[bytes, int, int, int], ...]: _many(_tuple_of(_is_bytes, *[_is_number] * 3)),
    tuple[int, int, Fingerprint] | None: _or_none(_tuple_of(_is_number, _is_number, _FINGERPRINT)),
}
_NAMES = [[field.name for field in fields(letter)] for letter in _LETTERS]
_CHECKS = [
    [_BY_HINT[get_type_hints(letter)[name]] for name in names] for letter, names in zip(_LETTERS, _NAMES, strict=True)
]
