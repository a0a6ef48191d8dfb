"""The table of groups: who is in which, and which of them are sessions of this node.

A member is (node, pid). Members of a group are kept sorted; groups are gone through in the byte order of their names as
C strings, that is up to the first NUL, which is Corosync's order. The table is set right by every sync from what the
nodes say of their own processes, so nobody stays in it whose node does not vouch for him.

One user may have thousands of groups. So what is asked of the whole table - its order, a session's groups, its packed
form - is kept up to date with each change, and not made anew from all groups, which would keep others waiting.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Any

import msgpack

from rondo.protocol.envelope import pack
from rondo.protocol.requests import HIDDEN_PREFIX

Member = tuple[int, int]
"""(node, pid)"""


class Group:
    """One group that has at least one member."""

    __slots__ = ("local", "members", "message_bytes", "messages", "name", "nodes", "packed", "packed_members")

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
        self.packed = self.packed_members = b""
        """Its rows in `snapshot` and `listing`; empty: they have to be packed."""

    def changed(self) -> None:
        """Members or sessions have changed."""
        self.packed = self.packed_members = b""

    def pack_members(self) -> bytes:
        """Name and members."""
        self.packed_members = packed = pack([self.name, self.members])
        return packed

    def pack(self) -> bytes:
        """Name, members, and sessions with their pids in order."""
        self.packed = packed = pack([self.name, self.members, sorted(self.local.items())])
        return packed


class GroupTable:
    """All groups of the ring."""

    def __init__(self) -> None:
        self.groups: dict[bytes, Group] = {}
        """By name. Only this class puts groups in and takes them out."""
        self._names: list[bytes] = []
        """In order."""
        self._of_session: dict[int, dict[bytes, int]] = {}
        """The groups of each session of this node, with its pid."""
        self._unpacked: dict[bytes, None] = {}
        """Names of the groups whose row in `snapshot` may have to be packed."""

    def __iter__(self) -> Iterator[Group]:
        """Groups in order. A copy: groups may be changed meanwhile."""
        return iter([self.groups[name] for name in self._names])

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
            insort(self._names, name, key=_order)
        group.members.insert(bisect_left(group.members, member), member)
        group.nodes[member[0]] = group.nodes.get(member[0], 0) + 1
        self._changed(group)
        return group

    def remove(self, name: bytes, member: Member) -> Group | None:
        """Take a process out of a group; None if it is not in it. Its session stays in `local` until `dismiss`."""
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
            del self._names[bisect_left(self._names, _order(name), key=_order)]
        self._changed(group)
        return group

    def admit(self, group: Group, session: int, pid: int) -> None:
        """A session of this node gets the group's events from now on, as the member with this pid."""
        group.local[session] = pid
        self._changed(group)
        self._of_session.setdefault(session, {})[group.name] = pid

    def dismiss(self, group: Group, pid: int) -> None:
        """The sessions with this pid do not get the group's events any more."""
        for session in [session for session, each in group.local.items() if each == pid]:
            del group.local[session]
            found = self._of_session[session]
            del found[group.name]
            if not found:
                del self._of_session[session]
        self._changed(group)

    def of_session(self, session: int) -> dict[bytes, int]:
        """The groups in which a session of this node is, with its pid."""
        return dict(self._of_session.get(session, ()))

    def _changed(self, group: Group) -> None:
        group.changed()
        self._unpacked[group.name] = None

    def pack_some(self, groups_max: int) -> bool:
        """Pack up to so many rows ahead of `snapshot`. True once it finds all of them packed."""
        unpacked = self._unpacked
        for _ in range(min(groups_max, len(unpacked))):
            group = self.groups.get(unpacked.popitem()[0])
            if group is not None and not group.packed:
                group.pack()
        return not unpacked

    def snapshot(self) -> bytes:
        """Packed, in order: the same table always gives the same."""
        self._unpacked.clear()
        return _array([group.packed or group.pack() for group in map(self.groups.__getitem__, self._names)])

    def listing(self, *, hidden: bool) -> bytes:
        """Packed rows of name and members, in order; `hidden`: the nodes' own groups too."""
        shown = [name for name in self._names if hidden or not name.startswith(HIDDEN_PREFIX)]
        return _array([group.packed_members or group.pack_members() for group in map(self.groups.__getitem__, shown)])

    @classmethod
    def restore(cls, values: list[Any]) -> GroupTable:
        """The inverse of `snapshot`. Raises ValueError, TypeError or the like for anything else."""
        table = cls()
        for name, members, local in values:
            for node, pid in members:
                table.add(name, (node, pid))
            for session, pid in local:
                table.admit(table.groups[name], session, pid)
        return table


def _array(rows: list[bytes]) -> bytes:
    """The msgpack array of values that are packed already."""
    header: bytes = msgpack.Packer().pack_array_header(len(rows))
    return header + b"".join(rows)


def _order(name: bytes) -> tuple[bytes, bytes]:
    return name.partition(b"\0")[0], name
