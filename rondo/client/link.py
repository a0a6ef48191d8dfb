"""The thread that keeps a session connected: it owns the ZeroMQ socket, so that acknowledgements and requests go on
while the application computes.

The application's threads never touch the socket. They work on the session under `changed` (a lock with a condition)
and wake this thread with an eventfd, but only when it sleeps: under load that is once per batch, not per message.
A socket serves one connection; after it breaks there is a new one, so that nothing old is sent ahead of the hello.
"""

import math
import os
import threading
import time
from collections.abc import Callable

import zmq
from zmq.utils.monitor import recv_monitor_message

from rondo.bus.sockets import ipc_path
from rondo.client.place import Keys, Place
from rondo.client.requests import RequestFactory
from rondo.client.session import DENIED, Session
from rondo.errors import AccessDenied, BadHandle, Disconnected, Error, InvalidParameter, Timeout

ACK_BYTES = 512 * 1024
"""So much handled is acknowledged at once; less, when there is nothing else to do for ACK_DELAY_MS."""
ACK_DELAY_MS = 20
ACK_DELAY_MS_MAX = 1000
HEARTBEAT_MS = 1000
HEARTBEAT_TIMEOUT_MS = 5000
RECONNECT_MS = 20
RECONNECT_MS_MAX = 200
"""A gateway that was killed is back after some tenths of a second; what is waited longer all its clients wait."""
DENIAL_MS = 1000
"""How long the monitor may take to say why there is no connection."""
CLOSE_MS = 1000
"""How long a close waits for the gateway's answer."""
ENVELOPES_AT_ONCE = 64
MONITORED = zmq.Event.DISCONNECTED | zmq.Event.HANDSHAKE_FAILED_AUTH


_forks = 0
"""How often this process is a fork away from the one in which this module was loaded. A comparison with it is cheaper
than to ask for the process id with every call."""


def _forked() -> None:
    global _forks
    _forks += 1


os.register_at_fork(after_in_child=_forked)


def open_socket(
    context: "zmq.Context[zmq.Socket[bytes]]", place: Place, *, check: bool = True
) -> "tuple[zmq.Socket[bytes], zmq.Socket[bytes]]":
    """A socket on its way to the gateway, and the one that reports what becomes of its connection.

    Raises InvalidParameter for what is no endpoint, AccessDenied where the file system lets this user not in.
    """
    if check:
        _check_access(place.endpoint)
    socket: zmq.Socket[bytes] = context.socket(zmq.DEALER)
    # Both directions are bounded by the windows of the protocol, and an envelope must never be dropped.
    socket.sndhwm = socket.rcvhwm = 0
    socket.linger = 0
    socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, RECONNECT_MS_MAX)
    if place.keys is not None:
        _encrypt(socket, place.keys)
    monitor = socket.get_monitor_socket(MONITORED)
    try:
        socket.connect(place.endpoint)
    except zmq.ZMQError as error:
        close_sockets(socket, monitor)
        raise InvalidParameter(
            f"{place.endpoint}: {error.strerror}; an endpoint looks like ipc:///run/rondo/gateway.sock or "
            "tcp://192.168.1.1:5410"
        ) from None
    return socket, monitor


def _encrypt(socket: "zmq.Socket[bytes]", keys: Keys) -> None:
    """For a gateway on another host: CURVE, and heartbeats by which each notices that the other's machine is gone."""
    socket.setsockopt(zmq.IPV6, 1)
    socket.setsockopt(zmq.CURVE_SERVERKEY, keys.server_public)
    socket.setsockopt(zmq.CURVE_PUBLICKEY, keys.own.public)
    socket.setsockopt(zmq.CURVE_SECRETKEY, keys.own.secret)
    socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS)


def _check_access(endpoint: str) -> None:
    """The gateway's socket is open to the executive's own user alone unless uidgid{} names others; libzmq would try for
    ever. A socket that is not there may still come."""
    path = ipc_path(endpoint)
    if path is None:
        return
    try:
        denied = path.exists() and not os.access(path, os.R_OK | os.W_OK)
    except OSError:
        denied = True
    if denied:
        raise AccessDenied(DENIED)


def send_hello(socket: "zmq.Socket[bytes]", hello: bytes) -> bool:
    """Send the first envelope of a connection. False if there is no connection any more, as when the gateway has denied
    it already: libzmq gives up such a one, and a send that waits would wait for ever. The monitor says why."""
    try:
        socket.send(hello, zmq.NOBLOCK)
    except zmq.Again:
        return False
    return True


def close_sockets(socket: "zmq.Socket[bytes]", monitor: "zmq.Socket[bytes]") -> None:
    """Close a socket and its monitor."""
    socket.disable_monitor()
    monitor.close(linger=0)
    socket.close(linger=0)


