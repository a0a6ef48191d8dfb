"""The socket for clients on other hosts. Envelopes come out of it with the stamp of their connection.

libzmq speaks CURVE with them (`rondo.ipc.remote_router`), behind a port of our own (`tcp_relay`).
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import zmq

from rondo.config.node import RemoteSettings
from rondo.ipc.remote_router import RemoteRouter
from rondo.paths import socket_endpoint
from services.ipc_gateway import remote
from services.ipc_gateway.listener import ENVELOPE_ROOM_BYTES, ENVELOPES_PER_DRAIN, Received
from services.ipc_gateway.tcp_relay import TcpRelay

SOCKET = "remote.sock"


class CurveListener:
    """The ROUTER and the port."""

    def __init__(
        self, context: "zmq.Context[zmq.Socket[bytes]]", run_dir: Path, message_bytes_max: int, settings: RemoteSettings
    ) -> None:
        """Binds; raises SocketError, KeyFileError, PathError. The doorkeeper must be there already."""
        self._hits: Counter[tuple[str, str]] = Counter()
        self._counters: Counter[str] = Counter()

        def secure(socket: "zmq.Socket[bytes]") -> None:
            socket.setsockopt(zmq.ZAP_DOMAIN, remote.ZAP_DOMAIN)
            remote.prepare(socket, settings)

        frame_bytes_max = message_bytes_max + ENVELOPE_ROOM_BYTES
        self._router = RemoteRouter(context, socket_endpoint(run_dir, SOCKET), frame_bytes_max, secure)
        try:
            self.relay = TcpRelay(settings, run_dir / SOCKET)
        except BaseException:
            self._router.close()
            raise

    def filenos(self) -> list[int]:
        """What to poll; readable means: look at `has_input`."""
        return [self._router.fileno()]

    def monitor_filenos(self) -> list[int]:
        """What to poll for connections that end."""
        return [self._router.monitor_fileno()]

    def has_input(self) -> bool:
        """Whether there is something to be received."""
        return self._router.has_pending

    def receive(self) -> Iterator[Received]:
        """What clients sent, a bounded number of envelopes."""
        for connection, envelope in self._router.receive(ENVELOPES_PER_DRAIN):
            yield Received(connection, self._router.user(connection), envelope or b"")

    def has_spoken(self, connection: bytes) -> None:
        """Who has a key that is let in may be silent anyway."""

    def must_speak(self, connection: bytes) -> None:
        """Who has a key that is let in may be silent."""

    def gone(self) -> list[bytes]:
        """Connections that have ended since the last call."""
        return self._router.take_gone()

    @property
    def has_gone(self) -> bool:
        """Whether `gone` would give something."""
        return self._router.has_gone

    def send(self, connection: bytes, envelope: bytes, *, more: bool = False) -> bool:
        """Send; False if there is no room. To a connection that has ended it goes nowhere."""
        return self._router.send(connection, envelope) is not False

    def end(self, connection: bytes) -> bool:
        """libzmq ends no connection of ours."""
        return False

    def tend(self, now_s: float) -> None:
        """Once a second: end the handshakes that take too long."""
        self.relay.tend(now_s)

    def hit(self, connection: bytes, bound: str) -> None:
        """A bound was reached on behalf of this connection."""
        self._counters[bound] += 1
        self._hits[bound, "a remote client"] += 1

    def take_hits(self) -> dict[tuple[str, str], int]:
        """How often whom which bound has stopped since the last call: (bound, who)."""
        hits = {**self._hits, **self.relay.hits}
        self._hits.clear()
        self.relay.hits.clear()
        return hits

    def totals(self) -> dict[str, int]:
        """Counters, for the status."""
        return {**self._counters, **self.relay.totals}

    def close(self) -> None:
        """Close everything."""
        self.relay.close()
        self._router.close()
