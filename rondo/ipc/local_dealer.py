"""A ZeroMQ DEALER on a Unix socket, served in the calling thread. `local_router`, the other end, explains the
reason."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

from rondo.ipc import zmtp
from rondo.ipc.endpoints import ENVELOPE_BYTES_MAX, HIGH_WATER_MARK, local_path
from rondo.ipc.stream import Connection
from rondo.paths import PathError

RETRY_S: Final = 0.02
"""The interval of attempts to connect while the server is absent."""

_IN: Final = select.EPOLLIN
_OUT: Final = select.EPOLLOUT


class LocalDealer:
    """The client's end, a DEALER, which reconnects when necessary.

    What was sent on a connection that broke is lost with it. `is_broken` reports that, and what is sent afterwards goes
    to the next connection.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        high_water: int = HIGH_WATER_MARK,
        bytes_max: int = ENVELOPE_BYTES_MAX,
        trusts: Callable[[socket.socket, Path], object] = lambda *_: None,
    ) -> None:
        """`endpoint`: `ipc://PATH`. `trusts` raises PathError for a server that must not be spoken to; that counts as
        an absent server. Raises `SocketError` for an invalid endpoint."""
        self._trusts = trusts
        self._path = str(local_path(endpoint))
        self._high_water = high_water
        self.is_broken = False
        """A connection broke since the owner last cleared this."""
        self.was_ready = False
        """Its handshake was done, so that what was sent may have arrived."""
        self.is_denied = False
        """The other side refuses this process."""
        self.retry_at_s: float | None = None
        """The time.monotonic() at which `tend` has to be called; None: nothing is due."""
        self._poll = select.epoll()
        self._connection: Connection | None = None
        self._former: Connection | None = None
        """The connection before `renew`. It is closed once the other side speaks on the new one."""
        self._unsent: deque[bytes] = deque()
        self._connect()

    @property
    def is_blocked(self) -> bool:
        """True if envelopes wait for room in the socket."""
        return self._connection is not None and self._connection.is_blocked()

    @property
    def is_connected(self) -> bool:
        """True if there is a connection, as far as is known."""
        return self._connection is not None

    @property
    def has_pending(self) -> bool:
        """True if `receive` has work of which the descriptor does not tell."""
        return False

    def fileno(self) -> int:
        """The descriptor to poll. It is readable as long as `receive` has work."""
        return self._poll.fileno()

    def renew(self) -> None:
        """Make a new connection, because nobody knows what was half-done on this one. From now on `send` uses the new
        one. The server sees the new connection before it sees the end of the old one."""
        connection, self._connection = self._connection, None
        former, self._former = self._former, connection or self._former
        if former is not None and former is not self._former:
            former.close()
        if connection is not None:
            with contextlib.suppress(OSError, ValueError):  # an interrupted `_broke` may have closed it already
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
            return True  # the envelope is lost with the connection
        if not was_blocked and connection.is_blocked():
            self._poll.modify(connection.stream, _IN | _OUT)
        return sent

    def receive(self) -> list[bytes]:
        """Messages that have come. Those of several frames are dropped."""
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
                # More waited for the end of the handshake than the socket could take.
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
        self.is_broken, self.was_ready = True, connection.reader.is_ready
        with contextlib.suppress(OSError):
            self._poll.unregister(connection.stream)
        connection.close()
        self._connection = None
        self.retry_at_s = time.monotonic() + RETRY_S

    def close(self) -> None:
        """Close all descriptors."""
        for connection in (self._connection, self._former):
            if connection is not None:
                connection.close()
        self._connection = self._former = None
        self._poll.close()
