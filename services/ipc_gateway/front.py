"""A socket that clients connect to. Envelopes come out of it with the stamp of their connection.

A connection that ends is reported at once: libzmq's monitor names its descriptor, which was noted when the connection
said hello. The monitor is drained before data is read, and again at each hello, because descriptors are used again.
"""

from collections.abc import Iterator
from typing import NamedTuple

import zmq
from zmq.utils.monitor import recv_monitor_message

from rondo.config.node import RemoteSettings
from rondo.ipc.endpoints import SocketError, ipc_path, remove_stale
from services.ipc_gateway import remote
from services.ipc_gateway.credentials import ZAP_DOMAIN

SEND_ENVELOPES_MAX = 1024
"""Envelopes that wait in libzmq for one client; their bytes are bounded by what cpg sends without acknowledgement."""
RECEIVE_ENVELOPES_MAX = 16
ENVELOPE_ROOM_BYTES = 1024 * 1024
"""How much larger an envelope may be than the largest message."""
ENVELOPES_PER_DRAIN = 64
MODE_PRIVATE = 0o600
MODE_OPEN = 0o666


class Received(NamedTuple):
    """An envelope of a client."""

    connection: bytes
    """The routing id: unique as long as this process lives."""
    stamp: str
    descriptor: int
    envelope: bytes


class Front:
    """The ROUTER and its monitor."""

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        endpoint: str,
        message_bytes_max: int,
        *,
        open_to_others: bool = False,
        remote_settings: RemoteSettings | None = None,
    ) -> None:
        """Binds; raises SocketError, KeyFileError. The doorkeeper must be there already."""
        self.socket: zmq.Socket[bytes] = context.socket(zmq.ROUTER)
        self.socket.linger = 0
        self.socket.sndhwm = SEND_ENVELOPES_MAX
        self.socket.rcvhwm = RECEIVE_ENVELOPES_MAX
        self.socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self.socket.setsockopt(zmq.MAXMSGSIZE, message_bytes_max + ENVELOPE_ROOM_BYTES)
        self.socket.setsockopt(zmq.ZAP_DOMAIN, remote.ZAP_DOMAIN if remote_settings else ZAP_DOMAIN)
        if remote_settings:
            try:
                remote.prepare(self.socket, remote_settings)
            except BaseException:
                self.socket.close(linger=0)
                raise
        self.monitor = self.socket.get_monitor_socket(zmq.Event.DISCONNECTED)
        self._by_descriptor: dict[int, bytes] = {}
        self._gone: list[bytes] = []
        remove_stale(endpoint)
        try:
            self.socket.bind(endpoint)
            path = ipc_path(endpoint)
            if path is not None:
                path.chmod(MODE_OPEN if open_to_others else MODE_PRIVATE)
        except (zmq.ZMQError, OSError) as error:
            self.close()
            raise SocketError(f"{endpoint}: cannot be bound: {error.strerror or error}") from None

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

    def close(self) -> None:
        """Close both sockets."""
        self.socket.disable_monitor()
        self.monitor.close(linger=0)
        self.socket.close(linger=0)
