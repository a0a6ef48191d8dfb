"""A ZeroMQ ROUTER on a Unix socket, served in the calling thread. The other end is `local_dealer`.

Both speak ZMTP (`rondo.ipc.zmtp`), so either end may be libzmq. The difference is which thread works. Here the sending
thread writes to the socket itself, and the socket wakes the waiting thread directly. libzmq wakes two more threads for
each message, which costs more than all else that Rondo does with a small one.

The router is polled by one descriptor, which is readable as long as there is work. What cannot be written at once is
queued here, up to a number of envelopes. What was not read waits in the kernel, and so at its sender.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
import sys
import termios
import time
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Final, NamedTuple

from rondo.ipc import zmtp
from rondo.ipc.accepting import SpareDescriptor, peer_of
from rondo.ipc.bounds import Accounts, Bounds
from rondo.ipc.endpoints import ENVELOPE_BYTES_MAX, HIGH_WATER_MARK, SocketError, local_path
from rondo.ipc.stream import Connection
from rondo.node.process_watch import start_time_of_peer

BACKLOG: Final = 1024
ACCEPTED_MAX: Final = 64
"""Connections accepted in one turn. A client that connects again and again must not keep others waiting."""
TURN_ENVELOPES: Final = 16
"""Envelopes taken of one connection in a row while others have some, too."""
PENDING_BYTES_MAX: Final = 64 * 1024 * 1024
"""Bytes that were received and not fetched yet, of all connections of a router. Beyond that no connection is read."""
_OVERHEAD_BYTES: Final = 64
"""What an envelope counts for besides its length."""

_IN: Final = select.EPOLLIN
_OUT: Final = select.EPOLLOUT


class Credentials(NamedTuple):
    """The process at the other end, as the kernel recorded it at connect."""

    pid: int
    uid: int
    gid: int
    start_time: int = 0
    """Tells processes apart that had the same pid: see `rondo.node.process_watch.start_time_of_peer`."""


class LocalRouter:
    """The server's end, a ROUTER. An envelope comes with the identity of its connection. Identities are never
    reused."""

    def __init__(
        self,
        endpoint: str,
        mode: int = 0o600,
        *,
        admit: Callable[[Credentials], bool] = lambda _: True,
        frame_bytes_max: int = ENVELOPE_BYTES_MAX,
        high_water: int = HIGH_WATER_MARK,
        bounds: Bounds | None = None,
    ) -> None:
        """Binds `endpoint` (`ipc://PATH`) with this file mode. `admit` decides who may connect. `bounds` limits what
        users may take. With bounds, call `tend` once a second, and `has_spoken` for each connection that has said what
        it wants. Raises `SocketError`."""
        self.accounts = None if bounds is None else Accounts(bounds)
        self._unread_bytes_max = None if bounds is None else bounds.unread_bytes_per_connection_max
        self._admit = admit
        self._bytes_max, self._high_water = frame_bytes_max, high_water
        self._gone: list[bytes] = []
        self._connections: dict[bytes, Connection] = {}
        self._credentials: dict[bytes, Credentials] = {}
        self._by_descriptor: dict[int, bytes] = {}
        self._numbers = count(1)
        self._pending: dict[bytes, deque[bytes | None]] = {}
        """Envelopes that were received and not fetched, by connection. The connection whose turn it is comes first."""
        self._pending_bytes = 0
        self._held: set[bytes] = set()
        """Connections that are not read now, because their users have too much half-received."""
        path = local_path(endpoint)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self._spare = SpareDescriptor()
        # The file must not be open to others even for the moment between bind and chmod.
        umask = os.umask(0o177)
        try:
            self._listener.bind(str(path))
            path.chmod(mode)
            self._listener.listen(BACKLOG)
        except OSError as error:
            self._listener.close()
            self._spare.close()
            raise SocketError(f"{endpoint}: cannot be bound: {error.strerror or error}") from None
        finally:
            os.umask(umask)
        self._path = path
        self._poll = select.epoll()
        self._poll.register(self._listener, _IN)

    def change_mode(self, mode: int) -> None:
        """Set who may connect, by the mode of the socket file. Does nothing if the file was removed."""
        with contextlib.suppress(OSError):
            self._path.chmod(mode)

    def fileno(self) -> int:
        """The descriptor to poll. It is readable as long as `receive` has work."""
        return self._poll.fileno()

    @property
    def has_pending(self) -> bool:
        """True if `receive` would return something although the descriptor may not be readable."""
        return bool(self._pending)

    def credentials(self, identity: bytes) -> Credentials:
        """The process of this connection; valid until `take_gone` has reported its end. Raises KeyError."""
        return self._credentials[identity]

    def uid_of(self, identity: bytes) -> int | None:
        """The user of this connection; None if it is gone."""
        return self._credentials[identity].uid if identity in self._connections else None

    @property
    def has_gone(self) -> bool:
        """True if `take_gone` would return something."""
        return bool(self._gone)

    def take_gone(self) -> list[bytes]:
        """Connections that have ended since the last call. `receive` returns no envelope of theirs any more."""
        gone, self._gone = self._gone, []
        for identity in gone:
            del self._credentials[identity]
        return gone

    def receive(self, limit: int = 64) -> list[tuple[bytes, bytes | None]]:
        """Accept connections, flush queues, and return at most `limit` pairs (identity, envelope). None in place of an
        envelope is a message that cannot be one.

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
                self._spare.turn_away(self._listener, error)
                return  # otherwise nobody waits, or no longer
            try:
                credentials = Credentials(*peer_of(stream))
                if not self._admit(credentials):
                    stream.send(zmtp.GREETING + zmtp.command(zmtp.DENIED), socket.MSG_NOSIGNAL)
                    stream.close()
                    continue
                if self.accounts is not None and not self.accounts.admits(credentials.uid):
                    stream.close()
                    continue
                credentials = credentials._replace(start_time=start_time_of_peer(stream, credentials.pid))
                connection = Connection(stream, b"ROUTER", self._bytes_max, self._high_water, self._unread_bytes_max)
            except OSError:
                stream.close()
                continue
            identity = next(self._numbers).to_bytes(5)
            self._connections[identity] = connection
            self._credentials[identity] = credentials
            self._by_descriptor[stream.fileno()] = identity
            if self.accounts is not None:
                self.accounts.open(identity, credentials.uid, time.monotonic())
                if credentials.pid == os.getpid():
                    self.accounts.has_spoken(identity)
            self._poll.register(stream, _IN)

    def _serve(self, identity: bytes, events: int) -> None:
        connection = self._connections[identity]
        try:
            if events & _OUT:
                try:
                    connection.flush()
                except OSError:
                    connection.give_up()
                if self.accounts is not None:
                    self.accounts.note_unread(identity, connection.unread_bytes)
                if not connection.is_blocked():
                    self._poll.modify(connection.stream, 0 if identity in self._held else _IN)
            if identity in self._held:
                if events & ~_OUT:
                    self.end(identity)  # it has hung up: the kernel reports that even if it is not polled for
                return
            # The end of a connection is not read before all that it sent was fetched: its credentials are known as
            # long.
            reads = events & ~_OUT and identity not in self._pending and self._pending_bytes < PENDING_BYTES_MAX
            if reads and self.accounts is not None and not self.accounts.may_read(identity):
                self._held.add(identity)
                self._poll.modify(connection.stream, _OUT if connection.is_blocked() else 0)
                return
            if reads and (envelopes := connection.receive()):
                self._pending[identity] = deque(envelopes)
                self._pending_bytes += sum(len(each or b"") + _OVERHEAD_BYTES for each in envelopes)
            if self.accounts is not None:
                self.accounts.note_half(identity, connection.reader.held_bytes)
        except (OSError, zmtp.ProtocolError):
            self._close(identity)
        if self._held:
            self._release()

    def _release(self) -> None:
        """Read held connections again for which there is room now."""
        assert self.accounts is not None
        for identity in self.accounts.released():
            self._held.discard(identity)
            connection = self._connections[identity]
            self._poll.modify(connection.stream, _IN | _OUT if connection.is_blocked() else _IN)

    def tend(self, now_s: float) -> None:
        """Call once a second: end the connections that are overdue."""
        if self.accounts is not None:
            for identity in self.accounts.overdue(now_s):
                self.end(identity)

    def has_spoken(self, identity: bytes) -> None:
        """The connection has said what it wants, and may stay."""
        if self.accounts is not None and identity in self._connections:
            self.accounts.has_spoken(identity)

    def must_speak(self, identity: bytes) -> None:
        """What the connection wanted has ended: it may stay if it soon says what it wants now."""
        if self.accounts is not None and identity in self._connections:
            self.accounts.must_speak(identity, time.monotonic())

    def end(self, identity: bytes) -> None:
        """End a connection. What it had sent and nobody has fetched is dropped, as what was not read is."""
        if identity in self._connections:
            self._close(identity)
            if self._held:
                self._release()

    def _close(self, identity: bytes) -> None:
        connection = self._connections.pop(identity)
        del self._by_descriptor[connection.stream.fileno()]
        connection.close()
        # Nobody knows any more whose they are once `take_gone` has told of the end.
        for envelope in self._pending.pop(identity, ()):
            self._pending_bytes -= len(envelope or b"") + _OVERHEAD_BYTES
        self._held.discard(identity)
        if self.accounts is not None:
            self.accounts.close(identity)
        self._gone.append(identity)

    def send(self, identity: bytes, envelope: bytes, *, more: bool = False) -> bool | None:
        """Send to one connection. False if there is no room now, None if the connection is gone. `more`: another
        envelope to it follows at once."""
        connection = self._connections.get(identity)
        if connection is None:
            return None
        was_blocked = connection.is_blocked()
        sent: bool | None
        try:
            sent = connection.send(envelope, more=more)
        except OSError:
            connection.give_up()
            sent = None
        if connection.unread_bytes or was_blocked:
            self._note_unread(identity, connection, was_blocked)
            if identity not in self._connections:
                return None
        return sent

    def _note_unread(self, identity: bytes, connection: Connection, was_blocked: bool) -> None:
        """Some envelopes wait for room: poll for that. If too much is unread, one connection has to go."""
        if not was_blocked and connection.is_blocked():
            self._poll.modify(connection.stream, _OUT if identity in self._held else _IN | _OUT)
        if self.accounts is not None:
            self.accounts.note_unread(identity, connection.unread_bytes)
            while (who := self.accounts.who_must_go(identity)) is not None:
                self.end(who)
                if who == identity:
                    return

    def waiting(self, identity: bytes) -> int:
        """How many envelopes wait until this connection reads; 0 if it is gone."""
        connection = self._connections.get(identity)
        return 0 if connection is None else connection.waiting

    def unsent_bytes(self, identity: bytes) -> int:
        """What was sent to this connection and not read, as it counts in memory; 0 if it is gone."""
        connection = self._connections.get(identity)
        if connection is None:
            return 0
        with contextlib.suppress(OSError):
            in_kernel = fcntl.ioctl(connection.stream, termios.TIOCOUTQ, bytes(4))
            return connection.unread_bytes + int.from_bytes(in_kernel, sys.byteorder)
        return 0

    def close(self) -> None:
        """Close all descriptors. The file stays for the successor to remove."""
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()
        self._listener.close()
        self._spare.close()
        self._poll.close()
