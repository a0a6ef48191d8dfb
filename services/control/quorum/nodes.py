"""The table of nodes that votequorum knows, and the vote arithmetic: the total of votes, and the quorum.

The table never shrinks: a node that is gone is dead, and its last votes are remembered for its return.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from services.control.quorum.events import NodeState
from services.control.quorum.wire import Flag

NODES_MAX = 384
"""The most nodes of a ring (PROCESSOR_COUNT_MAX of Corosync), so also the most that can have introduced themselves."""


@dataclass(slots=True)
class Node:
    """The state of one node."""

    node: int
    state: NodeState
    votes: int
    expected_votes: int
    flags: int


class Tally(NamedTuple):
    """The outcome of a count."""

    quorum: int
    """Votes needed for quorum."""
    total_votes: int
    """Votes of the members, and of the quorum device if this node casts its vote."""


class Nodes:
    """All nodes by id, this one included. The votes of the quorum device are kept separately."""

    def __init__(self, own: Node) -> None:
        self.own = own
        self.device_votes = 0
        self._by_id: dict[int, Node] = {own.node: own}

    def __iter__(self) -> Iterator[Node]:
        """All nodes, by ascending id."""
        return iter([self._by_id[node] for node in sorted(self._by_id)])

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, node: int) -> Node | None:
        """The node with this id; None if it was never seen."""
        return self._by_id.get(node)

    def add(self, node: Node) -> None:
        """Add a new node."""
        assert node.node not in self._by_id
        self._by_id[node.node] = node

    def members(self) -> list[Node]:
        """The nodes that are members now."""
        return [node for node in self._by_id.values() if node.state == NodeState.MEMBER]

    def member_votes(self) -> int:
        """Sum of the members' votes, without the device."""
        return sum(node.votes for node in self.members())

    def count(self, quorum_now: int, *, decrease: bool, expected_votes: int, two_node: bool) -> Tally:
        """Count votes.

        `quorum_now`: the present quorum; the new one is not lower unless `decrease`. `expected_votes`: used instead of
        the members' highest; 0 = use that one. `two_node`: quorum is 1 while there are at most two members.
        """
        members = self.members()
        total = sum(node.votes for node in members)
        voters = len(members)
        if self.own.flags & Flag.DEVICE_CASTS_VOTE:
            total += self.device_votes
            voters += 1
        highest = expected_votes or max((node.expected_votes for node in members), default=0)
        quorum = max((highest + 2) // 2, (total + 2) // 2)
        if not decrease:
            quorum = max(quorum, quorum_now)
        if two_node and voters <= 2:
            quorum = 1
        return Tally(quorum, total)

    def snapshot(self) -> list[Any]:
        """The state, for `restore`."""
        return [
            self.own.node,
            self.device_votes,
            [[node.node, int(node.state), node.votes, node.expected_votes, node.flags] for node in self],
        ]

    def restore(self, snapshot: list[Any]) -> None:
        """Restore the state of a snapshot."""
        own, self.device_votes, rows = snapshot
        self._by_id = {row[0]: Node(row[0], NodeState(row[1]), *row[2:]) for row in rows}
        self.own = self._by_id[own]
