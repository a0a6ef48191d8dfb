"""Events of votequorum and the quorum service for clients, and requests to their host."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple


class Ring(NamedTuple):
    """Identifier of a ring."""

    representative: int
    sequence: int


class NodeState(IntEnum):
    """Votequorum's state of a node; numbers as in votequorum.h."""

    MEMBER = 1
    DEAD = 2
    LEAVING = 3


class QuorumChanged(NamedTuple):
    """The quorum service: at the end of each sync, and whenever `quorate` changes."""

    quorate: bool
    ring: Ring
    members: tuple[int, ...]


class VotesChanged(NamedTuple):
    """Votequorum's own quorum event; it follows each `QuorumChanged`."""

    quorate: bool
    nodes: tuple[tuple[int, int], ...]
    """(node, `NodeState`) of all nodes ever seen, ascending. A registered quorum device comes last, as node 0 in state
    0."""


class ExpectedVotes(NamedTuple):
    """Expected votes were set or have risen."""

    expected_votes: int


class Nodelist(NamedTuple):
    """The quorum service, in the sync of a ring, before its quorum event."""

    ring: Ring
    members: tuple[int, ...]
    joined: tuple[int, ...]
    left: tuple[int, ...]


class VotesNodelist(NamedTuple):
    """Votequorum, in the sync of a ring: the members."""

    ring: Ring
    members: tuple[int, ...]


class StoreBarrier(NamedTuple):
    """For the host: store the highest expected votes ever seen, for the next start (expected_votes_tracking)."""

    expected_votes: int


class Notice(NamedTuple):
    """For the host: a log line."""

    text: str


Event = QuorumChanged | VotesChanged | ExpectedVotes | Nodelist | VotesNodelist | StoreBarrier | Notice
