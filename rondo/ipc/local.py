"""ROUTER and DEALER of ZeroMQ on the sockets of this machine, in the thread that uses them.

They speak ZMTP (`rondo.ipc.zmtp`), as libzmq does, so that either end may be libzmq. What is different is who works:
here the thread that sends writes to the socket itself, and the thread that waits is woken by the socket itself. With
libzmq two more threads are woken for each message, which costs more than all that Rondo does with a small one.

Both are polled by one descriptor, which is readable as long as there is something to do. What cannot be written at once
waits here, so many envelopes at most; what was not read waits in the kernel, and so at its sender.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import NamedTuple

from rondo.ipc import zmtp
from rondo.ipc.remote import ENVELOPE_BYTES_MAX, HIGH_WATER_MARK, SocketError, ipc_path

BUFFER_BYTES = 4 * 1024 * 1024
"""Of each direction of a connection in the kernel, as far as that gives so much."""
CHUNK_BYTES = 64 * 1024
CHUNK_BYTES_MAX = 1024 * 1024
"""Read at once: the first of a frame, or what is missing of a long one."""
JOINED_BYTES_MAX = 16 * 1024
"""A frame and its header are put together up to here; above, the kernel gathers them."""
BACKLOG = 1024
ACCEPTED_MAX = 64
"""Connections accepted in a row: whoever connects again and again must not keep others waiting."""
ENVELOPES_AT_ONCE = 64
"""Of one connection: it is read no further once there are so many."""
TURN_ENVELOPES = 16
"""Of one connection in a row, while others have some too."""
PENDING_BYTES_MAX = 64 * 1024 * 1024
"""Read and not asked for yet, of all connections of a router: above that none is read."""
_OVERHEAD_BYTES = 64
"""What an envelope counts for besides its length."""
PATH_BYTES_MAX = 107
"""Of the path of a Unix socket (unix(7))."""
RETRY_S = 0.02
"""Who connects tries again this often while nobody is there."""

_CREDENTIALS = struct.Struct("3i")
_IN, _OUT = select.EPOLLIN, select.EPOLLOUT


class Credentials(NamedTuple):
    """Who is at the other end, as the kernel noted when it connected."""

    pid: int
    uid: int
    gid: int


class _Connection:
    """One stream. `send` and `receive` raise OSError or `ProtocolError` once it is over."""

    def __init__(self, stream: socket.socket, kind: bytes, frame_bytes_max: int, high_water: int) -> None:
        self.stream = stream
        self.reader = zmtp.Reader(frame_bytes_max)
        self._high_water = high_water
        self._waiting: deque[memoryview] = deque()
        self._together = b""
        """Written with the envelope that follows."""
        self._early: deque[bytes] = deque()
        """Envelopes that wait for the end of the handshake."""
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            stream.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
        stream.setblocking(False)
        stream.sendall(zmtp.GREETING + zmtp.ready(kind))

    def is_blocked(self) -> bool:
        """Whether something waits for room in the socket."""
        return bool(self._waiting)

    @property
    def waiting(self) -> int:
        """Envelopes that wait for room in the socket."""
        return len(self._waiting)

    def send(self, envelope: bytes, *, more: bool = False) -> bool:
        """Send, now or when there is room; False if there is none even for waiting. `more`: another one follows at
        once, and they are written together, so that the other side is woken once."""
        if not self.reader.is_ready:
            if len(self._early) >= self._high_water:
                return False
            self._early.append(envelope)
            return True
        if self._waiting:
            if len(self._waiting) >= self._high_water:
                return False
            self._waiting.append(memoryview(zmtp.header(len(envelope)) + envelope))
            return True
        size = len(envelope)
        together, self._together = self._together, b""
        if size + len(together) <= JOINED_BYTES_MAX:
            data = together + zmtp.header(size) + envelope
            if more:
                self._together = data
                return True
            sent = self._write([data])
            if sent < len(data):
                self._waiting.append(memoryview(data)[sent:])
            return True
        head = together + zmtp.header(size)
        sent = self._write([head, envelope])
        if sent < len(head):
            self._waiting.append(memoryview(head + envelope)[sent:])
        elif sent < len(head) + size:
            self._waiting.append(memoryview(envelope)[sent - len(head) :])
        return True

    def _write(self, buffers: list[bytes]) -> int:
        try:
            return self.stream.sendmsg(buffers, (), socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return 0

    def flush(self) -> None:
        """Send what waits, as far as there is room."""
        waiting = self._waiting
        while waiting:
            try:
                sent = self.stream.send(waiting[0], socket.MSG_NOSIGNAL)
            except BlockingIOError:
                return
            if sent < len(waiting[0]):
                waiting[0] = waiting[0][sent:]
                return
            waiting.popleft()

    def receive(self) -> list[bytes | None]:
        """The messages that have come. Raises OSError if the connection is over."""
        reader = self.reader
        size = CHUNK_BYTES
        messages: list[bytes | None] = []
        taken = 0
        while taken < CHUNK_BYTES_MAX:
            try:
                data = self.stream.recv(size)
            except BlockingIOError:
                break
            except OSError:
                if messages:
                    break  # that it is over will be seen again
                raise
            if not data:
                if messages:
                    break
                raise ConnectionResetError("closed by the other side")
            taken += len(data)
            messages += reader.feed(data)
            if len(data) < size or len(messages) >= ENVELOPES_AT_ONCE:
                break
            size = min(CHUNK_BYTES_MAX, max(CHUNK_BYTES, reader.missing))
        if reader.pings:
            pings, reader.pings = b"".join(reader.pings), []
            if not self._waiting and self._write([pings]) < len(pings):
                raise ConnectionResetError("no room for the answer to a heartbeat")
        while self._early and reader.is_ready:
            self.send(self._early.popleft())
        return messages

    def give_up(self) -> None:
        """Nothing can be sent any more: the descriptor shall say so, after what the other side has sent."""
        self._waiting.clear()
        with contextlib.suppress(OSError):
            self.stream.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.stream.close()


class Router:
    """The server's end, a ROUTER. Envelopes come with the identity of their connection, which is never used again."""

    def __init__(
        self,
        endpoint: str,
        mode: int = 0o600,
        *,
        admit: Callable[[Credentials], bool] = lambda _: True,
        frame_bytes_max: int = ENVELOPE_BYTES_MAX,
        high_water: int = HIGH_WATER_MARK,
    ) -> None:
        """Binds `endpoint` (`ipc://PATH`), with this file mode. `admit` says who may connect. Raises `SocketError`."""
        self._admit = admit
        self._bytes_max, self._high_water = frame_bytes_max, high_water
        self._gone: list[bytes] = []
        self._connections: dict[bytes, _Connection] = {}
        self._credentials: dict[bytes, Credentials] = {}
        self._by_descriptor: dict[int, bytes] = {}
        self._numbers = count(1)
        self._pending: dict[bytes, deque[bytes | None]] = {}
        """Envelopes of each connection that were read and not asked for, whose turn it is first."""
        self._pending_bytes = 0
        path = _path_of(endpoint)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        """Given up for a moment when there are no more descriptors: see `_turn_away`."""
        # The file must not be open to others even for the moment between bind and chmod.
        umask = os.umask(0o177)
        try:
            self._listener.bind(str(path))
            path.chmod(mode)
            self._listener.listen(BACKLOG)
        except OSError as error:
            self._listener.close()
            os.close(self._spare)
            raise SocketError(f"{endpoint}: cannot be bound: {error.strerror or error}") from None
        finally:
            os.umask(umask)
        self._path = path
        self._poll = select.epoll()
        self._poll.register(self._listener, _IN)

    def fileno(self) -> int:
        """What to poll; readable as long as `receive` has something to do."""
        return self._poll.fileno()

    @property
    def has_pending(self) -> bool:
        """Whether `receive` would give something although the descriptor may not be readable."""
        return bool(self._pending)

    def credentials(self, identity: bytes) -> Credentials:
        """Who is there, or was until `take_gone` told of the end. Raises KeyError."""
        return self._credentials[identity]

    @property
    def has_gone(self) -> bool:
        """Whether `take_gone` would give something."""
        return bool(self._gone)

    def take_gone(self) -> list[bytes]:
        """Connections that are over since the last call. `receive` may still have envelopes of theirs."""
        gone, self._gone = self._gone, []
        for identity in gone:
            del self._credentials[identity]
        return gone

    def receive(self, limit: int = 64) -> list[tuple[bytes, bytes | None]]:
        """Accept, flush, and give (identity, envelope) of at most `limit` that have come; None is what is not ours.

        Connections take turns: one that sends many small envelopes does not keep the others waiting.
        """
        for descriptor, events in self._poll.poll(0, 64):
            identity = self._by_descriptor.get(descriptor)
            if identity is None:
                self._accept()
            else:
                self._serve(identity, events)
        pending = self._pending
        taken: list[tuple[bytes, bytes | None]] = []
        while pending and len(taken) < limit:
            identity = next(iter(pending))
            queue = pending.pop(identity)
            for _ in range(min(len(queue), TURN_ENVELOPES, limit - len(taken))):
                envelope = queue.popleft()
                self._pending_bytes -= len(envelope or b"") + _OVERHEAD_BYTES
                taken.append((identity, envelope))
            if queue:
                pending[identity] = queue
        return taken

    def _accept(self) -> None:
        for _ in range(ACCEPTED_MAX):
            try:
                stream, _ = self._listener.accept()
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    self._turn_away()
                return  # otherwise: nobody, or nobody any more
            try:
                found = stream.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
                credentials = Credentials(*_CREDENTIALS.unpack(found))
                if not self._admit(credentials):
                    stream.send(zmtp.GREETING + zmtp.command(zmtp.DENIED), socket.MSG_NOSIGNAL)
                    stream.close()
                    continue
                connection = _Connection(stream, b"ROUTER", self._bytes_max, self._high_water)
            except OSError:
                stream.close()
                continue
            identity = next(self._numbers).to_bytes(5)
            self._connections[identity] = connection
            self._credentials[identity] = credentials
            self._by_descriptor[stream.fileno()] = identity
            self._poll.register(stream, _IN)

    def _turn_away(self) -> None:
        """Close who waits for a connection, for want of descriptors: the listener would be readable without end."""
        self._drop_spare()
        with contextlib.suppress(OSError):
            self._listener.accept()[0].close()
        with contextlib.suppress(OSError):
            # Another thread, or another process where the whole system has no more, may have been faster.
            self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def _drop_spare(self) -> None:
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1

    def _serve(self, identity: bytes, events: int) -> None:
        connection = self._connections[identity]
        try:
            if events & _OUT:
                try:
                    connection.flush()
                except OSError:
                    connection.give_up()
                if not connection.is_blocked():
                    self._poll.modify(connection.stream, _IN)
            # Its end is not seen before all that it sent was asked for: its name is known as long.
            reads = events & ~_OUT and identity not in self._pending and self._pending_bytes < PENDING_BYTES_MAX
            if reads and (envelopes := connection.receive()):
                self._pending[identity] = deque(envelopes)
                self._pending_bytes += sum(len(each or b"") + _OVERHEAD_BYTES for each in envelopes)
        except (OSError, zmtp.ProtocolError):
            self._close(identity)

    def _close(self, identity: bytes) -> None:
        connection = self._connections.pop(identity)
        del self._by_descriptor[connection.stream.fileno()]
        connection.close()
        self._gone.append(identity)

    def send(self, identity: bytes, envelope: bytes, *, more: bool = False) -> bool | None:
        """Send to one connection: False if there is no room now, None if it is over. `more`: another one to it follows
        at once."""
        connection = self._connections.get(identity)
        if connection is None:
            return None
        was_blocked = connection.is_blocked()
        try:
            sent = connection.send(envelope, more=more)
        except OSError:
            connection.give_up()
            return None
        if not was_blocked and connection.is_blocked():
            self._poll.modify(connection.stream, _IN | _OUT)
        return sent

    def waiting(self, identity: bytes) -> int:
        """Envelopes to one connection that wait until it reads; 0 if it is over."""
        connection = self._connections.get(identity)
        return 0 if connection is None else connection.waiting

    def close(self) -> None:
        """Close everything; the file stays for the successor to remove."""
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()
        self._listener.close()
        self._drop_spare()
        self._poll.close()


