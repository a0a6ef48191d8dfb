"""The socket that processes of this machine connect to. Envelopes come out of it with the stamp of their connection.

Its ROUTER is served by this thread itself (`rondo.ipc.local_router`): who is at the other end, and that it is gone, the
kernel says. What a user may take is bounded there.
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
    """The ROUTER."""

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
        """Whether the file system lets other users come and ask at all."""
        self._router.change_mode(MODE_OPEN if is_open else MODE_PRIVATE)

    def filenos(self) -> list[int]:
        """What to poll."""
        return [self._router.fileno()]

    def monitor_filenos(self) -> list[int]:
        """What to poll for connections that end: nothing besides."""
        return []

    def has_input(self) -> bool:
        """Whether something was left over that no descriptor tells of."""
        return self._router.has_pending

    def receive(self) -> Iterator[Received]:
        """What clients sent, a bounded number of envelopes."""
        for connection, envelope in self._router.receive(ENVELOPES_PER_DRAIN):
            stamp = self._stamps.get(connection)
            if stamp is None:
                who = self._router.credentials(connection)
                stamp = self._stamps[connection] = self._stamp(_peer(who), who.start_time)
            yield Received(connection, stamp, envelope or b"")

    def has_spoken(self, connection: bytes) -> None:
        """This connection has said what it wants: it may stay."""
        self._router.has_spoken(connection)

    def must_speak(self, connection: bytes) -> None:
        """What this connection wanted is over: it may stay if it soon says what it wants now."""
        self._router.must_speak(connection)

    def end(self, connection: bytes) -> bool:
        """End it; its client may come back on another one."""
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
        """Whether `gone` would give something."""
        return self._router.has_gone

    def send(self, connection: bytes, envelope: bytes, *, more: bool = False) -> bool:
        """Send; False if there is no room. To a connection that has ended it goes nowhere. `more`: another one to it
        follows at once."""
        return self._router.send(connection, envelope, more=more) is not False

    def tend(self, now_s: float) -> None:
        """Once a second: end the connections whose time is over."""
        self._router.tend(now_s)

    def hit(self, connection: bytes, bound: str) -> None:
        """A bound was reached on behalf of this connection."""
        if (uid := self._router.uid_of(connection)) is not None:
            self._accounts.hit(bound, uid)

    def take_hits(self) -> dict[tuple[str, str], int]:
        """How often whom which bound has stopped since the last call: (bound, who)."""
        return {(hit.bound, f"user {hit.uid}"): count for hit, count in self._accounts.take_hits().items()}

    def totals(self) -> dict[str, int]:
        """Counters, for the status."""
        return {**self._accounts.totals, **self._accounts.counters}

    def close(self) -> None:
        """Close everything."""
        self._router.close()


def _peer(who: Credentials) -> Peer:
    return Peer(who.uid, who.gid, who.pid)
