"""A client's connection to a gateway on another host: libzmq over TCP with CURVE, as a `rondo.ipc.dealer.Dealer`.

Each socket is used for one connection only. After a reconnect libzmq would send what was meant for the old connection
on the new one, ahead of the hello. So the socket's monitor reports the end of a connection, and a new socket is made.
"""

from __future__ import annotations

import contextlib
import select
import time
from typing import NamedTuple

import zmq
from zmq.utils.monitor import recv_monitor_message

from rondo.ipc.endpoints import SocketError

HEARTBEAT_MS = 1000
HEARTBEAT_TIMEOUT_MS = 5000
RECONNECT_MS = 20
RECONNECT_MS_MAX = 5000
"""libzmq reconnects after 20 ms and doubles the interval up to this, so that waiting costs nearly nothing."""
RETRY_S = 0.02
RETRY_S_MAX = 0.2
"""The same limit after a connection broke or was refused in the handshake."""
ENVELOPES_AT_ONCE = 64
MONITORED = zmq.Event.HANDSHAKE_SUCCEEDED | zmq.Event.DISCONNECTED | zmq.Event.HANDSHAKE_FAILED_AUTH


class CurveKeys(NamedTuple):
    """The keys by which the two sides know each other (RFC 26): 32 bytes each."""

    server_public: bytes
    public: bytes
    secret: bytes


class RemoteDealer:
    """The client's end, a DEALER."""

    def __init__(self, endpoint: str, keys: CurveKeys) -> None:
        """Raises SocketError for an invalid endpoint."""
        self._endpoint, self._keys = endpoint, keys
        self.is_broken = False
        self.is_denied = False
        self.was_ready = False
        """Of the last one that broke, the handshake was done, so that what was sent may have arrived."""
        self.retry_at_s: float | None = None
        self._retry_s = RETRY_S
        self._is_connected = self._was_closed = False
        self._first: list[bytes] = []
        """Envelopes that were sent while there was no socket."""
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=1)
        self._poll = select.epoll()
        try:
            self._open()
        except BaseException:
            self._poll.close()
            self._context.term()
            raise

    def _open(self) -> None:
        keys = self._keys
        socket: zmq.Socket[bytes] = self._context.socket(zmq.DEALER)
        # The windows of the protocol bound both directions, and an envelope must never be dropped.
        socket.sndhwm = socket.rcvhwm = 0
        socket.linger = 0
        socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, RECONNECT_MS_MAX)
        socket.setsockopt(zmq.IPV6, 1)
        socket.setsockopt(zmq.CURVE_SERVERKEY, keys.server_public)
        socket.setsockopt(zmq.CURVE_PUBLICKEY, keys.public)
        socket.setsockopt(zmq.CURVE_SECRETKEY, keys.secret)
        # By heartbeats each side notices that the other machine is gone.
        socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS)
        self._socket, self._monitor = socket, socket.get_monitor_socket(MONITORED)
        try:
            socket.connect(self._endpoint)
        except zmq.ZMQError as error:
            self._close_sockets()
            raise SocketError(
                f"{self._endpoint}: {error.strerror}; an endpoint looks like ipc:///run/rondo/gateway.sock or "
                "tcp://192.168.1.1:5410"
            ) from None
        for each in (self._socket, self._monitor):
            self._poll.register(int(each.getsockopt(zmq.FD)), select.EPOLLIN)
        self.retry_at_s = None
        first, self._first = self._first, []
        for envelope in first:
            self.send(envelope)

    def _close_sockets(self) -> None:
        if self._socket.closed:
            return  # the connection broke, and the next one is not due yet
        for each in (self._socket, self._monitor):
            with contextlib.suppress(OSError, zmq.ZMQError):  # it was not registered yet, or is closed
                self._poll.unregister(int(each.getsockopt(zmq.FD)))
        self._socket.disable_monitor()
        self._monitor.close(linger=0)
        self._socket.close(linger=0)
        self._is_connected = False

    @property
    def is_connected(self) -> bool:
        """True if there is a connection, as far as is known."""
        return self._is_connected

    @property
    def is_blocked(self) -> bool:
        """Always false: libzmq queues everything."""
        return False

    @property
    def has_pending(self) -> bool:
        """True if `receive` has work. A ZeroMQ descriptor signals only after a look that found nothing."""
        if self._socket.closed:
            return False
        return any(int(each.getsockopt(zmq.EVENTS)) & zmq.POLLIN for each in (self._socket, self._monitor))

    def fileno(self) -> int:
        """The descriptor to poll."""
        return self._poll.fileno()

    def tend(self, now_s: float) -> None:
        """Make a new socket if that is due."""
        if self.retry_at_s is not None and now_s >= self.retry_at_s:
            self._open()

    def renew(self) -> None:
        """Make a new connection at once."""
        self._close_sockets()
        self._first.clear()
        self.is_broken = False
        self._open()

    def send(self, envelope: bytes) -> bool:
        """Send an envelope. Without a socket it is kept for the next one."""
        if self._socket.closed:
            self._first.append(envelope)
            return True
        # If libzmq has given up this connection, the envelope is lost with it. The monitor reports the end.
        with contextlib.suppress(zmq.Again):
            self._socket.send(envelope, zmq.NOBLOCK)
        return True

    def receive(self) -> list[bytes]:
        """Envelopes that have come. The monitor's events are handled, too."""
        received: list[bytes] = []
        if self._socket.closed:
            return received
        with contextlib.suppress(zmq.Again):
            while len(received) < ENVELOPES_AT_ONCE:
                received.append(self._socket.recv(zmq.NOBLOCK))
        if received:
            self._retry_s = RETRY_S
        elif self._is_over():
            self.is_broken, self.was_ready = True, self._is_connected
            self._close_sockets()
            self.retry_at_s = time.monotonic() + self._retry_s
            self._retry_s = min(2 * self._retry_s, RETRY_S_MAX)
        return received

    def _is_over(self) -> bool:
        over = False
        while self._monitor.poll(0):
            event = recv_monitor_message(self._monitor)["event"]
            if event == zmq.Event.HANDSHAKE_SUCCEEDED:
                self._is_connected = True
                continue
            self.is_denied = self.is_denied or event == zmq.Event.HANDSHAKE_FAILED_AUTH
            over = True
        return over

    def close(self) -> None:
        """Close the socket and its monitor. May be called again, also by another thread meanwhile.

        A link's worker and the thread that led it may both come to this. libzmq waits for ever if a context is ended
        twice at once. No other thread runs between the two statements, as there is no call.
        """
        was_closed, self._was_closed = self._was_closed, True
        if was_closed:
            return
        self._close_sockets()
        self._poll.close()
        self._context.term()
