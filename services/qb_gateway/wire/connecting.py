"""How a C library connects: one request of 24 bytes on the stream socket, one reply of 12328 bytes.

| request | id i32 @0 = -1, size i32 @8 = 24, largest message u32 @16 |
|---|---|
| reply | id i32 @0 = -1, size i32 @8, error i32 @16 (0 or a negative errno), type i32 @24 (1 = shared memory), |
| | largest message u32 @28, opaque 8 bytes @32, then the paths of the request, response and event ring, 4096 each |

The library waits for the reply without limit: it is sent at once, if need be with an error.
"""

from __future__ import annotations

import struct

REQUEST_BYTES = 24
REPLY_BYTES = 12328
PATH_BYTES_MAX = 4095
CONNECT_ID = -1
SHARED_MEMORY = 1

_REQUEST = struct.Struct("<i4xi4xI4x")
_REPLY = struct.Struct("<i4xi4xi4xiI8x4096s4096s4096s")


def is_connect_request(data: bytes) -> bool:
    """True if these 24 bytes ask for a connection."""
    ident, size, _ = _REQUEST.unpack(data)
    return bool(ident == CONNECT_ID and size == REQUEST_BYTES)


def accept(message_bytes_max: int, request: str, response: str, event: str) -> bytes:
    """The reply for a new connection, with the paths of its rings, without `-header` and `-data`."""
    paths = [path.encode() for path in (request, response, event)]
    if max(map(len, paths)) > PATH_BYTES_MAX:
        raise ValueError("the path of a ring is too long")
    return _REPLY.pack(CONNECT_ID, REPLY_BYTES, 0, SHARED_MEMORY, message_bytes_max, *paths)


def refuse(errno: int) -> bytes:
    """The reply that refuses the connection with this errno (positive)."""
    return _REPLY.pack(CONNECT_ID, REPLY_BYTES, -errno, SHARED_MEMORY, 0, b"", b"", b"")
