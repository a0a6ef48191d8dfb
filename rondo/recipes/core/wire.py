"""The messages between the replicas of one recipe: msgpack arrays `[version, kind, field, ...]`.

A message that is not well-formed raises `Malformed` with a reason. The replica counts it, and it has no other effect.
`core/__init__.py` explains the words.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar, get_type_hints

import msgpack

VERSION = 2

Era = tuple[int, int, int]
"""In memory: ring sequence and representative of the ring, and index of the entry that began the era in it.
On disk: round, ring sequence, index."""
NO_ERA: Era = (0, 0, 0)
Fingerprint = tuple[Era, int, bytes]
"""Era, number of entries, and digest of all entries. Equal fingerprints mean equal states."""
MemberId = tuple[int, int]
RingId = tuple[int, int]
SEAT_BYTES = 12


def seat(author: bytes) -> bytes:
    """The part of an author that stays the same. On disk a number follows it that grows with each start."""
    return author[:SEAT_BYTES]


def is_stored(author: bytes) -> bool:
    """True if this author keeps its state on disk."""
    return len(author) > SEAT_BYTES


class Malformed(Exception):  # noqa: N818 - the fault of a sender, not of this program
    """A message that no replica of this version sends."""


@dataclass(frozen=True, slots=True)
class Commands:
    """Commands of one author, in the order of their numbers."""

    kind: ClassVar[int] = 0
    author: bytes
    stamp: int
    """By this number the author recognises its own message when it is delivered."""
    low: int
    """All commands of the author below this number are over. Their results are not needed any more."""
    items: tuple[tuple[int, bytes], ...]


@dataclass(frozen=True, slots=True)
class Reads:
    """Marks the place in the order at which the author reads."""

    kind: ClassVar[int] = 1
    author: bytes
    stamp: int


@dataclass(frozen=True, slots=True)
class Hello:
    """The report of a member about its state. In a group that goes on it also asks for the state."""

    kind: ClassVar[int] = 2
    author: bytes
    life: int
    """The number of joins of this replica."""
    token: int
    """The number of hellos of this replica."""
    ring: RingId | None
    """None if it does not know its ring yet. Then the ring in which the hello arrives is meant."""
    fingerprint: Fingerprint
    is_sound: bool
    """True if it comes directly from the ring in which its history went on (`formation.py`)."""
    holders: tuple[tuple[bytes, int, int], ...]
    """Author, node and pid of those who had this state when it last went on. A member without a state names those
    that it knows to have one."""
    knows: Era
    """The latest era of any state that it knows of."""
    doubts: tuple[tuple[bytes, ...], ...]
    """The sets of seats in doubt: it is uncertain which of them went on (`history.py`)."""
    lineage: bytes
    """Identifies the beginning of its history."""
    round: int
    """On disk it takes part in no earlier round than this, not even after a restart. In memory 0."""
    begun: tuple[int, int, Fingerprint] | None
    """An interrupted transfer: token of its first hello, number of parts received, fingerprint with the backlog
    applied."""
    givers: tuple[MemberId, ...]
    members: tuple[MemberId, ...]
    """The members of the group when this was sent."""


@dataclass(frozen=True, slots=True)
class Form:
    """The decision that the group goes on, from the state `fingerprint`."""

    kind: ClassVar[int] = 3
    author: bytes
    ring: RingId
    why: str
    fingerprint: Fingerprint
    holders: tuple[tuple[bytes, int, int, int], ...]
    """Author, node, pid and life of each member that has the state."""
    members: tuple[MemberId, ...]
    """The members of the group when this was decided."""
    round: int
    """The round of the hellos from which this was decided. In memory 0."""

    @property
    def era(self) -> Era:
        """The era that begins with this decision."""
        _, index, _ = self.fingerprint
        representative, sequence = self.ring
        return (self.round, sequence, index + 1) if self.round else (sequence, representative, index + 1)


@dataclass(frozen=True, slots=True)
class Stop:
    """The ring has lost quorum, so the group stops."""

    kind: ClassVar[int] = 4
    author: bytes
    era: Era


@dataclass(frozen=True, slots=True)
class Begin:
    """The beginning of a transfer: all that belongs to the state apart from its content."""

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
    """True if the asker has this state already. No parts follow then."""


@dataclass(frozen=True, slots=True)
class Part:
    """Part `number` of a transfer, from 1. A large piece of a snapshot is sent in several parts."""

    kind: ClassVar[int] = 6
    to: bytes
    token: int
    number: int
    data: bytes
    ends_piece: bool


@dataclass(frozen=True, slots=True)
class End:
    """The end of a transfer with this number of parts."""

    kind: ClassVar[int] = 7
    to: bytes
    token: int
    parts: int


@dataclass(frozen=True, slots=True)
class Again:
    """The interrupted transfer cannot be resumed. The asker has to ask anew."""

    kind: ClassVar[int] = 8
    to: bytes
    token: int


@dataclass(frozen=True, slots=True)
class Done:
    """The author has the state now: it is a holder."""

    kind: ClassVar[int] = 9
    author: bytes
    era: Era


@dataclass(frozen=True, slots=True)
class Merged:
    """Commands of a history that was thrown away, for the one that went on: author, number, command."""

    kind: ClassVar[int] = 10
    author: bytes
    items: tuple[tuple[bytes, int, bytes], ...]


@dataclass(frozen=True, slots=True)
class Stored:
    """The author's disk has the history of this era up to this index."""

    kind: ClassVar[int] = 11
    author: bytes
    era: Era
    index: int


@dataclass(frozen=True, slots=True)
class Lacks:
    """A `Form` lists the author as a holder, but it has no state: it had left and joined again before the decision."""

    kind: ClassVar[int] = 12
    author: bytes
    era: Era


Letter = Commands | Reads | Hello | Form | Stop | Begin | Part | End | Again | Done | Merged | Stored | Lacks
_LETTERS: tuple[type[Letter], ...] = (
    Commands, Reads, Hello, Form, Stop, Begin, Part, End, Again, Done, Merged, Stored, Lacks,
)  # fmt: skip


def encode(letter: Letter) -> bytes:
    """Pack a message."""
    packed: bytes = msgpack.packb(
        [VERSION, letter.kind, *[getattr(letter, name) for name in _NAMES[letter.kind]]], use_bin_type=True
    )
    return packed


def decode(data: bytes) -> Letter:
    """Unpack a message. Raises Malformed."""
    try:
        content = msgpack.unpackb(data, raw=False, use_list=False, strict_map_key=True)
    except Exception as error:  # msgpack has no common class for what it raises
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
