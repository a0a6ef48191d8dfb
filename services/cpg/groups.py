"""The table of groups: who is in which, and which of them are sessions of this node.

A member is (node, pid). Members of a group are kept sorted; groups are gone through in the byte order of their names as
C strings, that is up to the first NUL, which is Corosync's order. The table is set right by every sync from what the
nodes say of their own processes, so nobody stays in it whose node does not vouch for him.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import Any

Member = tuple[int, int]
"""(node, pid)"""


class Group:
    """One group that has at least one member."""

    __slots__ = ("local", "members", "message_bytes", "messages", "name", "nodes")

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.members: list[Member] = []
        """Sorted."""
        self.nodes: dict[int, int] = {}
        """Members per node; only nodes that have some."""
        self.local: dict[int, int] = {}
        """pid by session: the members of this node, which get the group's events."""
        self.messages = self.message_bytes = 0
        """What the group was sent while this process saw it, by all its members: for people, so in no snapshot."""


class GroupTable:
    """All groups of the ring."""

    def __init__(self) -> None:
        self.groups: dict[bytes, Group] = {}

    def __iter__(self) -> Iterator[Group]:
        """Groups in order. A copy: groups may be changed meanwhile."""
        return iter([self.groups[name] for name in sorted(self.groups, key=_order)])

    def is_member(self, name: bytes, member: Member) -> bool:
        """Whether the process is in the group."""
        group = self.groups.get(name)
        if group is None:
            return False
        at = bisect_left(group.members, member)
        return at < len(group.members) and group.members[at] == member

    def add(self, name: bytes, member: Member) -> Group | None:
        """Put a process into a group; None if it is in it already."""
        if self.is_member(name, member):
            return None
        group = self.groups.get(name)
        if group is None:
            group = self.groups[name] = Group(name)
        group.members.insert(bisect_left(group.members, member), member)
        group.nodes[member[0]] = group.nodes.get(member[0], 0) + 1
        return group

    def remove(self, name: bytes, member: Member) -> Group | None:
        """Take a process out of a group; None if it is not in it. Its session stays in `local` until `forget`."""
        if not self.is_member(name, member):
            return None
        group = self.groups[name]
        del group.members[bisect_left(group.members, member)]
        left = group.nodes[member[0]] - 1
        if left:
            group.nodes[member[0]] = left
        else:
            del group.nodes[member[0]]
        if not group.members:
            del self.groups[name]
        return group

    def snapshot(self) -> list[Any]:
        """As plain values, in order: the same table always gives the same."""
        return [
            [group.name, [list(m) for m in group.members], [list(item) for item in sorted(group.local.items())]]
            for group in self
        ]

    @classmethod
    def restore(cls, values: list[Any]) -> GroupTable:
        """The inverse of `snapshot`. Raises ValueError, TypeError or the like for anything else."""
        table = cls()
        for name, members, local in values:
            for node, pid in members:
                table.add(name, (node, pid))
            table.groups[name].local = dict(local)
        return table


def _order(name: bytes) -> tuple[bytes, bytes]:
    return name.partition(b"\0")[0], name
