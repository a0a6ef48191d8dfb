"""All connections of C programs in one turn of the loop: reads requests, writes events, and ends connections.

`process` has the rest: the sockets of the node, and signals.
"""

from __future__ import annotations

import contextlib
import logging
import select
from collections.abc import Sequence

from services.qb_gateway.connection import Connection, Peer, Service
from services.qb_gateway.listeners import Handshake, Listeners
from services.qb_gateway.rings.layout import RingError
from services.qb_gateway.truncation import TruncationGuard

RETRY_MIN_S = 0.001
"""The interval at which full event rings are checked for room, because programs do not signal it, ..."""
RETRY_MAX_S = 0.02
"""... up to this one, while none of them makes progress."""
TOLD_PER_SECOND = 1
"""So many hang-ups are logged each by itself; the others of that second are told as a number."""
_IN, _OUT = select.EPOLLIN, select.EPOLLOUT

log = logging.getLogger("QB_GATEWAY")


class Hub:
    """The connections, by their descriptors."""

    def __init__(self, poll: select.epoll, guard: TruncationGuard) -> None:
        self.connections: dict[int, Connection] = {}
        self.attention: set[Connection] = set()
        """Connections that have something to write, or are to be ended."""
        self.counters = {"requests": 0, "events": 0, "cut": 0, "ended": 0}
        self.retry_s: float | None = None
        """The time until `turn` has to be called again."""
        self._poll = poll
        self._guard = guard
        self._listeners: Listeners | None = None
        self._readable: set[Connection] = set()
        self._waiting: set[Connection] = set()
        """Connections with requests left in the ring."""
        self._blocked: set[Connection] = set()
        """Connections with events that found no room in the ring."""
        self._polled_out: set[Connection] = set()
        self._backoff_s = RETRY_MIN_S
        self._told_in_second = self._untold = 0
        """Hang-ups that were logged since `keep_house`, and those that were only counted."""

    def serve(self, listeners: Listeners) -> None:
        """From now on programs can connect."""
        self._listeners = listeners
        for descriptor in listeners.sockets:
            self._poll.register(descriptor, _IN)

    def on_event(self, descriptor: int, events: int, now_s: float) -> bool:
        """Process an event of a descriptor. False if the descriptor is not one of a program."""
        connection = self.connections.get(descriptor)
        if connection is not None:
            if events & ~_OUT:
                connection.read_stream()
                self._readable.add(connection)
            self.attention.add(connection)
            return True
        listeners = self._listeners
        if listeners is None:
            return False
        handshake = listeners.handshakes.get(descriptor)
        if handshake is not None:
            self._read_handshake(listeners, handshake)
        elif descriptor in listeners.sockets:
            for new in listeners.accept(descriptor, now_s):
                self._poll.register(new.stream, _IN)
                # The request has often come with the connection.
                self._read_handshake(listeners, new)
        else:
            return False
        return True

    def _read_handshake(self, listeners: Listeners, handshake: Handshake) -> None:
        connection = listeners.read(handshake)
        if connection is not None:
            self.connections[connection.stream.fileno()] = connection
            connection.service.opened(connection)

    def read(self) -> None:
        """Serve requests as far as there is room for them."""
        readable, self._readable = self._readable | self._waiting, set()
        for connection in readable:
            self._read_one(connection)
            connection.service.adjust_flow(connection)
            if connection.has_more:
                self._waiting.add(connection)
            else:
                self._waiting.discard(connection)
            if connection.is_ended:
                self.attention.add(connection)

    def _read_one(self, connection: Connection) -> None:
        try:
            connection.read_requests(is_last=connection.is_ended)
        except (RingError, OSError) as error:
            connection.hang_up(str(error))

    @property
    def has_waiting(self) -> bool:
        """True if requests for which there is room were left in a ring."""
        return any(connection.service.has_room(connection) for connection in self._waiting)

    def write(self) -> None:
        """Write what is due, and end the connections that are to be ended."""
        self.attention |= self._blocked
        progress = False
        while self.attention:
            connection = self.attention.pop()
            before = connection.events_written
            try:
                connection.flush()
            except (BrokenPipeError, ConnectionResetError):
                # The program has ended, which the poll reports only later. Its last requests still count.
                connection.is_ended = True
                self._readable.add(connection)
            except (RingError, OSError) as error:
                connection.hang_up(str(error))
            progress = progress or connection.events_written != before
            if connection.hang_up_reason or connection.is_ended or not connection.is_whole:
                self._end(connection)
            else:
                self._note(connection)
        if self._guard.hit:
            self._end_truncated()
        self._backoff_s = RETRY_MIN_S if progress else min(2 * self._backoff_s, RETRY_MAX_S)
        self.retry_s = self._backoff_s if self._blocked else None

    def _note(self, connection: Connection) -> None:
        connection.service.adjust_flow(connection)
        if connection.is_blocked:
            self._blocked.add(connection)
        else:
            self._blocked.discard(connection)
        if connection.owes_bytes != (connection in self._polled_out):
            if connection.owes_bytes:
                self._polled_out.add(connection)
                self._poll.modify(connection.stream, _IN | _OUT)
            else:
                self._polled_out.discard(connection)
                self._poll.modify(connection.stream, _IN)

    def _end_truncated(self) -> None:
        for connection in list(self.connections.values()):
            if not connection.is_whole:
                self._end(connection)

    def _end(self, connection: Connection) -> None:
        if connection.is_ended and connection in self._readable:
            # Its requests had no room in this turn. Its last ones still count.
            self._read_one(connection)
        if not connection.is_whole:
            connection.hang_up("it has truncated the files of its rings")
        if connection.hang_up_reason:
            self.counters["cut"] += 1
            self._tell_hang_up(connection)
        self.counters["ended"] += 1
        self.counters["requests"] += connection.requests_taken
        self.counters["events"] += connection.events_written
        descriptor = connection.stream.fileno()
        del self.connections[descriptor]
        with contextlib.suppress(OSError):
            self._poll.unregister(descriptor)
        connection.service.closed(connection)
        for each in (self._readable, self._waiting, self._blocked, self._polled_out):
            each.discard(connection)
        if self._listeners is not None:
            self._listeners.forget(connection)
        connection.close()
        self.attention.discard(connection)

    def _tell_hang_up(self, connection: Connection) -> None:
        if self._told_in_second == TOLD_PER_SECOND:
            self._untold += 1
            return
        self._told_in_second += 1
        log.warning("%s: hung up: %s", _who(connection), connection.hang_up_reason)

    def hang_up_all(self, reason: str) -> None:
        """End all connections."""
        for connection in list(self.connections.values()):
            connection.hang_up(reason)
            self._end(connection)

    def _tell_untold(self) -> None:
        if self._untold:
            log.warning("%d C programs more were hung up", self._untold)
        self._told_in_second = self._untold = 0

    def keep_house(self, now_s: float) -> None:
        """Call once a second."""
        self._tell_untold()
        if self._listeners is not None:
            self._listeners.drop_silent(now_s)

    def totals(self) -> dict[str, int]:
        """The counters, with those of open connections included."""
        living = self.connections.values()
        return {
            **self.counters,
            "requests": self.counters["requests"] + sum(each.requests_taken for each in living),
            "events": self.counters["events"] + sum(each.events_written for each in living),
        }

    def close(self) -> None:
        """End all connections, and accept no more."""
        services: Sequence[Service] = [each.service for each in self.connections.values()]
        if services:
            log.info("hanging up %d C programs", len(services))
        for connection in list(self.connections.values()):
            self._end(connection)
        self._tell_untold()
        if self._listeners is not None:
            self._listeners.close()


def _who(connection: Connection) -> str:
    peer: Peer = connection.peer
    return f"{connection.service.name}: C program (process {peer.pid}, user {peer.uid})"
