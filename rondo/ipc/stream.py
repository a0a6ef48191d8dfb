"""One connection of a local ROUTER or DEALER: a non-blocking Unix stream that speaks ZMTP."""

from __future__ import annotations

import contextlib
import socket
from collections import deque
from typing import Final

from rondo.ipc import zmtp

BUFFER_BYTES: Final = 4 * 1024 * 1024
"""The kernel buffer of each direction of a connection, as far as the kernel grants it."""
CHUNK_BYTES: Final = 64 * 1024
CHUNK_BYTES_MAX: Final = 1024 * 1024
"""How much is read at once: the beginning of a frame, or the rest of a long one."""
JOINED_BYTES_MAX: Final = 16 * 1024
"""Up to this size a frame and its header are joined in memory; above, the kernel gathers them."""
OVERHEAD_BYTES: Final = 256
"""What a queued envelope takes in memory besides its bytes."""
ENVELOPES_AT_ONCE: Final = 64
"""A connection is read no further once it has given this many envelopes."""


class Connection:
    """One stream. `send` and `receive` raise OSError or `ProtocolError` once it is over."""

    def __init__(
        self,
        stream: socket.socket,
        kind: bytes,
        frame_bytes_max: int,
        high_water: int,
        waiting_bytes_max: int | None = None,
    ) -> None:
        """`high_water` bounds the envelopes that wait to be written, and `waiting_bytes_max` their bytes, except for
        the first one."""
        self.stream = stream
        self.reader = zmtp.Reader(frame_bytes_max)
        self._high_water = high_water
        self._waiting_bytes_max = waiting_bytes_max
        self.unread_bytes = 0
        """The memory that the waiting envelopes take."""
        self._waiting: deque[memoryview] = deque()
        self._together = b""
        """An envelope that is written together with the next one."""
        self._early: deque[bytes] = deque()
        """Envelopes that wait for the end of the handshake."""
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            stream.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
        stream.setblocking(False)
        stream.sendall(zmtp.GREETING + zmtp.ready(kind))

    def is_blocked(self) -> bool:
        """True if envelopes wait for room in the socket."""
        return bool(self._waiting)

    @property
    def waiting(self) -> int:
        """How many envelopes wait for room in the socket."""
        return len(self._waiting)

    def send(self, envelope: bytes, *, more: bool = False) -> bool:
        """Send now, or queue until there is room. False if the queue is full, too. `more`: another envelope follows at
        once; they are written together, so that the other side is woken once."""
        if not self.reader.is_ready:
            if len(self._early) >= self._high_water:
                return False
            self._early.append(envelope)
            return True
        if self._waiting:
            if len(self._waiting) >= self._high_water:
                return False
            if self._waiting_bytes_max is not None and self.unread_bytes + len(envelope) > self._waiting_bytes_max:
                return False
            self._wait(memoryview(zmtp.header(len(envelope)) + envelope))
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
                self._wait(memoryview(data)[sent:])
            return True
        head = together + zmtp.header(size)
        sent = self._write([head, envelope])
        if sent < len(head):
            self._wait(memoryview(head + envelope)[sent:])
        elif sent < len(head) + size:
            self._wait(memoryview(envelope)[sent - len(head) :])
        return True

    def _wait(self, data: memoryview) -> None:
        self._waiting.append(data)
        self.unread_bytes += _size(data)

    def _write(self, buffers: list[bytes]) -> int:
        try:
            return self.stream.sendmsg(buffers, (), socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return 0

    def flush(self) -> None:
        """Write what waits, as far as there is room."""
        waiting = self._waiting
        while waiting:
            try:
                sent = self.stream.send(waiting[0], socket.MSG_NOSIGNAL)
            except BlockingIOError:
                return
            if sent < len(waiting[0]):
                waiting[0] = waiting[0][sent:]
                return
            self.unread_bytes -= _size(waiting.popleft())

    def receive(self) -> list[bytes | None]:
        """Messages that have come. Raises OSError if the connection is over."""
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
                    break  # the end of the connection will be seen again
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
        """Sending has failed: let the descriptor report the end, after what the other side has sent."""
        self._waiting.clear()
        self.unread_bytes = 0
        with contextlib.suppress(OSError):
            self.stream.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the stream."""
        self.stream.close()


def _size(view: memoryview) -> int:
    """The memory that a view keeps alive: all of the object that it is a part of."""
    return len(view.obj) + OVERHEAD_BYTES  # type: ignore[arg-type]
