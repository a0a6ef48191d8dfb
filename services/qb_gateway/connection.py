"""One connection of a C program: its stream socket, its rings, and what is queued for them.

A byte in the stream announces each chunk, and the end of the stream tells that the other side is gone. The bytes are
always read and never counted: a client whose byte finds no room would spin. A program may connect and then fork, so
only the stream tells whether it lives, not the process that connected.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
from collections import deque
from typing import Any, NamedTuple, Protocol

from rondo.node.process_name import process_name_of
from services.qb_gateway.rings.layout import FLOW_FREE, FLOW_NO_MULTICAST, RingError
from services.qb_gateway.shared_memory import ConnectionMemory
from services.qb_gateway.wire.messages import REQUEST_HEADER

REQUESTS_PER_TURN = 1024
"""Requests of one connection that are served before the others get their turn."""
REQUESTS_OF_RING_MAX = 64 * 1024
"""As many as a ring of 1 MiB can hold."""
BYTES_PER_TURN = 1024 * 1024
STREAM_READ_BYTES = 64 * 1024
NOTICE_BYTES_MAX = 64 * 1024
"""The most bytes written to the stream at once. Each byte announces one event."""


WAITING_BYTES_MAX = 4 * 1024 * 1024
"""Of a program that follows keys, quorum or links and takes no events: thousands of changes beside a full ring."""
NO_BOUND = 0

_numbers = itertools.count(1)


class Peer(NamedTuple):
    """The process that connected, as the kernel reports it."""

    pid: int
    uid: int
    gid: int


class Service(Protocol):
    """The service behind one of the sockets."""

    name: str
    message_bytes_max: int
    waiting_bytes_max: int
    """Bytes of events of one connection that wait for room in its ring; with more it is hung up. `NO_BOUND`: the
    service sees to that itself."""

    def opened(self, connection: Connection) -> None:
        """A program has connected."""

    def closed(self, connection: Connection) -> None:
        """A program is gone. What it had sent was served before."""

    def has_room(self, connection: Connection, *, is_last: bool = False) -> bool:
        """True if its next request can be processed. Until then requests wait in the ring. `is_last`: the program is
        gone, and this is the last time that it is asked for."""

    def request(self, connection: Connection, ident: int, message: bytes) -> None:
        """Process a request, of at least the size of its header."""

    def adjust_flow(self, connection: Connection) -> None:
        """Tell the program whether it may multicast (`Connection.set_flow`)."""

    def written(self, connection: Connection) -> None:
        """More of its events are in the ring (`events_written`)."""


class Connection:
    """`flush` and `read_requests` raise `RingError` or OSError once the connection is over."""

    def __init__(
        self,
        stream: socket.socket,
        peer: Peer,
        service: Service,
        memory: ConnectionMemory,
        attention: set[Connection],
    ) -> None:
        """`attention`: the set that the connection adds itself to when it has to be flushed or ended."""
        self.stream = stream
        self.peer = peer
        self.service = service
        self.state: Any = None
        """The service's own state of this connection."""
        self.hang_up_reason = ""
        """The reason why the connection is to be ended; empty if it is not."""
        self.is_ended = False
        """The other side has closed its stream."""
        self.has_more = False
        """Requests were left in the ring, because other connections had their turn or there was no room."""
        self.events_queued = 0
        """How many events were posted in all."""
        self.events_written = 0
        """How many of them were written to the ring."""
        self.requests_taken = 0
        self.replies_made = 0
        self.requests_invalid = 0
        """Of no function of the service, or too short."""
        self.flow_stops = 0
        """How often the program was told to stop multicasting."""
        self.writes_deferred = 0
        """How often events found no room in the ring."""
        self.number = next(_numbers)
        """Unique in this process."""
        self.whose = b"%d" % self.number
        """Whose requests to control those of this connection are: they are forgotten with it."""
        self.program = process_name_of(peer.pid)
        self._memory = memory
        self._events: deque[bytes] = deque()
        self._sizes: deque[int] = deque()
        """Of the events that wait, where their bytes are bounded."""
        self._waiting_bytes = 0
        self._responses: deque[bytes] = deque()
        self._owed = 0
        """Bytes that announce events and found no room in the stream."""
        self._flow = FLOW_FREE
        self._attention = attention

    @property
    def is_blocked(self) -> bool:
        """True if events wait for room in the ring. The client does not signal when it has made some."""
        return bool(self._events)

    @property
    def requests_open(self) -> int:
        """Requests without an answer yet, of a service that answers each once."""
        return self.requests_taken - self.replies_made

    @property
    def owes_bytes(self) -> bool:
        """True if bytes wait for room in the stream."""
        return self._owed > 0

    @property
    def is_whole(self) -> bool:
        """True if its files were not truncated."""
        return self._memory.is_whole

    @property
    def may_multicast(self) -> bool:
        """What the program was last told."""
        return self._flow == FLOW_FREE

    # -- to the client -------------------------------------------------------------------------------------------

    def reply(self, message: bytes) -> None:
        """Answer the waiting call."""
        self.replies_made += 1
        self._responses.append(message)
        try:
            self._memory.responses.write(self._responses)
        except RingError as error:
            self.hang_up(str(error))
        if self._responses:
            self.hang_up("there is no room for a reply, although only one call waits for one")

    def refuse(self, message: bytes) -> None:
        """The answer to a request that is none."""
        self.requests_invalid += 1
        self.reply(message)

    def hang_up(self, reason: str) -> None:
        """End the connection soon."""
        self.hang_up_reason = self.hang_up_reason or reason
        self._attention.add(self)

    def post(self, events: list[bytes]) -> None:
        """Queue events, in their order. The next `flush` writes them to the ring."""
        self._events.extend(events)
        self.events_queued += len(events)
        self._attention.add(self)
        if self.service.waiting_bytes_max != NO_BOUND:
            self._bound_waiting(events)

    def _bound_waiting(self, events: list[bytes]) -> None:
        sizes = [len(each) for each in events]
        self._sizes.extend(sizes)
        self._waiting_bytes += sum(sizes)
        if self._waiting_bytes > self.service.waiting_bytes_max:
            self.hang_up(f"it takes no events, and {self._waiting_bytes} bytes of them wait")
            self._events.clear()
            self._sizes.clear()
            self._waiting_bytes = 0

    def deliver(self, events: list[bytes]) -> None:
        """Write events that must be in the ring before the reply that follows."""
        self.post(events)
        try:
            self.flush()
        except (BrokenPipeError, ConnectionResetError):
            self.is_ended = True  # the program has ended it; `post` has added the connection to `attention`
        except (RingError, OSError) as error:
            self.hang_up(str(error))

    def flush(self) -> None:
        """Write as many events as have room, and announce them together."""
        if self._events:
            written = self._memory.events.write(self._events)
            if written:
                self.events_written += written
                self._owed += written
                for _ in range(min(written, len(self._sizes))):
                    self._waiting_bytes -= self._sizes.popleft()
                self.service.written(self)
            self.writes_deferred += bool(self._events)
        if self._owed:
            with contextlib.suppress(BlockingIOError):
                while self._owed:
                    self._owed -= self.stream.send(bytes(min(self._owed, NOTICE_BYTES_MAX)), socket.MSG_NOSIGNAL)

    def set_flow(self, may_multicast: bool) -> None:
        """Set whether the client may multicast. The client sees it before its next send."""
        flow = FLOW_FREE if may_multicast else FLOW_NO_MULTICAST
        if flow != self._flow:
            self._flow = flow
            self.flow_stops += flow == FLOW_NO_MULTICAST
            self._memory.set_flow_control(flow)

    # -- from the client -----------------------------------------------------------------------------------------

    def read_stream(self) -> None:
        """Read the announcing bytes, and notice the end of the stream."""
        try:
            self.is_ended = not self.stream.recv(STREAM_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self.is_ended = True

    def read_requests(self, *, is_last: bool = False) -> None:
        """Serve the requests in the ring, as far as the service has room and it is this connection's turn. `is_last`:
        the program is gone, and nothing more will be read; that is at most one full ring."""
        take, service = self._memory.requests.take, self.service
        size = count = 0
        count_max = REQUESTS_PER_TURN if not is_last else REQUESTS_OF_RING_MAX
        self.has_more = True
        while count < count_max and size < BYTES_PER_TURN and service.has_room(self, is_last=is_last):
            message = take()
            if message is None:
                self.has_more = False
                break
            ident, announced = REQUEST_HEADER.unpack_from(message)
            if announced != len(message):
                raise RingError(f"a request of {len(message)} bytes announces {announced}")
            count += 1
            self.requests_taken += 1
            size += len(message)
            service.request(self, ident, message)
            if self.hang_up_reason:
                break

    def close(self) -> None:
        """Close the stream and remove the rings."""
        self._events.clear()
        self.stream.close()
        self._memory.close()
