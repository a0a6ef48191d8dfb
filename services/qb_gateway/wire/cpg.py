"""The messages of libcpg. A name is 136 bytes: length u32 @0, 128 bytes @8; an address 24: node u32 @0, pid u32 @8,
reason u32 @16.

| id | request | after the header | reply |
|---|---|---|---|
| 0 | join | name @16, pid u32 @152, flags u32 @160 | 0 |
| 1 | leave | name @16, pid u32 @152 | 1 |
| 2 | multicast | header of 24, guarantee u32 @24, length u32 @32, data @40 | none |
| 3 | members of a group | name @16 | 3: count u32 @24, 384 addresses @32 |
| 4 | own node | | 7: node u32 @24 |
| 5 | begin an iteration | name @16, kind u32 @152 | 9: handle u64 @24 |
| 6 | next of it | handle u64 @16 | 10: name @24, node u32 @160, pid u32 @164 |
| 7 | end it | handle u64 @16 | 11 |
| 8 | finalize | | 12 |
| 9, 10, 11 | zero copy: allocate, free, send | | 0, 0, 2 |
| 12 | part of a message | header of 24, guarantee u32 @24, total @32, length @40, part @48, data @56 | 18 |

| id | event | after the header of 24 |
|---|---|---|
| 4 | membership | name @24, members u32 @160, joined @168, left @176, addresses @184: members, left, joined |
| 5 | message | name @24, length u32 @160, node @168, pid @176, data @184 |
| 13 | ring | node u32 @24, sequence u64 @32, count u32 @40, ids u32 @44 |
| 17 | part of a message | name @24, total u32 @160, length @168, node @176, pid @184, part @192, data @200 |
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from services.qb_gateway.wire.messages import (
    INVALID_PARAM,
    REQUEST_HEADER_BYTES,
    RequestError,
    blank_reply,
    reply,
    unknown_reply,
)

NAME_BYTES_MAX = 128
MEMBERS_MAX = 128
"""The library has room for this many members on its stack, whatever the message says."""
PART_BYTES_MAX = 1047552
"""Data of one event or request; longer messages go in parts."""
MESSAGE_BYTES_MAX = 1024 * 1024
"""The size that the rings are made for, and that the library assumes."""
NAME_TOO_LONG = 13
RING_EVENT_AT_JOIN = 1
"""Flag of join: tell of the present ring with the first membership."""

MULTICAST = 2
PART = 12
FIRST, MIDDLE, LAST = 1, 2, 3
ONLY_NAMES, ONE_GROUP, ALL = 1, 2, 3
"""Kinds of iterations."""
MEMBERS_SLOTS = 384


class Join(NamedTuple):
    """cpg_join"""

    group: bytes
    pid: int
    flags: int


class Leave(NamedTuple):
    """cpg_leave"""

    group: bytes
    pid: int


class Members(NamedTuple):
    """cpg_membership_get"""

    group: bytes


class OwnNode(NamedTuple):
    """cpg_local_get"""


class IterationBegin(NamedTuple):
    """cpg_iteration_initialize"""

    group: bytes
    """Empty unless the kind is ONE_GROUP."""
    kind: int


class IterationNext(NamedTuple):
    """cpg_iteration_next"""

    handle: int


class IterationEnd(NamedTuple):
    """cpg_iteration_finalize"""

    handle: int


class Finalize(NamedTuple):
    """cpg_finalize"""


class ZeroCopyBuffer(NamedTuple):
    """cpg_zcb_alloc, cpg_zcb_free"""


class ZeroCopySend(NamedTuple):
    """cpg_zcb_mcast_joined"""


class Part(NamedTuple):
    """A part of a long message of cpg_mcast_joined."""

    total: int
    part: int
    data: bytes


Request = (
    Join | Leave | Members | OwnNode | IterationBegin | IterationNext | IterationEnd | Finalize
    | ZeroCopyBuffer | ZeroCopySend | Part
)  # fmt: skip

_NAME = struct.Struct("<I4x128s")
_NAME_AND_TWO = struct.Struct("<I4x128sI4xI")
_NAME_AND_ONE = struct.Struct("<I4x128sI")
_HANDLE = struct.Struct("<Q")
_MULTICAST = struct.Struct("<I4xI4x")
_MULTICAST_AT = 24
MULTICAST_DATA_AT = 40
_PART = struct.Struct("<I4xI4xI4xI4x")
_PART_DATA_AT = 56

_ADDRESS = struct.Struct("<I4xI4xI4x")
_MESSAGE_EVENT = struct.Struct("<i4xi4xi4xI4x128sI4xI4xI4x")
_PART_EVENT = struct.Struct("<i4xi4xi4xI4x128sI4xI4xI4xI4xI4x")
_MEMBERSHIP_EVENT = struct.Struct("<i4xi4xi4xI4x128sI4xI4xI4x")
_RING_EVENT = struct.Struct("<i4xi4xi4xI4xQI")
_RING_SPARE_BYTES = 4

_REPLIES = {
    0: (0, 24), 1: (1, 24), 3: (3, 32 + MEMBERS_SLOTS * 24), 4: (7, 32), 5: (9, 32), 6: (10, 168), 7: (11, 24),
    8: (12, 24), 9: (0, 24), 10: (0, 24), 11: (2, 24), PART: (18, 24),
}  # fmt: skip
"""Id and size of the reply to each request."""


def _named(length: int, name: bytes) -> bytes:
    if length > NAME_BYTES_MAX:
        raise RequestError(NAME_TOO_LONG, f"a group name of {length} bytes")
    return name[:length]


def _join(message: bytes) -> Join:
    length, name, pid, flags = _NAME_AND_TWO.unpack_from(message, REQUEST_HEADER_BYTES)
    return Join(_named(length, name), pid, flags)


def _leave(message: bytes) -> Leave:
    length, name, pid = _NAME_AND_ONE.unpack_from(message, REQUEST_HEADER_BYTES)
    return Leave(_named(length, name), pid)


def _members(message: bytes) -> Members:
    return Members(_named(*_NAME.unpack_from(message, REQUEST_HEADER_BYTES)))


def _iteration_begin(message: bytes) -> IterationBegin:
    length, name, kind = _NAME_AND_ONE.unpack_from(message, REQUEST_HEADER_BYTES)
    if kind not in (ONLY_NAMES, ONE_GROUP, ALL):
        raise RequestError(INVALID_PARAM, f"an iteration of kind {kind}")
    return IterationBegin(_named(length, name) if kind == ONE_GROUP else b"", kind)


def _iteration_next(message: bytes) -> IterationNext:
    return IterationNext(*_HANDLE.unpack_from(message, REQUEST_HEADER_BYTES))


def _iteration_end(message: bytes) -> IterationEnd:
    return IterationEnd(*_HANDLE.unpack_from(message, REQUEST_HEADER_BYTES))


def _part(message: bytes) -> Part:
    _, total, length, part = _PART.unpack_from(message, _MULTICAST_AT)
    if length != len(message) - _PART_DATA_AT or part not in (FIRST, MIDDLE, LAST):
        raise RequestError(
            INVALID_PARAM, f"part {part} announces {length} bytes and has {len(message) - _PART_DATA_AT}"
        )
    return Part(total, part, message[_PART_DATA_AT:])


_DECODERS: dict[int, tuple[int, Callable[[bytes], Request]]] = {
    0: (164, _join),
    1: (156, _leave),
    3: (152, _members),
    4: (16, lambda _: OwnNode()),
    5: (156, _iteration_begin),
    6: (24, _iteration_next),
    7: (24, _iteration_end),
    8: (16, lambda _: Finalize()),
    9: (16, lambda _: ZeroCopyBuffer()),
    10: (16, lambda _: ZeroCopyBuffer()),
    11: (16, lambda _: ZeroCopySend()),
    PART: (_PART_DATA_AT, _part),
}
"""The least size of each request, and what reads it."""


def decode(ident: int, message: bytes) -> Request:
    """The request in a message, other than MULTICAST. Raises `RequestError`."""
    size_min, decoder = _DECODERS.get(ident, (0, None))
    if decoder is None or len(message) < size_min:
        raise RequestError(INVALID_PARAM, f"request {ident} of {len(message)} bytes")
    return decoder(message)


def multicast_data(message: bytes) -> bytes | None:
    """The payload of a MULTICAST; None if the message is not one."""
    if len(message) < MULTICAST_DATA_AT:
        return None
    _, length = _MULTICAST.unpack_from(message, _MULTICAST_AT)
    return message[MULTICAST_DATA_AT:] if length == len(message) - MULTICAST_DATA_AT else None


def refusal(ident: int, code: int) -> bytes:
    """A reply to request `ident` with only a code, which may be OK."""
    known = _REPLIES.get(ident)
    return unknown_reply() if known is None else blank_reply(*known, code)


def members_reply(members: Sequence[tuple[int, int]]) -> bytes:
    """The members of a group as (node, pid), as far as the library has room for them."""
    some = members[:MEMBERS_MAX]
    ident, size = _REPLIES[3]
    body = struct.pack("<I4x", len(some)) + b"".join([_ADDRESS.pack(node, pid, 0) for node, pid in some])
    return reply(ident, body + bytes(size - 24 - len(body)))


def own_node_reply(node: int) -> bytes:
    """The reply with this node's identifier."""
    return reply(7, struct.pack("<I4x", node))


