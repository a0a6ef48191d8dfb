"""The socket for clients on other hosts. Its envelopes come with the stamp of their connection.

libzmq speaks CURVE with the clients (`rondo.ipc.remote_router`), behind a port of the gateway's own (`tcp_relay`), and
asks `zap` who may connect.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import zmq

from rondo import curve
from rondo.config.node import RemoteSettings
from rondo.ipc.endpoints import SocketError
from rondo.ipc.remote_router import RemoteRouter
from rondo.paths import socket_endpoint
from services.ipc_gateway.credentials import Doorkeeper
from services.ipc_gateway.listener import ENVELOPE_ROOM_BYTES, ENVELOPES_PER_DRAIN, Received
from services.ipc_gateway.remote import ZAP_DOMAIN
from services.ipc_gateway.tcp_relay import TcpRelay
from services.ipc_gateway.zap import RemoteClients, ZapHandler

SOCKET: Final = "remote.sock"
HEARTBEAT_MS: Final = 1000
HEARTBEAT_TIMEOUT_MS: Final = 5000
HANDSHAKE_MS: Final = 3000
"""A connection that has not finished its handshake by then is closed."""
BACKLOG: Final = 128


class CurveListener:
    """The ROUTER, who may connect to it, and the relay's port."""

    def __init__(self, run_dir: Path, message_bytes_max: int, settings: RemoteSettings, doorkeeper: Doorkeeper) -> None:
        """Binds; raises SocketError, KeyFileError, PathError."""
        clients = RemoteClients(Path(settings.clients_file))
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.zap = ZapHandler(self._context, doorkeeper, clients)
        self._hits: Counter[tuple[str, str]] = Counter()
        self._counters: Counter[str] = Counter()

        def secure(socket: "zmq.Socket[bytes]") -> None:
            socket.setsockopt(zmq.ZAP_DOMAIN, ZAP_DOMAIN)
            _prepare(socket, settings)

        frame_bytes_max = message_bytes_max + ENVELOPE_ROOM_BYTES
        try:
            self._router = RemoteRouter(self._context, socket_endpoint(run_dir, SOCKET), frame_bytes_max, secure)
            self.relay = TcpRelay(settings, run_dir / SOCKET)
        except BaseException:
            self._context.destroy(linger=0)
            raise

    def filenos(self) -> list[int]:
        """The descriptors to poll. When one is readable, check `has_input`."""
        return [self._router.fileno()]

    def monitor_filenos(self) -> list[int]:
        """The descriptors to poll for ended connections."""
        return [self._router.monitor_fileno()]

    def has_input(self) -> bool:
        """True if there is something to receive."""
        return self._router.has_pending

    def receive(self) -> Iterator[Received]:
        """Envelopes of clients, a bounded number."""
        for connection, envelope in self._router.receive(ENVELOPES_PER_DRAIN):
            yield Received(connection, self._router.user(connection), envelope or b"")

    def has_spoken(self, connection: bytes) -> None:
        """Does nothing: a client with an admitted key may be silent."""

    def must_speak(self, connection: bytes) -> None:
        """Does nothing: a client with an admitted key may be silent."""

    def gone(self) -> list[bytes]:
        """Connections that have ended since the last call."""
        return self._router.take_gone()

    @property
    def has_gone(self) -> bool:
        """True if `gone` would return something."""
        return self._router.has_gone

    def send(self, connection: bytes, envelope: bytes, *, more: bool = False) -> bool:
        """Send; False if there is no room. An envelope to an ended connection is dropped."""
        return self._router.send(connection, envelope) is not False

    def end(self, connection: bytes) -> bool:
        """Always False: libzmq offers no way to end one connection."""
        return False

    def tend(self, now_s: float) -> None:
        """Call once a second: end handshakes that take too long."""
        self.relay.tend(now_s)

    def hit(self, connection: bytes, bound: str) -> None:
        """Record that this connection has reached a bound."""
        self._counters[bound] += 1
        self._hits[bound, "a remote client"] += 1

    def take_hits(self) -> dict[tuple[str, str], int]:
        """Bounds that were reached since the last call: (bound, who), and how often."""
        hits = {**self._hits, **self.relay.hits}
        self._hits.clear()
        self.relay.hits.clear()
        return hits

    def totals(self) -> dict[str, int]:
        """Counters, for the status."""
        return {**self._counters, **self.relay.totals}

    def close(self) -> None:
        """Close all sockets."""
        self.relay.close()
        self._router.close()
        self.zap.close()
        self._context.destroy(linger=0)


def _prepare(socket: "zmq.Socket[bytes]", settings: RemoteSettings) -> None:
    """Prepare a socket for remote clients before it is bound. Raises KeyFileError, SocketError."""
    pair = curve.read_key_pair(Path(settings.key_file))
    try:
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.setsockopt(zmq.CURVE_SECRETKEY, pair.secret)
    except zmq.ZMQError as error:
        raise SocketError(f"the installed ZeroMQ has no CURVE, which remote{{}} needs: {error.strerror}") from None
    socket.setsockopt(zmq.IPV6, int(":" in settings.address))
    socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS)
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
    socket.setsockopt(zmq.BACKLOG, BACKLOG)
