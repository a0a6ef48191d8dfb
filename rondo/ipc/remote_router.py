"""A libzmq ROUTER for clients on other hosts, as a `rondo.ipc.router.Router`. The other end is `remote_dealer`.

Reading a ROUTER does not show that a connection has ended. Only its monitor does, and it names the descriptor. So the
descriptor of each connection is recorded with its first envelope. Descriptors are reused: the monitor is read before a
new connection is recorded.
"""

from __future__ import annotations

from collections.abc import Callable

import zmq
from zmq.utils.monitor import recv_monitor_message

from rondo.ipc import zmq_sockets
from rondo.ipc.endpoints import SocketError, ipc_path, remove_stale

SEND_ENVELOPES_MAX = 64
"""Envelopes that wait in libzmq for one client."""
RECEIVE_ENVELOPES_MAX = 16
"""Envelopes of one client that libzmq reads ahead."""
MODE_PRIVATE = 0o600

Socket = zmq.Socket[bytes]


class RemoteRouter:
    """The socket, its monitor, and its connections."""

    def __init__(
        self, context: zmq.Context[Socket], endpoint: str, frame_bytes_max: int, secure: Callable[[Socket], object]
    ) -> None:
        """Binds `endpoint`; the file of a path is open to this user alone. `secure` sets the keys before. Raises
        SocketError, and what `secure` raises."""
        self._socket: Socket = context.socket(zmq.ROUTER)
        self._socket.linger = 0
        self._socket.sndhwm = SEND_ENVELOPES_MAX
        self._socket.rcvhwm = RECEIVE_ENVELOPES_MAX
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._socket.setsockopt(zmq.MAXMSGSIZE, frame_bytes_max)
        self._by_descriptor: dict[int, bytes] = {}
        self._users: dict[bytes, str] = {}
        self._gone: list[bytes] = []
        self._told_gone: list[bytes] = []
        """Connections of which the last `take_gone` told. What they had sent may still be received."""
        try:
            secure(self._socket)
        except BaseException:
            self._socket.close(linger=0)
            raise
        self._monitor: Socket = self._socket.get_monitor_socket(zmq.Event.DISCONNECTED)
        try:
            remove_stale(endpoint)
            self._socket.bind(endpoint)
            if (path := ipc_path(endpoint)) is not None:
                path.chmod(MODE_PRIVATE)
        except (zmq.ZMQError, OSError) as error:
            self.close()
            raise SocketError(f"{endpoint}: cannot be bound: {error.strerror or error}") from None

    @property
    def has_pending(self) -> bool:
        """True if there is something to receive. After this call the descriptor signals the next change."""
        return bool(int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN)

    @property
    def has_gone(self) -> bool:
        """True if the monitor has reported ends that `take_gone` has not returned yet."""
        return bool(self._gone)

    def fileno(self) -> int:
        """The descriptor to poll. When it is readable, check `has_pending`."""
        return int(self._socket.getsockopt(zmq.FD))

    def monitor_fileno(self) -> int:
        """The descriptor to poll for ended connections. When it is readable, call `take_gone`."""
        return int(self._monitor.getsockopt(zmq.FD))

    def user(self, identity: bytes) -> str:
        """The user of this connection, as its authentication named it; valid until `take_gone` has reported the end.
        Raises KeyError."""
        return self._users[identity]

    def receive(self, limit: int = 64) -> list[tuple[bytes, bytes | None]]:
        """At most `limit` pairs (identity, envelope). None in place of an envelope is a message of several frames."""
        taken: list[tuple[bytes, bytes | None]] = []
        while len(taken) < limit:
            try:
                identity = self._socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                break
            frame = self._socket.recv(copy=False)
            if identity not in self._users:
                self._note(identity, frame)
            if frame.more:
                while self._socket.recv(copy=False).more:
                    pass
                taken.append((identity, None))
            else:
                taken.append((identity, frame.bytes))
        return taken

    def _note(self, identity: bytes, frame: zmq.Frame) -> None:
        """Record a new connection and its descriptor."""
        self._drain_monitor()
        self._users[identity] = str(frame.get("User-Id"))
        descriptor = int(frame.get(zmq.SRCFD))
        if (former := self._by_descriptor.get(descriptor)) is not None:
            self._gone.append(former)
        self._by_descriptor[descriptor] = identity

    def _drain_monitor(self) -> None:
        while self._monitor.poll(0):
            identity = self._by_descriptor.pop(recv_monitor_message(self._monitor)["value"], None)
            if identity is not None:
                self._gone.append(identity)

    def take_gone(self) -> list[bytes]:
        """Connections that have ended since the last call and had sent something. `receive` may still return envelopes
        of theirs, and `user` knows them until the next call."""
        self._drain_monitor()
        for identity in self._told_gone:
            self._users.pop(identity, None)
        self._told_gone, self._gone = self._gone, []
        return list(self._told_gone)

    def send(self, identity: bytes, envelope: bytes, *, more: bool = False) -> bool | None:
        """Send to one connection. False if there is no room now, None if the connection is gone."""
        return zmq_sockets.try_send(self._socket, envelope, identity)

    def close(self) -> None:
        """Close the sockets. The file stays for the successor to remove."""
        self._socket.disable_monitor()
        self._monitor.close(linger=0)
        self._socket.close(linger=0)
