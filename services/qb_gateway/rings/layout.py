"""Sizes, offsets and marks of libqb's rings (libqb 2, 64-bit Linux).

| header @ | bytes | field |
|---|---|---|
| 0 | 4 | write index, in words |
| 4 | 4 | read index |
| 8 | 4 | words of the data file |
| 12 | 4096 | path of the header file |
| 4108 | 4096 | path of the data file |
| 8204 | 4 | reference count: 1 from the server; the client adds 1 |
| 8208 | 32 | the semaphore, a sem_t shared between processes |
| 8240 | 4 | request ring: the flow control word |
"""

from __future__ import annotations

import struct
from typing import Protocol

WRITE_AT, READ_AT = 0, 1
"""Words of the header."""
SEMAPHORE_OFFSET = 8208
FLOW_CONTROL_AT = 8240 // 4
HEADER_BYTES = 8248
"""Header size of the response ring and the event ring."""
REQUEST_HEADER_BYTES = 8252
"""Header size of the request ring. Clients cut or extend the files to exactly these sizes."""
_CHUNK_MARGIN_BYTES = 13
CHUNK_OVERHEAD_BYTES = 12
"""A chunk is written only if its length and this much are free."""

COMPLETE = 0xA1A1A1A1
BEING_WRITTEN = 0xA110CED0
CONSUMED = 0xD0D0D0D0

FLOW_FREE = 0
FLOW_NO_MULTICAST = 2
"""cpg_mcast_joined returns TRY_AGAIN at once; every other call goes through."""

_HEADER = struct.Struct("<III4096s4096sI")


class RingError(Exception):
    """The other side has corrupted the ring. Its connection is over."""


class Semaphore(Protocol):
    """A sem_t in shared memory."""

    def post(self, count: int) -> None:
        """Add `count`."""

    def take(self) -> bool:
        """Subtract one. False, without waiting, if it is 0."""

    def is_zero(self) -> bool:
        """True if the value is 0."""


def data_bytes(message_bytes_max: int, page_bytes: int) -> int:
    """The size of a data file for messages of up to `message_bytes_max` bytes."""
    return -(-(message_bytes_max + _CHUNK_MARGIN_BYTES) // page_bytes) * page_bytes


def first_header(size: int, words: int, header_path: str, data_path: str) -> bytes:
    """The content of a new header file of `size` bytes; the semaphore has to be made in place."""
    fields = _HEADER.pack(0, 0, words, header_path.encode(), data_path.encode(), 1)
    return fields + bytes(size - len(fields))
