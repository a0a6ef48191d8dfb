"""The thread that keeps a session connected, so that requests and acknowledgements go on while the application works.

The application's threads work on the session under `changed` (a lock with a condition) and wake this thread with an
eventfd, but only when it sleeps: under load that is once per batch, not per message. A socket serves one connection;
after it breaks there is a new one, so that nothing old is sent ahead of the hello.

To the gateway of this machine the thread is a detour: each message would wake it on the way out and on the way back. So
there a thread of the application that sends while nothing else is under way writes to the socket itself, and one that
waits reads from it itself (`_lead`), as long as it waits. This thread then leaves the socket alone, and looks only now
and then whether anybody still reads.
"""

import math
import os
import select
import threading
import time
from collections.abc import Callable

import zmq
from zmq.utils.monitor import recv_monitor_message

from rondo._client.place import Keys, Place
from rondo._client.requests import RequestFactory
from rondo._client.session import DENIED, Session
from rondo.errors import AccessDenied, BadHandle, Disconnected, Error, InvalidParameter, Timeout
from rondo.ipc.local import Dealer
from rondo.ipc.remote import SocketError, ipc_path

ACK_BYTES = 512 * 1024
"""So much handled is acknowledged at once; less, when there is nothing else to do for ACK_DELAY_MS."""
ACK_DELAY_MS = 20
ACK_DELAY_MS_MAX = 1000
HEARTBEAT_MS = 1000
HEARTBEAT_TIMEOUT_MS = 5000
RECONNECT_MS = 20
RECONNECT_MS_MAX = 200
"""A gateway that was killed is back after some tenths of a second; what is waited longer all its clients wait."""
LED_MS_MAX = 640
"""How long the thread may sleep while the application reads the socket itself."""
DENIAL_MS = 1000
"""How long the monitor may take to say why there is no connection."""
CLOSE_MS = 1000
"""How long a close waits for the gateway's answer."""
ENVELOPES_AT_ONCE = 64
WAIT_S_MAX = 3600.0
"""Of one system call, which takes no time-out of months; whoever waits longer waits again."""
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


