"""What a replica needs of the state that it replicates, and what it tells of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Machine(Protocol):
    """A state that changes by commands alone, and alike everywhere."""

    def apply(self, author: bytes, command: bytes) -> bytes:
        """Carry out a command. What it raises is its result, and must be the same everywhere."""

    def gone(self, author: bytes) -> None:
        """The process of that author has died, or is cut off from the majority."""

    def snapshot(self) -> Iterable[bytes]:
        """The state as it is now, in pieces. They may be made later, and must not show later changes."""

    def restore(self, pieces: Iterator[bytes]) -> None:
        """Be what the snapshot says."""


@dataclass(frozen=True, slots=True)
class Ready:
    """This replica has the state of the group, and the group goes on."""


@dataclass(frozen=True, slots=True)
class NotReady:
    """It may not: it is alone, cut off, or without the state."""

    why: str


@dataclass(frozen=True, slots=True)
class Progress:
    """A part of the state has come."""

    pieces: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Lost:
    """This replica's history was thrown away for another: author, number and command of what that one does not have."""

    commands: tuple[tuple[bytes, int, bytes], ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A command or a read of one's own is over. A read: `is_done`, and the state is now what is to be read."""

    number: int
    is_done: bool
    value: bytes


@dataclass(frozen=True, slots=True)
class Look:
    """The state is now what this read is to see; its outcome comes when that is certain to last."""

    number: int


@dataclass(frozen=True, slots=True)
class Conflict:
    """This replica may not be in this group, and does nothing any more."""

    why: str


@dataclass(frozen=True, slots=True)
class Members:
    """Who is in the group now: node and pid of each."""

    members: tuple[tuple[int, int], ...]


Notice = Ready | NotReady | Progress | Lost | Outcome | Look | Conflict | Members