class Link:
    """A session and the thread that serves it. Everything in `session` is touched under `changed` only."""

    def __init__(self, place: Place, client_name: str, request_factory: RequestFactory) -> None:
        self.place = place
        self.session = Session(client_name, request_factory, self, why_denied=place.denied)
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.is_sleeping = False
        """Whether the thread has to be woken to see what was queued."""
        self._made_after_forks = _forks
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=1)
        self._wakeup = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._closing = False
        self._socket, self._monitor = self._first_socket()
        self._thread = threading.Thread(target=self._run, name="rondo-client", daemon=True)
        self._thread.start()

    def _first_socket(self) -> "tuple[zmq.Socket[bytes], zmq.Socket[bytes]]":
        try:
            return open_socket(self._context, self.place)
        except Error:
            os.close(self._wakeup)
            self._context.term()
            raise

    # -- for the application's threads ---------------------------------------------------------------------------

    def check_process(self) -> None:
        """Raise BadHandle in a process that was forked off after the connection was made: it has no thread here."""
        if self._made_after_forks != _forks:
            raise BadHandle("this connection belongs to the parent process; after a fork, call rondo.connect() anew")

    def wake(self) -> None:
        """Have the thread look at the session. Under `changed`."""
        if self.is_sleeping:
            self.is_sleeping = False
            os.eventfd_write(self._wakeup, 1)

    def wait(self, condition: Callable[[], object], deadline: float | None, what: str) -> None:
        """Wait, under `changed`, until `condition` is true. Raises Timeout, saying `what` did not happen."""
        while not condition():
            remaining = None if deadline is None else deadline - time.monotonic()
            if remaining is not None and remaining <= 0:
                raise Timeout(what)
            self.changed.wait(remaining)

    def wait_for_order(self, condition: Callable[[], object], deadline: float | None, what: str) -> None:
        """The same, where only further events can make it true: those that wait to be handled do not hold them up."""
        with self.session.waiting_for_order():
            self.wake()
            self.wait(condition, deadline, what)

    def close(self) -> None:
        """End the session cleanly: the node knows that this process left, and does not take it for dead."""
        self.check_process()
        with self.changed:
            self._closing = True
            self.wake()
        if self._thread is not threading.current_thread():
            self._thread.join()

    # -- the thread ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        absent_since = time.monotonic()
        pause_ms = RECONNECT_MS
        try:
            while True:
                welcomed = self._serve(absent_since)
                if self._closing or self.session.ended is not None:
                    break
                if welcomed:
                    absent_since, pause_ms = time.monotonic(), RECONNECT_MS
                time.sleep(pause_ms / 1000)
                pause_ms = min(pause_ms * 2, RECONNECT_MS_MAX)
                close_sockets(self._socket, self._monitor)
                self._socket, self._monitor = open_socket(self._context, self.place, check=False)
            self._say_bye()
        finally:
            self._end()

    def _serve(self, absent_since: float) -> bool:
        """Serve one connection until it breaks, or all is over. True if it was welcomed."""
        socket, session = self._socket, self.session
        poller = zmq.Poller()
        for source in (socket, self._monitor, self._wakeup):
            poller.register(source, zmq.POLLIN)
        welcomed = False
        delay_ms = ACK_DELAY_MS
        idle = False
        with self.changed:
            greeted = send_hello(socket, session.hello())
        if not greeted:
            self._monitor.poll(DENIAL_MS)
            self._is_broken()
            return False
        while True:
            with self.changed:
                full = session.ack_bytes >= ACK_BYTES
                envelopes = session.outgoing(acknowledge=idle or full, everything=self._closing)
                if self._closing or session.ended is not None:
                    for envelope in envelopes:
                        socket.send(envelope)
                    return welcomed
                if not session.is_open:
                    self._look_at_absence(absent_since)
                self.is_sleeping = True
                timeout_ms = delay_ms if session.has_unacknowledged or not session.is_open else None
            for envelope in envelopes:
                socket.send(envelope)
            ready = dict(poller.poll(timeout_ms))
            self.is_sleeping = False
            idle = not ready
            delay_ms = min(delay_ms * 2, ACK_DELAY_MS_MAX) if idle else ACK_DELAY_MS
            if self._wakeup in ready:
                os.eventfd_read(self._wakeup)
            if socket in ready:
                self._receive(socket)
                welcomed = welcomed or session.is_open
            if self._monitor in ready and self._is_broken():
                with self.changed:
                    session.is_open = False
                return welcomed

    def _receive(self, socket: "zmq.Socket[bytes]") -> None:
        received: list[bytes] = []
        try:
            while len(received) < ENVELOPES_AT_ONCE:
                received.append(socket.recv(zmq.NOBLOCK))
        except zmq.Again:
            pass
        with self.changed:
            for envelope in received:
                self.session.receive(envelope)
            self.changed.notify_all()

    def _is_broken(self) -> bool:
        """Read what the monitor says: true if this connection is over."""
        broken = False
        while self._monitor.poll(0):
            event = recv_monitor_message(self._monitor)["event"]
            if event == zmq.Event.HANDSHAKE_FAILED_AUTH:
                with self.changed:
                    self.session.refused()
                    self.changed.notify_all()
            broken = True
        return broken

    def _look_at_absence(self, absent_since: float) -> None:
        """The gateway is not there: after the time for which it would keep the session, the groups are told."""
        absent_ms = (time.monotonic() - absent_since) * 1000
        if absent_ms > self.session.resume_ms:
            self.session.absent(f"no answer from {self.place.endpoint} for {self.session.resume_ms / 1000:g} s")
            self.changed.notify_all()

    def _say_bye(self) -> None:
        """Tell the gateway that this is the end, and wait until it knows."""
        if not self.session.is_open:
            return
        self._socket.send(self.session.bye())
        deadline = time.monotonic() + CLOSE_MS / 1000
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._monitor, zmq.POLLIN)
        while self.session.ended is None and (remaining := deadline - time.monotonic()) > 0:
            ready = dict(poller.poll(math.ceil(remaining * 1000)))
            if self._socket in ready:
                self._receive(self._socket)
            elif self._monitor in ready:
                return

    def _end(self) -> None:
        with self.changed:
            self.session.end(Disconnected("the connection was closed"))
            self.changed.notify_all()
        close_sockets(self._socket, self._monitor)
        os.close(self._wakeup)
        self.is_sleeping = False
        self._context.term()
