"""The interface of the server's end of connections. `local_router` works in the calling thread, `remote_router` uses
libzmq."""

from __future__ import annotations

from typing import Protocol


class Router(Protocol):
    """Binds an endpoint. No method blocks. An envelope comes with the identity of its connection; identities are never
    reused.

    Check `has_pending` before polling, since not every implementation's descriptor tells of everything.
    """

    @property
    def has_pending(self) -> bool:
        """True if `receive` has work of which no descriptor tells."""
        ...

    @property
    def has_gone(self) -> bool:
        """True if `take_gone` would return something."""
        ...

    def fileno(self) -> int:
        """The descriptor to poll for reading."""
        ...

    def receive(self, limit: int = 64) -> list[tuple[bytes, bytes | None]]:
        """At most `limit` pairs (identity, envelope). None in place of an envelope is a message that cannot be one."""
        ...

    def send(self, identity: bytes, envelope: bytes, *, more: bool = False) -> bool | None:
        """Send to one connection. False if there is no room now, None if the connection is gone. `more`: another
        envelope to it follows at once."""
        ...

    def take_gone(self) -> list[bytes]:
        """Connections that have ended since the last call."""
        ...

    def close(self) -> None:
        """Close all descriptors."""
        ...
