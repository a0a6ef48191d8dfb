"""The sockets that clients connect to, as one: that of this machine's processes, and that of remote clients if any.

The first byte of a connection's name says whose it is.
"""

from collections.abc import Iterator

from services.ipc_gateway.front import Front, Received
from services.ipc_gateway.local_front import LocalFront

LOCAL, REMOTE = b"L", b"R"


class Doors:
    """All fronts."""

    def __init__(self, local: LocalFront, remote: Front | None) -> None:
        self._local = local
        self._fronts: dict[bytes, Front | LocalFront] = {LOCAL: local}
        if remote is not None:
            self._fronts[REMOTE] = remote

    def open_to_others(self, *, is_open: bool) -> None:
        """Whether other users of this machine may come and ask."""
        self._local.open_to_others(is_open=is_open)

    def filenos(self) -> list[int]:
        """To be polled for input of clients."""
        return [descriptor for front in self._fronts.values() for descriptor in front.filenos()]

    def monitor_filenos(self) -> list[int]:
        """To be polled for connections that end."""
        return [descriptor for front in self._fronts.values() for descriptor in front.monitor_filenos()]

    def has_input(self) -> bool:
        """Whether something was left over that no descriptor tells of. Every front is asked."""
        waits = [front.has_input() for front in self._fronts.values()]
        return any(waits)

    def receive(self) -> Iterator[Received]:
        """What clients sent, a bounded number of envelopes."""
        for door, front in self._fronts.items():
            for received in front.receive():
                yield received._replace(connection=door + received.connection)

    def note(self, received: Received) -> None:
        """This connection said hello: report it when it is gone."""
        self._fronts[received.connection[:1]].note(received._replace(connection=received.connection[1:]))

    def gone(self) -> list[bytes]:
        """Connections that have ended since the last call."""
        return [door + connection for door, front in self._fronts.items() for connection in front.gone()]

    @property
    def has_gone(self) -> bool:
        """Whether a monitor has reported connections that `gone` has not given yet."""
        return any(front.has_gone for front in self._fronts.values())

    def send(self, connection: bytes, envelope: bytes, *, more: bool = False) -> bool:
        """Send; False if there is no room. To a connection that has ended it goes nowhere. `more`: another one to it
        follows at once."""
        return self._fronts[connection[:1]].send(connection[1:], envelope, more=more)

    def close(self) -> None:
        """Close all sockets."""
        for front in self._fronts.values():
            front.close()
