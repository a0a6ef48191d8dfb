"""The members of the installed ring, and of the ring that is being formed.

A ring is set up here in three steps. Commit names it and its members. Recovery finds out which of them come along from
the installed ring. Installation makes it the installed ring.
"""

from __future__ import annotations

from services.totem.wire.base import RingId
from services.totem.wire.frames import Commit


class Membership:
    """The two rings of one node. Names are Corosync's (my_ring_id, my_memb_list and so on)."""

    __slots__ = (
        "ancestors", "is_everywhere", "members", "new_members", "node_id", "old_ring_id", "ring_id", "token_target",
        "trans_members",
    )  # fmt: skip

    def __init__(self, node_id: int, ring_id: RingId) -> None:
        self.node_id = node_id
        self.ring_id = ring_id
        """The ring that was committed to last. It is being formed, or it is installed."""
        self.old_ring_id = ring_id
        """The installed ring; during a change, the one that was installed before it."""
        self.members: tuple[int, ...] = (node_id,)
        """Members of the installed ring, ascending."""
        self.new_members: tuple[int, ...] = ()
        """Members of the ring that was committed to last, ascending."""
        self.trans_members: tuple[int, ...] = ()
        """Members of the installed ring that come along into the new one."""
        self.ancestors: dict[int, RingId] = {}
        """The ring from which each member of `ring_id` came."""
        self.is_everywhere = True
        """Whether all members have installed the ring. They have once the token has come round after this node's
        installation."""
        self.token_target = node_id
        """The next member in the ring that was committed to last."""

    @property
    def is_representative(self) -> bool:
        """Whether this node is the representative of the ring that was committed to last."""
        return self.ring_id.representative == self.node_id

    def commit_to(self, ring: RingId, members: tuple[int, ...], token_target: int) -> None:
        """A ring is being formed."""
        self.ring_id = ring
        self.new_members = members
        self.token_target = token_target

    def compare(self, commit: Commit) -> None:
        """All entries of the commit token are filled in: find the members that come along from the installed ring."""
        entries = dict(zip(commit.addrs, commit.entries, strict=True))
        self.ancestors = {node: entry.ring for node, entry in entries.items()}
        self.trans_members = tuple(
            node for node in commit.addrs if node in self.members and entries[node].ring == self.old_ring_id
        )

    def install(self) -> None:
        """The ring that was being formed becomes the installed ring."""
        self.members = self.new_members
        self.old_ring_id = self.ring_id
        self.is_everywhere = len(self.members) == 1

    def token_returned(self) -> None:
        """The token has come round since this node installed the ring."""
        self.is_everywhere = True

    def must_wait(self, node: int) -> bool:
        """Whether a stranger comes too early: some members of this ring may not have installed it yet.

        To begin anew now would separate the members that have installed the ring from those that have not. Each side
        would be told that the other left and joined in one change, although nothing failed. The stranger will send
        again.
        """
        return not self.is_everywhere and node not in self.members
