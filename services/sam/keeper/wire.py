"""The protocol between SAM and its keeper on a Unix socket: a length (u32, little-endian), then a msgpack array.

Both are of one version, so shapes are not negotiated. LISTED has the version, in case that a node was updated while its
applications ran.

SAM: `[SPAWN, key, instance, spec]`, `[SIGNAL, key, instance, number]`, `[FORGET, key, instance]`, `[LIST]`, `[DRAIN,
key, fifo, log, uid]`, `[CLOSE, key]`, `[END]`, `[LIMIT, per_user_bytes, all_bytes]`. keeper: `[SPAWNED, key, instance,
pid, start_time]`, `[ENDED, key, instance, ending]`, `[LISTED, version, [[key, instance, pid, start_time, ending or
nil], ...]]`, `[DROPPED, uid, bytes]`: of this user's output, once in a while.

A key names an application (or the health check of one). At most one process of a key lives at any time, whatever SAM
orders. `ending` = `[status, left_behind, stage, errno, unix_time]`. status is an exit code, or minus a signal.
left_behind is true if processes of it outlived it (and were killed). stage and errno tell why it could not be executed,
else "", 0.
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
