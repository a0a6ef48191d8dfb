"""Common to the sockets that only answer calls: all but `cpg`."""

from __future__ import annotations

from typing import Final

from services.qb_gateway.connection import Connection

OPEN_MAX: Final = 8
"""So many requests of a program may wait for their answers. The libraries make one call at a time."""


class Calls:
    """A program has one call under way and waits for its answer, so it needs no more flow control than this. Each
    request is answered once."""

    def has_room(self, connection: Connection, *, is_last: bool = False) -> bool:
        """True if few of its requests wait for their answers: control may be away, and what is sent meanwhile stays in
        the program's own ring. Nothing else is due to a program that is gone."""
        return connection.requests_open < OPEN_MAX

    def adjust_flow(self, connection: Connection) -> None:
        """Does nothing: these programs do not multicast."""

    def written(self, connection: Connection) -> None:
        """Does nothing: nobody waits for written events."""