def _poll(timeout_s: float | None, *descriptors: int) -> list[int]:
    """Which of these are readable; waits for that, at most so long."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return [descriptor for descriptor, _ in poll.poll(None if timeout_s is None else math.ceil(timeout_s * 1000))]


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
        self._is_over = False
        """The thread has ended."""
        self._interrupt = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        """For whoever reads the socket in its stead."""
        self._leader: int | None = None
        """The thread of the application that waits, and reads the socket."""
        self._was_led = False
        """So it was since the link's own thread looked last."""
        self._reads = True
        """The link's own thread polls the socket."""
        self._direct: Dealer | None = None
        """The socket to a gateway of this machine; used under `changed` only."""
        if place.keys is None and ipc_path(place.endpoint) is not None:
            self._direct = self._first_dealer()
        else:
            self._socket, self._monitor = self._first_socket()
        self._worker = threading.Thread(target=self._run, name="rondo-client", daemon=True)
        self._worker.start()

    def _first_dealer(self) -> Dealer:
        try:
            _check_access(self.place.endpoint)
            return Dealer(self.place.endpoint, high_water=1 << 30)
        except (Error, SocketError) as error:
            self._close_descriptors()
            self._context.term()
            if isinstance(error, SocketError):
                raise InvalidParameter(str(error)) from None
            raise

    def _first_socket(self) -> "tuple[zmq.Socket[bytes], zmq.Socket[bytes]]":
        try:
            return open_socket(self._context, self.place)
        except Error:
            self._close_descriptors()
            self._context.term()
            raise

    # -- for the application's threads ---------------------------------------------------------------------------

    def check_process(self) -> None:
        """Raise BadHandle in a process that was forked off after the connection was made: it has no thread here."""
        if self._made_after_forks != _forks:
            raise BadHandle("this connection belongs to the parent process; after a fork, call rondo.connect() anew")

    def wake(self) -> None:
        """Have the session looked at. Under `changed`."""
        requests = self.session.requests
        full = self.session.ack_bytes >= ACK_BYTES
        is_alone = requests.bytes_kept == requests.bytes_unsent
        if self._direct is not None and self.session.is_open and not self._closing and (is_alone or full):
            # What follows while it is under way is better sent together, by the thread.
            self._send_direct(acknowledge=full)
        else:
            self._rouse()

    def _rouse(self) -> None:
        if self.is_sleeping:
            self.is_sleeping = False
            os.eventfd_write(self._wakeup, 1)

    def _send_direct(self, *, acknowledge: bool, everything: bool = False) -> None:
        direct = self._direct
        assert direct is not None
        for envelope in self.session.outgoing(acknowledge=acknowledge, everything=everything):
            direct.send(envelope)
        if direct.is_blocked and not self._reads:
            self._was_led = False
            self._rouse()

    def _notify(self) -> None:
        """Something has changed: have all look that wait, who reads the socket included. Under `changed`."""
        self.changed.notify_all()
        if self._leader is not None:
            os.eventfd_write(self._interrupt, 1)

    def wait(self, condition: Callable[[], object], deadline: float | None, what: str) -> None:
        """Wait, under `changed`, until `condition` is true. Raises Timeout, saying `what` did not happen."""
        thread = threading.get_ident()
        on_top = self._leader == thread
        looked = False
        while not condition():
            remaining = None if deadline is None else min(WAIT_S_MAX, deadline - time.monotonic())
            leads = self._may_lead(thread)
            if remaining is not None and remaining <= 0:
                if looked or not leads:
                    raise Timeout(what)
                remaining = 0.0  # what has come already is looked at, however short the time
            if leads:
                looked = True
                self._lead(thread, remaining)
            else:
                self.changed.wait(remaining)
        if on_top and self._leader == thread:
            # A signal handler has waited while its thread did: what that waits for may have come meanwhile.
            os.eventfd_write(self._interrupt, 1)

    def _may_lead(self, thread: int) -> bool:
        """Whether this thread is to read the socket while it waits: nobody else does, or it does so already, and a
        signal handler of the application waits on top of that."""
        if self._direct is None or self._is_over or thread == self._worker.ident:
            return False
        return self._leader is None or self._leader == thread

    def _lead(self, thread: int, timeout_s: float | None) -> None:
        """Wait for the gateway, in the thread of the application, and take in what it says. Under `changed`, once."""
        direct = self._direct
        assert direct is not None
        below = self._leader
        ready: list[int] = []
        try:
            self._leader = thread
            self._was_led = True
            if self._reads:
                self._rouse()
            self.lock.release()
            try:
                ready = _poll(timeout_s, direct.fileno(), self._interrupt)
            finally:
                self.lock.acquire()
        finally:
            self._leader = below
            # Somebody else who waits reads next.
            self.changed.notify_all()
            if self._is_over and below is None:
                self._close_direct()
        if self._is_over:
            return
        if self._interrupt in ready:
            os.eventfd_read(self._interrupt)
        if direct.fileno() in ready:
            self._receive_direct()

    def _close_direct(self) -> None:
        """The link's own thread has ended, and nobody reads the socket any more. Under `changed`."""
        assert self._direct is not None
        self._direct.close()
        self._close_descriptors()

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
            self._rouse()
            if self._worker is threading.current_thread():
                return
            # Not by join alone: a signal handler may be here on top of what holds the lock.
            while not self._is_over:
                self.changed.wait()
        self._worker.join()

    # -- the thread ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        if self._direct is not None:
            self._run_direct(self._direct)
            return
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

    def _run_direct(self, direct: Dealer) -> None:
        """Serve a gateway of this machine until all is over."""
        try:
            with self.changed:
                if not direct.is_broken:
                    direct.send(self.session.hello())
            self._serve_direct(direct)
            self._say_bye_direct(direct)
        finally:
            with self.changed:
                self.session.end(Disconnected("the connection was closed"))
                self._is_over = True
                self.is_sleeping = False
                self._notify()
                # Whoever still reads closes it: it may have to come back from a signal handler that waits for us.
                if self._leader is None:
                    self._close_direct()
            self._context.term()

    def _serve_direct(self, direct: Dealer) -> None:
        session = self.session
        absent_since, was_open = time.monotonic(), False
        delay_ms = led_ms = ACK_DELAY_MS
        idle = False
        while True:
            with self.changed:
                if direct.is_broken:
                    self._begin_again(direct)
                now = time.monotonic()
                direct.tend(now)
                if not session.is_open:
                    absent_since = now if was_open else absent_since
                    self._look_at_absence(absent_since)
                was_open = session.is_open
                self._send_direct(acknowledge=idle or session.ack_bytes >= ACK_BYTES, everything=self._closing)
                if self._closing or session.ended is not None:
                    return
                led = session.is_open and (self._leader is not None or self._was_led) and not direct.is_blocked
                self._was_led = self._leader is not None
                led_ms = min(2 * led_ms, LED_MS_MAX) if led and idle else ACK_DELAY_MS
                self._reads = not led
                busy = session.has_unacknowledged or not session.is_open
                timeout_ms = led_ms if led else delay_ms if busy else None
                self.is_sleeping = True
            polled = [self._wakeup] if led else [self._wakeup, direct.fileno()]
            ready = _poll(None if timeout_ms is None else timeout_ms / 1000, *polled)
            with self.changed:
                self.is_sleeping = False
                idle = not ready
                delay_ms_max = ACK_DELAY_MS_MAX if session.is_open else RECONNECT_MS_MAX
                delay_ms = min(delay_ms * 2, delay_ms_max) if idle else ACK_DELAY_MS
                if self._wakeup in ready:
                    os.eventfd_read(self._wakeup)
                if direct.fileno() in ready:
                    self._receive_direct()

    def _close_descriptors(self) -> None:
        os.close(self._wakeup)
        os.close(self._interrupt)

    def _begin_again(self, direct: Dealer) -> None:
        """The connection broke: the next one begins with a hello, as soon as there is one."""
        direct.is_broken = False
        if direct.is_denied:
            self.session.refused()
            self._notify()
        else:
            direct.send(self.session.hello())

    def _receive_direct(self) -> None:
        """Take in what the gateway said. Under `changed`."""
        direct, session = self._direct, self.session
        assert direct is not None
        received = direct.receive()
        for envelope in received:
            session.receive(envelope)
        if direct.is_broken or session.ended is not None:
            session.is_open = False
            self._rouse()
        if received:
            if session.requests.bytes_unsent or session.ack_bytes >= ACK_BYTES:
                # What was settled may make something due, and the link's own thread need not look for long.
                self._send_direct(acknowledge=session.ack_bytes >= ACK_BYTES)
            self._notify()

    def _say_bye_direct(self, direct: Dealer) -> None:
        """Tell the gateway that this is the end, and wait until it knows."""
        session = self.session
        with self.changed:
            if not session.is_open:
                return
            direct.send(session.bye())
        deadline = time.monotonic() + CLOSE_MS / 1000
        while session.ended is None and (remaining := deadline - time.monotonic()) > 0:
            # Whoever waits in the application may be the one that reads the answer.
            _poll(min(remaining, ACK_DELAY_MS / 1000), direct.fileno())
            with self.changed:
                self._receive_direct()
                if direct.is_broken:
                    return

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
            self._notify()

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
            self._is_over = True
            self.changed.notify_all()
        close_sockets(self._socket, self._monitor)
        self._close_descriptors()
        self.is_sleeping = False
        self._context.term()
