"""Who is in: the ring that is installed, and the one that is being formed.

A ring passes through here in three steps: Commit names it and its members, Recovery finds out which of them come along
from the ring that is installed, and the installation puts it in that one's place. In Operational both are the same.
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
        """The ring that was committed to last: it is being formed, or installed."""
        self.old_ring_id = ring_id
        """The ring that is installed, or was until the change that is under way."""
        self.members: tuple[int, ...] = (node_id,)
        """Members of the installed ring, ascending."""
        self.new_members: tuple[int, ...] = ()
        """Members of the ring that was committed to last, ascending."""
        self.trans_members: tuple[int, ...] = ()
        """Members of the installed ring that come along into the new one."""
        self.ancestors: dict[int, RingId] = {}
        """The ring from which each member of `ring_id` came."""
        self.is_everywhere = True
        """Whether all members have installed the ring: the token has been to all of them since this one did."""
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
        """Every member has said in the commit token where it comes from: find those that come along."""
        entries = dict(zip(commit.addrs, commit.entries, strict=True))
        self.ancestors = {node: entry.ring for node, entry in entries.items()}
        self.trans_members = tuple(
            node for node in commit.addrs if node in self.members and entries[node].ring == self.old_ring_id
        )

    def install(self) -> None:
        """The ring that was being formed is in force."""
        self.members = self.new_members
        self.old_ring_id = self.ring_id
        self.is_everywhere = len(self.members) == 1

    def token_returned(self) -> None:
        """It has been to all members since this one installed the ring."""
        self.is_everywhere = True

    def must_wait(self, node: int) -> bool:
        """Whether a stranger comes too early: some members of this ring may still be about to install it.

        To begin anew now would part those who have installed it from those who have not: each would be told that the
        other has left and joined in one change, although both are sound. The stranger will show itself again.
        """
        return not self.is_everywhere and node not in self.members
