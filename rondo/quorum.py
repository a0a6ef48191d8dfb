"""The node's reports on quorum, as immutable values.

status = cluster.quorum.status()
for change in cluster.quorum.watch():
    match change:
        case rondo.quorum.Quorate(quorate=now, members=nodes): ...
        case rondo.quorum.Nodes(joined=came, left=gone): ...
        case rondo.quorum.ExpectedVotes(expected_votes=votes): ...
"""

from dataclasses import dataclass
from typing import Any

from rondo.events import Ring


@dataclass(frozen=True, slots=True)
class Node:
    """A node that votequorum has heard of."""

    node: int
    name: str
    """As in the nodelist; empty if it has none."""
    state: str
    """member, dead or leaving."""
    votes: int
    expected_votes: int
    """The expected votes of that node, as far as this one knows."""


@dataclass(frozen=True, slots=True)
class QuorumStatus:
    """The content of `rondo quorum`. Without a provider the numbers are None, and every node is quorate."""

    provider: str | None
    quorate: bool
    """True if this node's side of a split may act."""
    ring: Ring
    node: int
    """This node."""
    expected_votes: int | None
    highest_expected: int | None
    total_votes: int | None
    """Votes that are present."""
    quorum: int | None
    """Votes that are needed for quorum."""
    flags: tuple[str, ...]
    """The flags that are set: two_node, quorate, wait_for_all, last_man_standing, auto_tie_breaker, allow_downscale."""
    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Quorate:
    """Whether this node's side may act; after a change of the ring, and when quorum is won or lost."""

    quorate: bool
    ring: Ring
    members: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Nodes:
    """Nodes joined or left; it comes before the `Quorate` of the same ring."""

    ring: Ring
    members: tuple[int, ...]
    joined: tuple[int, ...]
    left: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ExpectedVotes:
    """Expected votes were set, or have risen."""

    expected_votes: int


Change = Quorate | Nodes | ExpectedVotes


def status_of(said: dict[str, Any]) -> QuorumStatus:
    """The status in a reply of the node."""
    nodes = tuple(Node(**node) for node in said["nodes"])
    return QuorumStatus(**said | {"ring": Ring(**said["ring"]), "flags": tuple(said["flags"]), "nodes": nodes})


def change_of(event: dict[str, Any]) -> Change | None:
    """The change in an event of the node; None for events that are only for C programs."""
    kind = event["event"]
    if kind == "quorum":
        return Quorate(event["quorate"], Ring(**event["ring"]), tuple(event["members"]))
    if kind == "nodelist":
        lists = (tuple(event[name]) for name in ("members", "joined", "left"))
        return Nodes(Ring(**event["ring"]), *lists)
    if kind == "expected_votes":
        return ExpectedVotes(event["expected_votes"])
    return None
