"""The socket that processes of this machine connect to. Envelopes come out of it with the stamp of their connection.

It is a ROUTER like that for remote clients (`front.py`), but served by this thread itself (`rondo.ipc.local`): who is
at the other end, and that it is gone, the kernel says.
"""

from collections.abc import Callable, Iterator

from rondo.ipc.endpoints import remove_stale
from rondo.ipc.local import Credentials, Router
from services.ipc_gateway.credentials import Doorkeeper, Peer
from services.ipc_gateway.front import (
    ENVELOPE_ROOM_BYTES,
    ENVELOPES_PER_DRAIN,
    MODE_OPEN,
    MODE_PRIVATE,
    SEND_ENVELOPES_MAX,
    Received,
)


class LocalFront:
    """The ROUTER."""

    def __init__(
        self, endpoint: str, message_bytes_max: int, doorkeeper: Doorkeeper, *, open_to_others: bool = False
    ) -> None:
        """Binds; raises SocketError."""
        remove_stale(endpoint)
        self._stamp: Callable[[Peer, int], str] = doorkeeper.stamp
        self._stamps: dict[bytes, str] = {}
        self._router = Router(
            endpoint,
            MODE_OPEN if open_to_others else MODE_PRIVATE,
            admit=lambda who: doorkeeper.admits(_peer(who)),
            frame_bytes_max=message_bytes_max + ENVELOPE_ROOM_BYTES,
            high_water=SEND_ENVELOPES_MAX,
        )

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
            yield Received(connection, stamp, 0, envelope or b"")

    def note(self, received: Received) -> None:
        """This connection said hello."""

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

    def close(self) -> None:
        """Close everything."""
        self._router.close()


def _peer(who: Credentials) -> Peer:
    return Peer(who.uid, who.gid, who.pid)
