"""What is written to a connection in one turn of the loop goes out as one.

uvicorn writes the head of an answer and its body one after the other. Each is a call of send(2), and each wakes who
reads: a short answer took 850 us of processor time, and takes 440 with one (2 virtual CPUs, loopback).
"""

from __future__ import annotations

import asyncio
from typing import Any


class JoinedWrites:
    """A transport, as uvicorn sees it."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._parts: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        """All that writes nothing is the transport's own."""
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write it in this turn, with all that follows in it."""
        if not self._parts:
            self._loop.call_soon(self._write)
        self._parts.append(data)

    def close(self) -> None:
        """Close the connection, once all has been written."""
        self._write()
        self._transport.close()

    def abort(self) -> None:
        """Close it at once."""
        self._parts.clear()
        self._transport.abort()

    def _write(self) -> None:
        parts, self._parts = self._parts, []
        if parts and not self._transport.is_closing():
            self._transport.write(b"".join(parts))
