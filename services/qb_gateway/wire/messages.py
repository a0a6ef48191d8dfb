"""The common beginning of all messages between a C library and the executive.

A request has a header of 16 bytes (id i32 @0, size i32 @8), a reply or an event one of 24 bytes (also error i32 @16).
The size is that of the whole message.
"""

from __future__ import annotations

import struct

REQUEST_HEADER_BYTES = 16
REPLY_HEADER_BYTES = 24

OK = 1
INVALID_PARAM = 7

REQUEST_HEADER = struct.Struct("<i4xi4x")
_REPLY_HEADER = struct.Struct("<i4xi4xi4x")


class RequestError(Exception):
    """A request that cannot be served. It is answered with `code` (cs_error_t), and affects no other program."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


def reply_header(ident: int, size: int, error: int = OK) -> bytes:
    """The header of a reply or an event of `size` bytes."""
    return _REPLY_HEADER.pack(ident, size, error)


def reply(ident: int, body: bytes = b"", error: int = OK) -> bytes:
    """A reply: its header and what follows."""
    return _REPLY_HEADER.pack(ident, REPLY_HEADER_BYTES + len(body), error) + body


def blank_reply(ident: int, size: int, error: int) -> bytes:
    """A reply of full size with only an error: libraries always read their whole structure."""
    return _REPLY_HEADER.pack(ident, size, error) + bytes(size - REPLY_HEADER_BYTES)


def unknown_reply() -> bytes:
    """The answer to an unknown request. It needs one, because the caller waits without limit."""
    return blank_reply(0, REPLY_HEADER_BYTES, INVALID_PARAM)
