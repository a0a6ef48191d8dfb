"""What the sockets have in common whose programs only call and are answered: all but `cpg`."""

from __future__ import annotations

from services.qb_gateway.connection import Connection


class Calls:
    """A program has one call under way and waits for its answer, so nothing has to hold it back."""

    def has_room(self, connection: Connection) -> bool:
        """Its next request can always be taken."""
        return True

    def adjust_flow(self, connection: Connection) -> None:
        """It does not multicast."""

    def written(self, connection: Connection) -> None:
        """Nothing waits for that."""
