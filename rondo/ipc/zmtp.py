"""ZeroMQ's protocol on a stream (ZMTP 3.0, RFC 23, mechanism NULL): bytes in, messages out; no I/O.

libzmq moves every message through a thread of its own at either end: four wake-ups for one hop, where one would do. So
Rondo speaks ZMTP itself on Unix sockets (`local_router`, `local_dealer`). The other end may use libzmq, in any
language, and cannot tell the difference.
"""

from __future__ import annotations

import struct
from enum import IntFlag
from typing import Final

GREETING: Final = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
"""Signature, version 3.0, mechanism, "as server", filler."""

DENIED: Final = b"\x05ERROR\x03400"
"""Body of the command that refuses a connection; libzmq reports it as a failed authentication."""

COMMAND_BYTES_MAX: Final = 4096
PIECE_BYTES: Final = 16 * 1024
"""Smaller pieces of a frame are joined as they come: an object for each byte would take forty times as much memory."""
_SHORT_MAX: Final = 255
_LONG: Final = struct.Struct("!BQ")


class Flag(IntFlag):
    """The first byte of a frame."""

    MORE = 1
    LONG = 2
    COMMAND = 4


_MORE: Final = int(Flag.MORE)
_IS_LONG: Final = int(Flag.LONG)
_IS_COMMAND: Final = int(Flag.COMMAND)


class ProtocolError(Exception):
    """The other side violates the protocol: the connection is over."""


def header(size: int, flags: int = 0) -> bytes:
    """The header of a frame of this size."""
    return bytes((flags, size)) if size <= _SHORT_MAX else _LONG.pack(flags | _IS_LONG, size)


def command(body: bytes) -> bytes:
    """A command as it is sent."""
    return header(len(body), _IS_COMMAND) + body


def ready(kind: bytes) -> bytes:
    """The command that ends the handshake; `kind` is ROUTER or DEALER."""
    return command(b"\x05READY" + _property(b"Socket-Type", kind) + _property(b"Identity", b""))


def _property(name: bytes, value: bytes) -> bytes:
    return bytes((len(name),)) + name + len(value).to_bytes(4) + value


class Reader:
    """The receiving half of one connection."""

    def __init__(self, frame_bytes_max: int) -> None:
        self.is_ready = False
        """The handshake is done."""
        self.is_greeted = False
        self.is_denied = False
        """The other side refuses this process."""
        self.pings: list[bytes] = []
        """Answers to the other side's heartbeats that are to be sent; the sender empties it."""
        self._bytes_max = frame_bytes_max
        self._parts: list[bytes | bytearray | memoryview] = []
        self._have = 0
        self._wanted = len(GREETING)
        self._more = False
        self._is_in_body = False
        """What is kept is the beginning of a long message, without its header."""

    @property
    def missing(self) -> int:
        """How many bytes the current frame still needs, at least."""
        return self._wanted - self._have

    @property
    def held_bytes(self) -> int:
        """The bytes of a half-received frame that are kept here."""
        return self._have

    def feed(self, data: bytes) -> list[bytes | None]:
        """Process bytes; returns the messages that they complete. None stands for a message of several frames, which
        Rondo does not use. Raises `ProtocolError`."""
        self._have += len(data)
        if self._have < self._wanted:
            self._keep(data)
            return []
        messages: list[bytes | None] = []
        if self._is_in_body:
            data = self._end_body(data, messages)
        elif self._parts:
            self._parts.append(data)
            data = b"".join(self._parts)
            self._parts = []
        at = 0
        if not self.is_greeted:
            self._greeted(data)
            at = len(GREETING)
        end = len(data)
        while end - at >= 2:
            flags, size = data[at], data[at + 1]
            begin = at + 2
            if flags & _IS_LONG:
                if end - at < _LONG.size:
                    break
                _, size = _LONG.unpack_from(data, at)
                begin = at + _LONG.size
                if size > self._bytes_max:
                    raise ProtocolError(f"a frame of {size} bytes")
            if end - begin < size:
                if flags == _IS_LONG and self.is_ready and not self._more:
                    self._wait_for(data[begin:], size)
                    self._is_in_body = True
                else:
                    self._wait_for(data[at:], begin - at + size)
                return messages
            body = data[begin : begin + size]
            at = begin + size
            if flags & _IS_COMMAND:
                self._command(body)
            elif not self.is_ready:
                raise ProtocolError("a message before the handshake is over")
            elif flags & _MORE:
                self._more = True
            elif self._more:
                self._more = False
                messages.append(None)
            else:
                messages.append(body)
        self._wait_for(data[at:], _LONG.size if end - at >= 2 else 2)
        return messages

    def _end_body(self, data: bytes, messages: list[bytes | None]) -> bytes:
        """A long message is complete: its pieces are joined, and copied only so. What follows it is returned."""
        needed = len(data) - (self._have - self._wanted)
        self._parts.append(memoryview(data)[:needed])
        messages.append(b"".join(self._parts))
        self._parts = []
        self._is_in_body = False
        return data[needed:]

    def _keep(self, data: bytes) -> None:
        if self._parts and len(data) < PIECE_BYTES:
            last = self._parts[-1]
            if isinstance(last, bytearray) and len(last) < PIECE_BYTES:
                last += data
            else:
                self._parts.append(bytearray(data))
        else:
            self._parts.append(data)

    def _wait_for(self, rest: bytes, wanted: int) -> None:
        self._parts = [rest] if rest else []
        self._have = len(rest)
        self._wanted = wanted

    def _greeted(self, data: bytes) -> None:
        if data[0] != GREETING[0] or data[9] != GREETING[9] or data[10] < 3 or data[12:32] != GREETING[12:32]:
            raise ProtocolError("no greeting of ZMTP 3 with mechanism NULL")
        self.is_greeted = True

    def _command(self, body: bytes) -> None:
        if len(body) > COMMAND_BYTES_MAX:
            raise ProtocolError("a command that is too long")
        if body.startswith(b"\x05READY"):
            self.is_ready = True
        elif body.startswith(b"\x05ERROR"):
            self.is_denied = True
        elif body.startswith(b"\x04PING"):
            self.pings.append(command(b"\x04PONG" + body[7:]))
