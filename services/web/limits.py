"""Connections have a bound, and so has the time that a request may take to arrive.

uvicorn bounds what is answered at a time, and h11 the size of headers. Neither ends a connection on which nothing
comes, or a byte now and then, or whose other end reads nothing of an answer: a thousand of those would keep everybody
else out.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from services.web.joined import JoinedWrites

CONNECTIONS_MAX = 128
HEADER_BYTES_MAX = 16 * 1024
REQUEST_S = 5.0
"""From the first moment of a connection, or from the end of the last answer, to the end of the next request."""
UNREAD_S = 10.0
"""How long an answer may wait for who has asked to read on, about."""
LOOK_S = UNREAD_S / 2
"""How often it is looked whether he reads."""
EVENTS_PATH = "/api/v1/events"
IDLE_S = 15
"""How long a connection may stay open between two requests."""


class BoundedProtocol(H11Protocol):
    """One connection."""

    _due: asyncio.TimerHandle | None = None
    _look_due: asyncio.TimerHandle | None = None
    _unread_bytes = 0
    """As of the last look."""
    _looks_in_vain = 0
    _has_read = False
    """Since the last look, so much that there was room again."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        joined: Any = JoinedWrites(transport, self.loop)  # type: ignore[arg-type]  # of a stream, and so of this kind
        super().connection_made(joined)
        if len(self.connections) > CONNECTIONS_MAX:
            self.transport.abort()
            return
        self._wait_for_request()
        self._look_due = self.loop.call_later(LOOK_S, self._look)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._is_answering():
            self._stop_waiting()
        elif self._due is None:
            self._wait_for_request()

    def send_400_response(self, msg: str) -> None:
        """What came is no HTTP. If it came behind a request that is being answered, or as its body, that one's answer
        is the last: h11 has uvicorn close the connection after it."""
        if not self._is_answering():
            super().send_400_response(msg)

    def shutdown(self) -> None:
        """The server ends: what is being answered is answered. A stream of events has no end of its own."""
        super().shutdown()
        if self._is_answering() and self.scope["path"] == EVENTS_PATH:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        if self._look_due is not None:
            self._look_due.cancel()
        super().connection_lost(exc)

    def resume_writing(self) -> None:
        self._has_read = True
        super().resume_writing()

    def _look(self) -> None:
        """End the connection if the other end reads nothing of what waits for it. That counts for one that is being
        closed as well: the transport would wait for ever."""
        unread_bytes = self.transport.get_write_buffer_size()
        reads = not unread_bytes or self._has_read or unread_bytes < self._unread_bytes
        self._unread_bytes, self._has_read = unread_bytes, False
        self._looks_in_vain = 0 if reads else self._looks_in_vain + 1
        if self._looks_in_vain * LOOK_S >= UNREAD_S:
            self.transport.abort()
            return
        self._look_due = self.loop.call_later(LOOK_S, self._look)

    def _is_answering(self) -> bool:
        cycle: Any = self.cycle
        return cycle is not None and not cycle.response_complete

    def _wait_for_request(self) -> None:
        self._due = self.loop.call_later(REQUEST_S, self._give_up)

    def _stop_waiting(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None

    def _give_up(self) -> None:
        self._due = None
        if not self._is_answering():
            self.transport.abort()
