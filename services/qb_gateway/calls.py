"""Common to the sockets that only answer calls: all but `cpg`."""

from __future__ import annotations

from services.qb_gateway.connection import Connection


class Calls:
    """A program has one call under way and waits for its answer, so it needs no flow control."""

    def has_room(self, connection: Connection) -> bool:
        """Always true: its next request can be processed."""
        return True

    def adjust_flow(self, connection: Connection) -> None:
        """Does nothing: these programs do not multicast."""

    def written(self, connection: Connection) -> None:
        """Does nothing: nobody waits for written events."""