def iteration_reply(handle: int) -> bytes:
    """The reply with the handle of a new iteration."""
    return reply(9, _HANDLE.pack(handle))


def entry_reply(group: bytes, node: int, pid: int) -> bytes:
    """One entry of an iteration."""
    return reply(10, struct.pack("<I4x128sII", len(group), group, node, pid))


def message_events(group: bytes, node: int, pid: int, payloads: Iterable[bytes | memoryview]) -> list[bytes]:
    """The events with these messages of one sender. Long messages are split into parts."""
    pack, head = _MESSAGE_EVENT.pack, _MESSAGE_EVENT.size
    name_length = len(group)
    out: list[bytes] = []
    for data in payloads:
        length = len(data)
        if length <= PART_BYTES_MAX:
            out.append(pack(5, head + length, 1, name_length, group, length, node, pid) + data)
        else:
            out += _part_events(group, node, pid, data)
    return out


def _part_events(group: bytes, node: int, pid: int, data: bytes | memoryview) -> list[bytes]:
    total, view = len(data), memoryview(data)
    out: list[bytes] = []
    for at in range(0, total, PART_BYTES_MAX):
        piece = view[at : at + PART_BYTES_MAX]
        length = len(piece)
        part = FIRST if at == 0 else LAST if at + length == total else MIDDLE
        size = _PART_EVENT.size + length
        out.append(_PART_EVENT.pack(17, size, 1, len(group), group, total, length, node, pid, part) + piece)
    return out


