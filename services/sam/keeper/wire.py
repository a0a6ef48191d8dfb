"""The protocol between SAM and its keeper on a Unix socket: a length (u32, little-endian), then a msgpack array.

SAM and the keeper are of the same release, so they do not negotiate the shapes of messages. But a node may be updated
while its applications run. For this case LISTED contains the keeper's version.

SAM sends `[SPAWN, key, instance, spec]`, `[SIGNAL, key, instance, number]`, `[FORGET, key, instance]`, `[LIST]`,
`[DRAIN, key, fifo, log, uid]`, `[CLOSE, key]`, `[END]`, `[LIMIT, per_user_bytes, all_bytes]`.

The keeper sends `[SPAWNED, key, instance, pid, start_time]`, `[ENDED, key, instance, ending]`, `[LISTED, version,
[[key, instance, pid, start_time, ending or nil], ...]]`, `[DROPPED, uid, bytes]`. DROPPED tells how many bytes of this
user's output were dropped since the last DROPPED.

A key names an application (or the health check of one). At most one process of a key lives at any time, whatever SAM
orders. `ending` = `[status, left_behind, stage, errno, unix_time]`. status is an exit code, or a signal's number with a
minus sign. left_behind is true if descendants of the process outlived it (they were killed). stage and errno tell why
the program could not be executed; they are "" and 0 if it was executed.
"""

import struct
from enum import IntEnum
from typing import Any

import msgpack

VERSION = 2
HEALTH_DESCRIPTOR = 3
"""The descriptor of the health FIFO in an application."""
FRAME_BYTES_MAX = 8 * 1024 * 1024
_LENGTH = struct.Struct("<I")


class Say(IntEnum):
    """First element of SAM's messages."""

    SPAWN = 1
    SIGNAL = 2
    FORGET = 3
    LIST = 4
    DRAIN = 5
    CLOSE = 6
    END = 7
    LIMIT = 8


class Tell(IntEnum):
    """First element of the keeper's messages."""

    SPAWNED = 1
    ENDED = 2
    LISTED = 3
    DROPPED = 4


class WireError(ValueError):
    """The received bytes are no frame of this protocol."""


def frame(message: list[Any]) -> bytes:
    """The bytes of a message."""
    packed: bytes = msgpack.packb(message)
    return _LENGTH.pack(len(packed)) + packed


class Unframer:
    """Turns a stream of bytes into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[list[Any]]:
        """The messages that are complete now. Raises WireError."""
        self._buffer += data
        messages = []
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            if length > FRAME_BYTES_MAX:
                raise WireError(f"a frame of {length} bytes")
            end = _LENGTH.size + length
            if len(self._buffer) < end:
                break
            try:
                message = msgpack.unpackb(bytes(self._buffer[_LENGTH.size : end]), strict_map_key=False)
            except (ValueError, TypeError, msgpack.UnpackException) as error:
                raise WireError(str(error)) from None
            del self._buffer[:end]
            if type(message) is not list or not message:
                raise WireError("not an array")
            messages.append(message)
        return messages
