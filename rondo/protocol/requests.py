"""Requests of clients and the replies to them: the content of blobs that the gateway passes on unread.

A blob of requests is an array of `[request, op, argument, ...]`. Requests of a session are numbered 1, 2, 3 ... without
a gap, queries included. Joining, leaving and multicasting are *ordered* requests: once accepted, they come back as an
event at their place in the order. Everything else is a *query*, which is answered by a reply. A blob of replies is an
array of `[request, code, result]`.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Final

from rondo.protocol.batch import decode_body
from rondo.protocol.envelope import BusError, any_value, array_of, is_u32, is_u64, pack, record, unpack
from rondo.protocol.large import LARGE_BYTES, pack_list, split

GROUP_NAME_BYTES_MAX: Final = 128
"""CPG_MAX_NAME_LENGTH."""

REQUESTS_PER_BLOB_MAX: Final = 1 << 16
MESSAGES_PER_BLOB_MAX: Final = 2 * REQUESTS_PER_BLOB_MAX
"""So many numbers the requests of a blob may have together: one that is full, and one more batch. More would keep cpg
busy for seconds."""
ELEMENTS_PER_BLOB_MAX: Final = 8 * REQUESTS_PER_BLOB_MAX
"""A request has at most five elements. A blob with more than this in all is refused before it takes memory."""

BATCH_PAYLOAD_BYTES_MAX: Final = 32 * 1024
"""A larger message gains nothing from a batch, and is sent alone."""
BATCH_BODY_BYTES_MAX: Final = 512 * 1024

REQUEST_CLOSE: Final = 0xFFFF_FFFF_FFFF_FFFF
"""The number under which cpg itself submits the end of a session. No client's request has it."""


HIDDEN_PREFIX: Final = b"rondo.lap."
"""Prefix of the nodes' own groups, which carry warm-up messages. They are shown only on request."""


class Op(IntEnum):
    """Second element of a request."""

    JOIN = 1
    """`[r, 1, group]`: ordered; comes back as a membership event that names this request."""
    LEAVE = 2
    """`[r, 2, group]`: ordered; comes back as a membership event that names this request."""
    MCAST = 3
    """`[r, 3, group, guarantee, data]`: ordered; comes back as a message event that names this request."""
    BATCH = 4
    """`[r, 4, group, guarantee, body]`: several MCASTs in one, numbered r, r + 1 ...; the body: `batch`."""
    GROUPS = 16
    """`[r, 16]`: `[[group, [[node, pid], ...]], ...]`, groups in byte order of their names, but not the node's own
    (`rondo.lap.*`); `[r, 16, true]`: these too"""
    NAMES = 17
    """`[r, 17]` or `[r, 17, true]`: `[group, ...]`, the same groups"""
    MEMBERS = 18
    """`[r, 18, group]`: `[[node, pid], ...]`; empty if nobody is in it"""
    RING = 19
    """`[r, 19]`: `[rep, seq, members]`, or nil before the first ring"""


class Guarantee(IntEnum):
    """cpg_guarantee_t. All below SAFE are delivered as AGREED."""

    UNORDERED = 0
    FIFO = 1
    AGREED = 2
    SAFE = 3


_REPLIES: Final = array_of(record(request=is_u64, code=is_u32, result=any_value))


def encode_requests(requests: list[list[Any]]) -> bytes:
    """The blob of these requests."""
    last = requests[-1][-1] if requests else None
    if type(last) is bytes and len(last) >= LARGE_BYTES and all(type(each[-1]) is bytes for each in requests):
        return pack_list(requests)
    return pack(requests)


def decode_requests(blob: bytes | memoryview) -> list[list[Any]]:
    """The requests in a blob: arrays that begin with two integers. The service that executes them checks the arguments.
    A large payload or body at the end is a view of the blob. Raises `BusError`."""
    if len(blob) >= LARGE_BYTES and (parts := split(blob)) is not None:
        head, payload = parts
        requests = _checked(head)
        last = requests[-1]
        if len(last) == 5 and (last[1] == Op.MCAST or last[1] == Op.BATCH) and type(last[4]) is bytes:
            last[4] = payload
            return requests
    return _checked(blob)


def _checked(blob: bytes | memoryview) -> list[list[Any]]:
    value = unpack(blob, REQUESTS_PER_BLOB_MAX, ELEMENTS_PER_BLOB_MAX)
    if type(value) is not list:
        raise BusError("requests are not an array")
    for request in value:
        if (
            type(request) is not list
            or len(request) < 2
            or type(request[0]) is not int
            or request[0] < 1
            or request[0] >= REQUEST_CLOSE
            or type(request[1]) is not int
        ):
            raise BusError("a request is [number, operation, ...]")
    requests: list[list[Any]] = value
    return requests


def expand_batches(requests: list[list[Any]]) -> list[list[Any]]:
    """The same requests, with every batch replaced by its MCASTs. Raises `BusError`."""
    expanded: list[list[Any]] = []
    for request in requests:
        if request[1] == Op.BATCH and len(request) == 5 and type(request[4]) in (bytes, memoryview):
            number, _, group, guarantee, body = request
            payloads = enumerate(decode_body(body), number)
            expanded.extend([each, int(Op.MCAST), group, guarantee, data] for each, data in payloads)
        else:
            expanded.append(request)
    return expanded


def encode_packed_reply(number: int, code: int, result: bytes) -> bytes:
    """One reply whose result is packed already."""
    return b"\x93" + pack(number) + pack(code) + result


def encode_packed_replies(replies: list[bytes]) -> bytes:
    """The blob of replies that are packed already, at most 2^32 - 1."""
    return b"\xdd" + len(replies).to_bytes(4) + b"".join(replies)


def decode_replies(blob: bytes | memoryview) -> list[list[Any]]:
    """The replies in a blob. Raises `BusError`."""
    value = unpack(blob)
    if not _REPLIES(value):
        raise BusError("a reply is [request, code, result]")
    replies: list[list[Any]] = value
    return replies