def membership_event(
    group: bytes,
    members: Sequence[tuple[int, int]],
    joined: Sequence[tuple[int, int, int]],
    left: Sequence[tuple[int, int, int]],
) -> bytes:
    """A change of a group: (node, pid) after it, and (node, pid, reason) of those that came and went."""
    members, joined, left = members[:MEMBERS_MAX], joined[:MEMBERS_MAX], left[:MEMBERS_MAX]
    addresses = b"".join(
        [_ADDRESS.pack(node, pid, 0) for node, pid in members]
        + [_ADDRESS.pack(*each) for each in left]
        + [_ADDRESS.pack(*each) for each in joined]
    )
    size = _MEMBERSHIP_EVENT.size + len(addresses)
    counts = len(members), len(joined), len(left)
    return _MEMBERSHIP_EVENT.pack(4, size, 1, len(group), group, *counts) + addresses


def ring_event(representative: int, sequence: int, members: Sequence[int]) -> bytes:
    """A ring, in the form for cpg_totem_confchg_fn."""
    count = len(members)
    size = _RING_EVENT.size + _RING_SPARE_BYTES + 4 * count
    head = _RING_EVENT.pack(13, size, 1, representative, sequence, count)
    return head + struct.pack(f"<{count}I", *members) + bytes(_RING_SPARE_BYTES)
