"""The interface of a replicated state, and the notices of a replica to its shell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Machine(Protocol):
    """A deterministic state machine. Only the entries of the group change it, in the same way on every replica."""

    def apply(self, author: bytes, command: bytes) -> bytes:
        """Apply a command. Returns its result. An exception is a result, too: it must be the same on every replica."""

    def went_on(self, ring_sequence: int) -> None:
        """The group has gone on in the ring with that sequence, which is larger than that of any ring with quorum
        before. Comes first in a new state, and before `gone`."""

    def gone(self, author: bytes) -> None:
        """Note that the process of this author has died, or is cut off from the majority."""

    def snapshot(self) -> Iterable[bytes]:
        """The present state in pieces. They may be consumed later, and must not show later changes."""

    def restore(self, pieces: Iterator[bytes]) -> None:
        """Set the state to that of a snapshot."""


@dataclass(frozen=True, slots=True)
class Ready:
    """This replica has the state of the group, and the group goes on."""


@dataclass(frozen=True, slots=True)
class NotReady:
    """This replica may not carry out commands. `why` says what is missing, for example quorum."""

    why: str


@dataclass(frozen=True, slots=True)
class Progress:
    """A piece of the state was received. Both numbers count from the beginning of the transfer."""

    pieces: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Lost:
    """This replica's history was replaced. `commands` (author, number, command) are not in the one that goes on."""

    commands: tuple[tuple[bytes, int, bytes], ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A command or read of this replica is over. For a read that `is_done`, the present state is what it has to see."""

    number: int
    is_done: bool
    value: bytes


@dataclass(frozen=True, slots=True)
class Look:
    """The present state is what this read has to see. Its `Outcome` follows when that state is durable."""

    number: int


@dataclass(frozen=True, slots=True)
class Conflict:
    """This replica does not fit into the group, and has stopped for good."""

    why: str


@dataclass(frozen=True, slots=True)
class Members:
    """The present members of the group: node and pid of each."""

    members: tuple[tuple[int, int], ...]


Notice = Ready | NotReady | Progress | Lost | Outcome | Look | Conflict | Members
