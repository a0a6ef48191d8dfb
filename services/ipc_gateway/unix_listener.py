"""The Unix socket that local processes connect to. Its envelopes come with the stamp of their connection.

This thread serves the ROUTER itself (`rondo.ipc.local_router`). The kernel reports who is at the other end, and when
that process is gone. What a user may take is bounded there.
"""

from collections.abc import Callable, Iterator

from rondo.ipc.bounds import Bounds
from rondo.ipc.doorbell import bell_of, ring
from rondo.ipc.endpoints import ipc_path, remove_stale
from rondo.ipc.local_router import Credentials, LocalRouter
from services.ipc_gateway.credentials import Doorkeeper, Peer
from services.ipc_gateway.listener import (
    ENVELOPE_ROOM_BYTES,
    ENVELOPES_PER_DRAIN,
    MODE_OPEN,
    MODE_PRIVATE,
    SEND_ENVELOPES_MAX,
    Received,
)


class UnixListener:
    """The ROUTER for local clients."""

    def __init__(
        self,
        endpoint: str,
        message_bytes_max: int,
        doorkeeper: Doorkeeper,
        bounds: Bounds,
        *,
        open_to_others: bool = False,
    ) -> None:
        """Binds; raises SocketError. `bounds`: what users may take."""
        remove_stale(endpoint)
        self._stamp: Callable[[Peer, int], str] = doorkeeper.stamp
        self._stamps: dict[bytes, str] = {}
        self._router = LocalRouter(
            endpoint,
            MODE_OPEN if open_to_others else MODE_PRIVATE,
            admit=lambda who: doorkeeper.admits(_peer(who)),
            frame_bytes_max=message_bytes_max + ENVELOPE_ROOM_BYTES,
            high_water=SEND_ENVELOPES_MAX,
            bounds=bounds,
        )
        assert self._router.accounts is not None
        self._accounts = self._router.accounts
        path = ipc_path(endpoint)
        if path is not None:
            ring(bell_of(path))

    def open_to_others(self, *, is_open: bool) -> None:
        """Set whether the file system lets other users open the socket."""
        self._router.change_mode(MODE_OPEN if is_open else MODE_PRIVATE)

    def filenos(self) -> list[int]:
        """The descriptors to poll."""
        return [self._router.fileno()]

    def monitor_filenos(self) -> list[int]:
        """The descriptors to poll for ended connections: none besides those of `filenos`."""
        return []

    def has_input(self) -> bool:
        """True if there is input of which no descriptor tells."""
        return self._router.has_pending

    def receive(self) -> Iterator[Received]:
        """Envelopes of clients, a bounded number."""
        for connection, envelope in self._router.receive(ENVELOPES_PER_DRAIN):
            stamp = self._stamps.get(connection)
            if stamp is None:
                who = self._router.credentials(connection)
                stamp = self._stamps[connection] = self._stamp(_peer(who), who.start_time)
            yield Received(connection, stamp, envelope or b"")

    def has_spoken(self, connection: bytes) -> None:
        """The connection has said what it wants: it may stay."""
        self._router.has_spoken(connection)

    def must_speak(self, connection: bytes) -> None:
        """What the connection wanted has ended: it may stay if it soon says what it wants now."""
        self._router.must_speak(connection)

    def end(self, connection: bytes) -> bool:
        """End the connection; its client may come back on another one."""
        self._router.end(connection)
        return True

    def gone(self) -> list[bytes]:
        """Connections that have ended since the last call."""
        gone = self._router.take_gone()
        for connection in gone:
            self._stamps.pop(connection, None)
        return gone

    @property
    def has_gone(self) -> bool:
        """True if `gone` would return something."""
        return self._router.has_gone

    def send(self, connection: bytes, envelope: bytes, *, more: bool = False) -> bool:
        """Send; False if there is no room. An envelope to an ended connection is dropped. `more`: another one to it
        follows at once."""
        return self._router.send(connection, envelope, more=more) is not False

    def tend(self, now_s: float) -> None:
        """Call once a second: end connections that are overdue."""
        self._router.tend(now_s)

    def hit(self, connection: bytes, bound: str) -> None:
        """Record that this connection has reached a bound."""
        if (uid := self._router.uid_of(connection)) is not None:
            self._accounts.hit(bound, uid)

    def take_hits(self) -> dict[tuple[str, str], int]:
        """Bounds that were reached since the last call: (bound, who), and how often."""
        return {(hit.bound, f"user {hit.uid}"): count for hit, count in self._accounts.take_hits().items()}

    def totals(self) -> dict[str, int]:
        """Counters, for the status."""
        return {**self._accounts.totals, **self._accounts.counters}

    def close(self) -> None:
        """Close the socket."""
        self._router.close()


def _peer(who: Credentials) -> Peer:
    return Peer(who.uid, who.gid, who.pid)
