"""One connection of a C program: its stream socket, its rings, and what waits to go into them.

The stream says that there is something, one byte for each chunk, and that the other side is gone. Its bytes are read
always and counted never: a client whose byte finds no room would spin. A program may connect and then fork, so the
stream alone is its life, and not the process that connected.
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
"""Of one connection, before the others get their turn."""
REQUESTS_OF_RING_MAX = 64 * 1024
"""As many as a ring of 1 MiB can hold."""
BYTES_PER_TURN = 1024 * 1024
STREAM_READ_BYTES = 64 * 1024
NOTICE_BYTES_MAX = 64 * 1024
"""Written to the stream at once: as many events are announced, one byte for each."""


_numbers = itertools.count(1)


class Peer(NamedTuple):
    """The process that connected, as the kernel says."""

    pid: int
    uid: int
    gid: int


class Service(Protocol):
    """What stands behind one of the sockets."""

    name: str
    message_bytes_max: int

    def opened(self, connection: Connection) -> None:
        """A program has connected."""

    def closed(self, connection: Connection) -> None:
        """It is gone; what it had sent was served before."""

    def has_room(self, connection: Connection) -> bool:
        """Whether its next request can be taken: while it cannot be, requests wait in the ring."""

    def request(self, connection: Connection, ident: int, message: bytes) -> None:
        """A request, of at least the size of its header."""

    def adjust_flow(self, connection: Connection) -> None:
        """Tell it whether it may multicast (`Connection.set_flow`)."""

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
        """`attention`: where it puts itself when it has to be flushed or ended."""
        self.stream = stream
        self.peer = peer
        self.service = service
        self.state: Any = None
        """The service's own."""
        self.hang_up_reason = ""
        """Why the connection is to be ended, if it is."""
        self.is_ended = False
        """The other side has closed its stream."""
        self.has_more = False
        """Requests were left in the ring because it was the others' turn, or for want of room."""
        self.events_queued = 0
        """How many events were posted ever."""
        self.events_written = 0
        """How many of them are in the ring."""
        self.requests_taken = 0
        self.replies_made = 0
        self.requests_invalid = 0
        """Of no function of the service, or too short."""
        self.flow_stops = 0
        """How often it was told to multicast no more."""
        self.writes_deferred = 0
        """How often events found no room in the ring."""
        self.number = next(_numbers)
        """Of no other connection of this process."""
        self.program = process_name_of(peer.pid)
        self._memory = memory
        self._events: deque[bytes] = deque()
        self._responses: deque[bytes] = deque()
        self._owed = 0
        """Bytes that announce events and have found no room in the stream."""
        self._flow = FLOW_FREE
        self._attention = attention

    @property
    def is_blocked(self) -> bool:
        """Whether events wait for room in the ring: the client says nothing when it has made some."""
        return bool(self._events)

    @property
    def owes_bytes(self) -> bool:
        """Whether bytes wait for room in the stream."""
        return self._owed > 0

    @property
    def is_whole(self) -> bool:
        """Whether its files are as they were made."""
        return self._memory.is_whole

    @property
    def may_multicast(self) -> bool:
        """What it was told last."""
        return self._flow == FLOW_FREE

    # Towards the client.

    def reply(self, message: bytes) -> None:
        """The answer to the request that waits for one."""
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
        """End the connection, soon."""
        self.hang_up_reason = self.hang_up_reason or reason
        self._attention.add(self)

    def post(self, events: list[bytes]) -> None:
        """Events, in their order; they go into the ring with the next `flush`."""
        self._events.extend(events)
        self.events_queued += len(events)
        self._attention.add(self)

    def deliver(self, events: list[bytes]) -> None:
        """Events that have to be there before the reply that follows."""
        self.post(events)
        try:
            self.flush()
        except (BrokenPipeError, ConnectionResetError):
            self.is_ended = True  # the program has; `post` has called attention to it
        except (RingError, OSError) as error:
            self.hang_up(str(error))

    def flush(self) -> None:
        """Write the events that have room, all with one notice."""
        if self._events:
            written = self._memory.events.write(self._events)
            if written:
                self.events_written += written
                self._owed += written
                self.service.written(self)
            self.writes_deferred += bool(self._events)
        if self._owed:
            with contextlib.suppress(BlockingIOError):
                while self._owed:
                    self._owed -= self.stream.send(bytes(min(self._owed, NOTICE_BYTES_MAX)), socket.MSG_NOSIGNAL)

    def set_flow(self, may_multicast: bool) -> None:
        """Whether the client may multicast: it is told so before it writes anything."""
        flow = FLOW_FREE if may_multicast else FLOW_NO_MULTICAST
        if flow != self._flow:
            self._flow = flow
            self.flow_stops += flow == FLOW_NO_MULTICAST
            self._memory.set_flow_control(flow)

    # From the client.

    def read_stream(self) -> None:
        """Take the bytes that have come, and note the end."""
        try:
            self.is_ended = not self.stream.recv(STREAM_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self.is_ended = True

    def read_requests(self, *, is_last: bool = False) -> None:
        """Serve what waits in the ring, as far as the service has room and it is this connection's turn. `is_last`: the
        program is gone, and this is all that will ever be read; there is not more than a ring full."""
        take, service = self._memory.requests.take, self.service
        size = count = 0
        count_max = REQUESTS_PER_TURN if not is_last else REQUESTS_OF_RING_MAX
        self.has_more = True
        while count < count_max and size < BYTES_PER_TURN and (is_last or service.has_room(self)):
            message = take()
            if message is None:
                self.has_more = False
                break
            ident, announced = REQUEST_HEADER.unpack_from(message)
            if announced != len(message):
                raise RingError(f"a request of {len(message)} bytes says {announced}")
            count += 1
            size += len(message)
            service.request(self, ident, message)
            if self.hang_up_reason:
                break
        self.requests_taken += count

    def close(self) -> None:
        """Close the stream and remove the rings."""
        self._events.clear()
        self.stream.close()
        self._memory.close()
