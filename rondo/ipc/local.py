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
from rondo.ipc.endpoints import ENVELOPE_BYTES_MAX, HIGH_WATER_MARK, SocketError, ipc_path
from rondo.ipc.stream import Connection
from rondo.node.process_watch import start_time_of_peer
from rondo.paths import PathError

BACKLOG = 1024
ACCEPTED_MAX = 64
"""Connections accepted in a row: whoever connects again and again must not keep others waiting."""
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
    start_time: int = 0
    """Which process of that pid: see `rondo.node.process_watch.start_time_of_peer`."""


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
        self._connections: dict[bytes, Connection] = {}
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

    def change_mode(self, mode: int) -> None:
        """Who may connect, by the mode of the socket's file. One that somebody has removed is nobody's any more."""
        with contextlib.suppress(OSError):
            self._path.chmod(mode)

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
                credentials = credentials._replace(start_time=start_time_of_peer(stream, credentials.pid))
                connection = Connection(stream, b"ROUTER", self._bytes_max, self._high_water)
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
        self,
        endpoint: str,
        *,
        high_water: int = HIGH_WATER_MARK,
        bytes_max: int = ENVELOPE_BYTES_MAX,
        trusts: Callable[[socket.socket, Path], object] = lambda *_: None,
    ) -> None:
        """`endpoint`: `ipc://PATH`. `trusts` raises PathError for who must not be spoken to: that is as if nobody were
        there. Raises `SocketError` if it is no endpoint."""
        self._trusts = trusts
        self._path = str(_path_of(endpoint))
        self._high_water = high_water
        self.is_broken = False
        """A connection broke since somebody last set this back."""
        self.is_denied = False
        """The other side does not let this process in."""
        self.retry_at_s: float | None = None
        """When `tend` has to be called, by time.monotonic(); None: nothing is due."""
        self._poll = select.epoll()
        self._connection: Connection | None = None
        self._former: Connection | None = None
        """That before `renew`: closed once the other side speaks on the new one."""
        self._unsent: deque[bytes] = deque()
        self._connect()

    @property
    def is_blocked(self) -> bool:
        """Whether something waits for room in the socket."""
        return self._connection is not None and self._connection.is_blocked()

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection, as far as is known."""
        return self._connection is not None

    @property
    def has_pending(self) -> bool:
        """Whether `receive` would do something that the descriptor does not tell of."""
        return False

    def fileno(self) -> int:
        """What to poll; readable as long as `receive` has something to do."""
        return self._poll.fileno()

    def renew(self) -> None:
        """Make another connection, because nobody knows any more what this one was about to do. `send` is for the new
        one from now on. The other side hears of it before it sees the end of the old one."""
        connection, self._connection = self._connection, None
        former, self._former = self._former, connection or self._former
        if former is not None and former is not self._former:
            former.close()
        if connection is not None:
            with contextlib.suppress(OSError):
                self._poll.unregister(connection.stream)
        self._unsent.clear()
        self.is_broken = False
        self._connect()

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
            self._trusts(stream, Path(self._path))
            self._connection = Connection(stream, b"DEALER", ENVELOPE_BYTES_MAX, self._high_water)
        except (OSError, PathError):
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
        if messages and self._former is not None:
            self._former.close()
            self._former = None
        if connection.reader.is_denied:
            self.is_denied = True
            self._broke(connection)
        return [message for message in messages if message is not None]

    def _broke(self, connection: Connection) -> None:
        self.is_broken = True
        with contextlib.suppress(OSError):
            self._poll.unregister(connection.stream)
        connection.close()
        self._connection = None
        self.retry_at_s = time.monotonic() + RETRY_S

    def close(self) -> None:
        """Close everything."""
        for connection in (self._connection, self._former):
            if connection is not None:
                connection.close()
        self._connection = self._former = None
        self._poll.close()


def _path_of(endpoint: str) -> Path:
    path = ipc_path(endpoint)
    if path is None or not path.name:
        raise SocketError(f"{endpoint}: not an endpoint of this machine, as ipc:///run/rondo/gateway.sock is one")
    if len(os.fsencode(path)) > PATH_BYTES_MAX:
        raise SocketError(
            f"{endpoint}: the path has more than {PATH_BYTES_MAX} bytes; an endpoint looks like "
            "ipc:///run/rondo/gateway.sock"
        )
    return path
