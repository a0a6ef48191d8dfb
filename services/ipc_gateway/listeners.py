"""The sockets that clients connect to, as one: that of this machine's processes, and that of remote clients if any.

The first byte of a connection's name says whose it is.
"""

from collections import Counter
from collections.abc import Iterator

from services.ipc_gateway.listener import Listener, Received
from services.ipc_gateway.unix_listener import UnixListener

LOCAL, REMOTE = b"L", b"R"


class Listeners:
    """All of them."""

    def __init__(self, local: UnixListener, remote: Listener | None) -> None:
        self._local = local
        self._listeners: dict[bytes, Listener] = {LOCAL: local}
        if remote is not None:
            self._listeners[REMOTE] = remote

    def open_to_others(self, *, is_open: bool) -> None:
        """Whether other users of this machine may come and ask."""
        self._local.open_to_others(is_open=is_open)

    def filenos(self) -> list[int]:
        """To be polled for input of clients."""
        return [descriptor for listener in self._listeners.values() for descriptor in listener.filenos()]

    def monitor_filenos(self) -> list[int]:
        """To be polled for connections that end."""
        return [descriptor for listener in self._listeners.values() for descriptor in listener.monitor_filenos()]

    def has_input(self) -> bool:
        """Whether something was left over that no descriptor tells of. Each is asked."""
        waits = [listener.has_input() for listener in self._listeners.values()]
        return any(waits)

    def receive(self) -> Iterator[Received]:
        """What clients sent, a bounded number of envelopes."""
        for which, listener in self._listeners.items():
            for received in listener.receive():
                yield received._replace(connection=which + received.connection)

    def has_spoken(self, connection: bytes) -> None:
        """This connection has said what it wants: it may stay."""
        self._listeners[connection[:1]].has_spoken(connection[1:])

    def must_speak(self, connection: bytes) -> None:
        """What this connection wanted is over: it may stay if it soon says what it wants now."""
        self._listeners[connection[:1]].must_speak(connection[1:])

    def end(self, connection: bytes) -> bool:
        """End it; False if that cannot be done. Its client may come back on another one."""
        return self._listeners[connection[:1]].end(connection[1:])

    def gone(self) -> list[bytes]:
        """Connections that have ended since the last call."""
        return [which + connection for which, listener in self._listeners.items() for connection in listener.gone()]

    @property
    def has_gone(self) -> bool:
        """Whether a monitor has reported connections that `gone` has not given yet."""
        return any(listener.has_gone for listener in self._listeners.values())

    def send(self, connection: bytes, envelope: bytes, *, more: bool = False) -> bool:
        """Send; False if there is no room. To a connection that has ended it goes nowhere. `more`: another one to it
        follows at once."""
        return self._listeners[connection[:1]].send(connection[1:], envelope, more=more)

    def tend(self, now_s: float) -> None:
        """Once a second: end the connections whose time is over."""
        for listener in self._listeners.values():
            listener.tend(now_s)

    def hit(self, connection: bytes, bound: str) -> None:
        """A bound was reached on behalf of this connection."""
        self._listeners[connection[:1]].hit(connection[1:], bound)

    def take_hits(self) -> dict[tuple[str, str], int]:
        """How often whom which bound has stopped since the last call: (bound, who)."""
        return {key: count for listener in self._listeners.values() for key, count in listener.take_hits().items()}

    def totals(self) -> dict[str, int]:
        """Counters of all, for the status."""
        totals: Counter[str] = Counter()
        for listener in self._listeners.values():
            totals.update(listener.totals())
        return dict(totals)

    def close(self) -> None:
        """Close all sockets."""
        for listener in self._listeners.values():
            listener.close()
