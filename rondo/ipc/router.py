"""What the server's end of connections does, whichever way it goes: in the calling thread (`local_router`), or by
libzmq (`remote_router`)."""

from __future__ import annotations

from typing import Protocol


class Router(Protocol):
    """Binds; nothing here ever waits. An envelope comes with the identity of its connection, which is never used again.

    Whoever polls looks at `has_pending` before, since not every way has a descriptor that tells of all.
    """

    @property
    def has_pending(self) -> bool:
        """Whether `receive` would do something that no descriptor tells of."""
        ...

    @property
    def has_gone(self) -> bool:
        """Whether `take_gone` would give something."""
        ...

    def fileno(self) -> int:
        """What to poll for reading."""
        ...

    def receive(self, limit: int = 64) -> list[tuple[bytes, bytes | None]]:
        """(identity, envelope) of at most `limit` that have come; None is what cannot be an envelope."""
        ...

    def send(self, identity: bytes, envelope: bytes, *, more: bool = False) -> bool | None:
        """Send to one connection: False if there is no room now, None if it is over. `more`: another one to it follows
        at once."""
        ...

    def take_gone(self) -> list[bytes]:
        """Connections that are over since the last call."""
        ...

    def close(self) -> None:
        """Close everything."""
        ...