class Dealer:
    """The client's end, a DEALER, which connects again whenever it must.

    What was given to a connection that broke is lost with it; `is_broken` says so, and what is sent then goes to the
    next one.
    """

    def __init__(
        self, endpoint: str, *, high_water: int = HIGH_WATER_MARK, bytes_max: int = ENVELOPE_BYTES_MAX
    ) -> None:
        """`endpoint`: `ipc://PATH`. Raises `SocketError` if it is none."""
        self._path = str(_path_of(endpoint))
        self._high_water = high_water
        self.is_broken = False
        """A connection broke since somebody last set this back."""
        self.is_denied = False
        """The other side does not let this process in."""
        self.retry_at_s: float | None = None
        """When `tend` has to be called, by time.monotonic(); None: nothing is due."""
        self._poll = select.epoll()
        self._connection: _Connection | None = None
        self._unsent: deque[bytes] = deque()
        self._connect()

    @property
    def is_blocked(self) -> bool:
        """Whether something waits for room in the socket."""
        return self._connection is not None and self._connection.is_blocked()

    def fileno(self) -> int:
        """What to poll; readable as long as `receive` has something to do."""
        return self._poll.fileno()

    def tend(self, now_s: float) -> None:
        """Try to connect if that is due."""
        if self.retry_at_s is not None and now_s >= self.retry_at_s:
            self._connect()

    def _connect(self) -> None:
        self.retry_at_s = time.monotonic() + RETRY_S
        try:
            stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        except OSError:
            return  # no descriptor is left; there may be one later
        try:
            stream.connect(self._path)
            self._connection = _Connection(stream, b"DEALER", ENVELOPE_BYTES_MAX, self._high_water)
        except OSError:
            stream.close()
            return
        self.retry_at_s = None
        self._poll.register(stream, _IN)
        while self._unsent and self._connection is not None:
            self.send(self._unsent.popleft())

    def send(self, envelope: bytes) -> bool:
        """Send; False if there is no room now."""
        connection = self._connection
        if connection is None:
            if len(self._unsent) >= self._high_water:
                return False
            self._unsent.append(envelope)
            return True
        was_blocked = connection.is_blocked()
        try:
            sent = connection.send(envelope)
        except OSError:
            connection.give_up()
            return True  # it is lost with the connection
        if not was_blocked and connection.is_blocked():
            self._poll.modify(connection.stream, _IN | _OUT)
        return sent

    def receive(self) -> list[bytes]:
        """What has come; messages of several frames are left out."""
        connection = self._connection
        if connection is None:
            return []
        try:
            if connection.is_blocked():
                connection.flush()
                if not connection.is_blocked():
                    self._poll.modify(connection.stream, _IN)
            was_ready = connection.reader.is_ready
            messages = connection.receive()
            if not was_ready and connection.is_blocked():
                # What had waited for the end of the handshake was too much.
                self._poll.modify(connection.stream, _IN | _OUT)
        except (OSError, zmtp.ProtocolError):
            self._broke(connection)
            return []
        if connection.reader.is_denied:
            self.is_denied = True
            self._broke(connection)
        return [message for message in messages if message is not None]

    def _broke(self, connection: _Connection) -> None:
        self.is_broken = True
        with contextlib.suppress(OSError):
            self._poll.unregister(connection.stream)
        connection.close()
        self._connection = None
        self.retry_at_s = time.monotonic() + RETRY_S

    def close(self) -> None:
        """Close everything."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._poll.close()


def _path_of(endpoint: str) -> Path:
    path = ipc_path(endpoint)
    if path is None:
        raise SocketError(f"{endpoint}: not an endpoint of this machine, as ipc:///run/rondo/gateway.sock is one")
    if len(os.fsencode(path)) > PATH_BYTES_MAX:
        raise SocketError(
            f"{endpoint}: the path has more than {PATH_BYTES_MAX} bytes; an endpoint looks like "
            "ipc:///run/rondo/gateway.sock"
        )
    return path
