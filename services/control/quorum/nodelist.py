"""The quorum service proper (Corosync's service 3): in its sync step it tells clients which nodes joined and left.

It sends no messages, and works without a quorum provider, too. The next ring may cut off a sync before this step. The
lists are then relative to the last event, so that joined and left add up. A node that left and came back in between is
in both lists: it has lost its state, and clients must know.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from services.control.quorum.events import Nodelist, Ring


class NodelistTracker:
    """The members that this node's clients know."""

    def __init__(self) -> None:
        self.told: tuple[int, ...] = ()
        """Members of the last event."""
        self.ring = Ring(0, 0)
        """The ring of the last event."""
        self._next_ring = Ring(0, 0)
        self._next_members: tuple[int, ...] = ()
        self._staying: frozenset[int] | None = None
        """The nodes that were in every transitional configuration since the last event; None: there was none."""

    def transitional(self, members: Sequence[int]) -> None:
        """A ring ends. These members move on together."""
        self._staying = frozenset(members) if self._staying is None else self._staying.intersection(members)

    def sync_init(self, ring: Ring, members: Sequence[int]) -> None:
        """A ring was installed."""
        self._next_ring, self._next_members = ring, tuple(sorted(members))

    def sync_activate(self) -> Nodelist:
        """All members have completed this step: the event for clients."""
        staying = frozenset(self._next_members) if self._staying is None else self._staying
        before, now = frozenset(self.told), frozenset(self._next_members)
        joined = now - (before & staying)
        left = before - (now & staying)
        self.told, self.ring, self._staying = self._next_members, self._next_ring, None
        return Nodelist(self.ring, self.told, tuple(sorted(joined)), tuple(sorted(left)))

    def current(self) -> Nodelist:
        """The first event for a new client."""
        return Nodelist(self.ring, self.told, (), ())

    def snapshot(self) -> list[Any]:
        """The state, as numbers and lists."""
        staying = None if self._staying is None else sorted(self._staying)
        return [list(self.ring), list(self.told), list(self._next_ring), list(self._next_members), staying]

    @classmethod
    def restore(cls, snapshot: list[Any]) -> NodelistTracker:
        """The state of a snapshot. Raises ValueError or TypeError if it is not one."""
        found = cls()
        ring, told, next_ring, next_members, staying = snapshot
        found.ring, found.told = Ring(*ring), tuple(told)
        found._next_ring, found._next_members = Ring(*next_ring), tuple(next_members)
        found._staying = None if staying is None else frozenset(staying)
        return found
