"""DEALER of ZeroMQ on the sockets of this machine, in the thread that uses it. The other end is `local_router`, which
says why."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from rondo.ipc import zmtp
from rondo.ipc.endpoints import ENVELOPE_BYTES_MAX, HIGH_WATER_MARK, local_path
from rondo.ipc.stream import Connection
from rondo.paths import PathError

RETRY_S = 0.02
"""Who connects tries again this often while nobody is there."""

_IN, _OUT = select.EPOLLIN, select.EPOLLOUT


class LocalDealer:
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
        self._path = str(local_path(endpoint))
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
            with contextlib.suppress(OSError, ValueError):  # `_broke` may have ended half-way: it is closed already
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
