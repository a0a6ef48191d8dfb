"""The socket for clients on other hosts. Envelopes come out of it with the stamp of their connection.

libzmq speaks CURVE with them, behind a port of our own (`tcp_door`). A connection that ends is reported at once:
libzmq's monitor names its descriptor, which was noted when the connection said hello. The monitor is drained before
data is read, and again at each hello, because descriptors are used again.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import zmq
from zmq.utils.monitor import recv_monitor_message

from rondo.config.node import RemoteSettings
from rondo.ipc.endpoints import SocketError, remove_stale
from rondo.paths import socket_endpoint
from services.ipc_gateway import remote
from services.ipc_gateway.received import ENVELOPE_ROOM_BYTES, ENVELOPES_PER_DRAIN, MODE_PRIVATE, Received
from services.ipc_gateway.tcp_door import TcpDoor

SEND_ENVELOPES_MAX = 64
"""Envelopes of about 256 KiB that wait in libzmq for one client; what does not fit there waits here, and is counted."""
RECEIVE_ENVELOPES_MAX = 16
SOCKET = "remote.sock"


class RemoteFront:
    """The ROUTER, its monitor, and the port."""

    def __init__(
        self, context: "zmq.Context[zmq.Socket[bytes]]", run_dir: Path, message_bytes_max: int, settings: RemoteSettings
    ) -> None:
        """Binds; raises SocketError, KeyFileError, PathError. The doorkeeper must be there already."""
        self.socket: zmq.Socket[bytes] = context.socket(zmq.ROUTER)
        self.socket.linger = 0
        self.socket.sndhwm = SEND_ENVELOPES_MAX
        self.socket.rcvhwm = RECEIVE_ENVELOPES_MAX
        self.socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self.socket.setsockopt(zmq.MAXMSGSIZE, message_bytes_max + ENVELOPE_ROOM_BYTES)
        self.socket.setsockopt(zmq.ZAP_DOMAIN, remote.ZAP_DOMAIN)
        try:
            remote.prepare(self.socket, settings)
        except BaseException:
            self.socket.close(linger=0)
            raise
        self.monitor = self.socket.get_monitor_socket(zmq.Event.DISCONNECTED)
        self._by_descriptor: dict[int, bytes] = {}
        self._gone: list[bytes] = []
        self._hits: Counter[tuple[str, str]] = Counter()
        self._counters: Counter[str] = Counter()
        endpoint = socket_endpoint(run_dir, SOCKET)
        remove_stale(endpoint)
        try:
            self.socket.bind(endpoint)
            (run_dir / SOCKET).chmod(MODE_PRIVATE)
            self.door = TcpDoor(settings, run_dir / SOCKET)
        except BaseException as error:
            self._close_sockets()
            if isinstance(error, SocketError):
                raise
            if isinstance(error, zmq.ZMQError | OSError):
                raise SocketError(f"{endpoint}: cannot be bound: {error.strerror or error}") from None
            raise

    def filenos(self) -> list[int]:
        """What to poll; readable means: look at `has_input`."""
        return [int(self.socket.getsockopt(zmq.FD))]

    def monitor_filenos(self) -> list[int]:
        """What to poll for connections that end."""
        return [int(self.monitor.getsockopt(zmq.FD))]

    def has_input(self) -> bool:
        """Whether there is something to be received. To ask makes the descriptor quiet."""
        return bool(int(self.socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN)

    def receive(self) -> Iterator[Received]:
        """What clients sent, a bounded number of envelopes."""
        for _ in range(ENVELOPES_PER_DRAIN):
            try:
                connection = self.socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            frame = self.socket.recv(copy=False)
            if not frame.more:
                yield Received(connection, str(frame.get("User-Id")), int(frame.get(zmq.SRCFD)), frame.bytes)
                continue
            while self.socket.recv(copy=False).more:
                pass
            # Half an envelope, or more than one: nothing that can be understood.
            yield Received(connection, str(frame.get("User-Id")), int(frame.get(zmq.SRCFD)), b"")

    def note(self, received: Received) -> None:
        """This connection said hello: report it when it is gone."""
        self._drain_monitor()
        self._by_descriptor[received.descriptor] = received.connection

    def gone(self) -> list[bytes]:
        """Connections that have ended since the last call."""
        self._drain_monitor()
        gone, self._gone = self._gone, []
        return gone

    @property
    def has_gone(self) -> bool:
        """Whether the monitor has reported connections that `gone` has not given yet."""
        return bool(self._gone)

    def _drain_monitor(self) -> None:
        while self.monitor.poll(0):
            descriptor = recv_monitor_message(self.monitor)["value"]
            connection = self._by_descriptor.pop(descriptor, None)
            if connection is not None:
                self._gone.append(connection)

    def send(self, connection: bytes, envelope: bytes, *, more: bool = False) -> bool:
        """Send; False if there is no room. To a connection that has ended it goes nowhere."""
        try:
            self.socket.send_multipart((connection, envelope), zmq.NOBLOCK, copy=len(envelope) < 65536)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
        return True

    def must_speak(self, connection: bytes) -> None:
        """Who has a key that is let in may be silent."""

    def end(self, connection: bytes) -> bool:
        """libzmq ends no connection of ours."""
        return False

    def tend(self, now_s: float) -> None:
        """Once a second: end the handshakes that take too long."""
        self.door.tend(now_s)

    def hit(self, connection: bytes, bound: str) -> None:
        """A bound was reached on behalf of this connection."""
        self._counters[bound] += 1
        self._hits[bound, "a remote client"] += 1

    def take_hits(self) -> dict[tuple[str, str], int]:
        """How often whom which bound has stopped since the last call: (bound, who)."""
        hits = {**self._hits, **self.door.hits}
        self._hits.clear()
        self.door.hits.clear()
        return hits

    def totals(self) -> dict[str, int]:
        """Counters, for the status."""
        return {**self._counters, **self.door.totals}

    def close(self) -> None:
        """Close everything."""
        self.door.close()
        self._close_sockets()

    def _close_sockets(self) -> None:
        self.socket.disable_monitor()
        self.monitor.close(linger=0)
        self.socket.close(linger=0)
