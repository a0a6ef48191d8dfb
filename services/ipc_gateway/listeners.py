"""All sockets that clients connect to, as one: the Unix socket and, if configured, the one for other hosts.

The first byte of a connection's name tells to which socket it belongs.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from services.ipc_gateway.listener import Listener, Received
from services.ipc_gateway.unix_listener import UnixListener

LOCAL: Final = b"L"
REMOTE: Final = b"R"


class Listeners:
    """The listeners as one."""

    def __init__(self, local: UnixListener, remote: Listener | None) -> None:
        self._local = local
        self._listeners: dict[bytes, Listener] = {LOCAL: local}
        if remote is not None:
            self._listeners[REMOTE] = remote

    def open_to_others(self, *, is_open: bool) -> None:
        """Set whether other users of this machine may open the socket."""
        self._local.open_to_others(is_open=is_open)

    def filenos(self) -> list[int]:
        """The descriptors to poll for input of clients."""
        return [descriptor for listener in self._listeners.values() for descriptor in listener.filenos()]

    def monitor_filenos(self) -> list[int]:
        """The descriptors to poll for ended connections."""
        return [descriptor for listener in self._listeners.values() for descriptor in listener.monitor_filenos()]

    def has_input(self) -> bool:
        """True if there is input of which no descriptor tells. Each listener is asked."""
        waits = [listener.has_input() for listener in self._listeners.values()]
        return any(waits)

    def receive(self) -> Iterator[Received]:
        """Envelopes of clients, a bounded number."""
        for which, listener in self._listeners.items():
            for received in listener.receive():
                yield received._replace(connection=which + received.connection)

    def has_spoken(self, connection: bytes) -> None:
        """The connection has said what it wants: it may stay."""
        self._listeners[connection[:1]].has_spoken(connection[1:])

    def must_speak(self, connection: bytes) -> None:
        """What the connection wanted has ended: it may stay if it soon says what it wants now."""
        self._listeners[connection[:1]].must_speak(connection[1:])

    def end(self, connection: bytes) -> bool:
        """End the connection; False if that is impossible. Its client may come back on another one."""
        return self._listeners[connection[:1]].end(connection[1:])

    def gone(self) -> list[bytes]:
        """Connections that have ended since the last call."""
        return [which + connection for which, listener in self._listeners.items() for connection in listener.gone()]

    @property
    def has_gone(self) -> bool:
        """True if a monitor has reported ended connections that `gone` has not returned yet."""
        return any(listener.has_gone for listener in self._listeners.values())

    def send(self, connection: bytes, envelope: bytes, *, more: bool = False) -> bool:
        """Send; False if there is no room. An envelope to an ended connection is dropped. `more`: another one to it
        follows at once."""
        return self._listeners[connection[:1]].send(connection[1:], envelope, more=more)

    def tend(self, now_s: float) -> None:
        """Call once a second: end connections that are overdue."""
        for listener in self._listeners.values():
            listener.tend(now_s)

    def hit(self, connection: bytes, bound: str) -> None:
        """Record that this connection has reached a bound."""
        self._listeners[connection[:1]].hit(connection[1:], bound)

    def take_hits(self) -> dict[tuple[str, str], int]:
        """Bounds that were reached since the last call: (bound, who), and how often."""
        return {key: count for listener in self._listeners.values() for key, count in listener.take_hits().items()}

    def totals(self) -> dict[str, int]:
        """Counters of all listeners, for the status."""
        totals: Counter[str] = Counter()
        for listener in self._listeners.values():
            totals.update(listener.totals())
        return dict(totals)

    def close(self) -> None:
        """Close all sockets."""
        for listener in self._listeners.values():
            listener.close()
