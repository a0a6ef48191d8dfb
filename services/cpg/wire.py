"""The executive messages of CPG, byte for byte as Corosync 3.1 sends them (little-endian; service 2).

All begin with a header of 16 bytes: id i32 = 2 << 16 | function, padding, size i32, padding. A name (mar_cpg_name_t) is
136 bytes: length u32, padding, 128 bytes. Padding may be garbage. What others send is checked and never trusted.

| function | message | layout after the header |
|---|---|---|
| 0 | PROCJOIN, 168 bytes | name @16, pid u32 @152, reason u32 @160 |
| 1 | PROCLEAVE, 168 bytes | the same |
| 2 | JOINLIST | header of 24 bytes (error u32 @16), then entries of 144: pid u32 @0, name @8 |
| 3 | MCAST | name @16, length u32 @152, pid u32 @160, source @168 (node u32, 8 bytes of the sender's own), data @184 |
| 4 | an older DOWNLIST | ignored |
| 5 | DOWNLIST, 1568 bytes | old members u32 @16, left nodes u32 @24, 384 node ids u32 @32 |
| 6 | PARTIAL_MCAST | name @16, total u32 @152, length u32 @160, pid u32 @168, part u32 @176, source @184, data @200 |
| 7 | PARTS_AGAIN | the same; Rondo's own, unknown to C nodes, which drop it (they log unknown functions) |
| 8 | BATCH | several MCASTs in one, Rondo's own: see `rondo.protocol.batch` |

PARTS_AGAIN is sent in the sync of a ring that new nodes join while a long message of the sender is half ordered: it
gives them the parts that they missed, so that they see that message as all others do.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final, NamedTuple

from rondo.protocol.batch import BATCH_BODY_AT, BATCH_FIELDS, BATCH_FUNCTION, MCAST_DATA_AT, decode_body
from rondo.protocol.batch import encode_mcast as encode_one_mcast
from rondo.protocol.envelope import BusError
from rondo.protocol.large import sizes_of_bins

NAME_BYTES_MAX: Final = 128

PART_BYTES_MAX: int = 1024 * 1024 - 1024
"""Data of one message. C Corosync cuts at the same place; with headers it stays below the 1 MiB at which a C node
aborts. (Not Final: a test of many seeds cuts smaller.)"""

DOWNLIST_NODES_MAX: Final = 384
JOINLIST_ENTRIES_MAX: Final = (1024 * 1024 - 1024) // 144

_SERVICE: Final = 2 << 16


class Function(IntEnum):
    """Low 16 bits of the id."""

    PROCJOIN = 0
    PROCLEAVE = 1
    JOINLIST = 2
    MCAST = 3
    DOWNLIST_OLD = 4
    DOWNLIST = 5
    PARTIAL_MCAST = 6
    PARTS_AGAIN = 7
    BATCH = BATCH_FUNCTION


class Part(IntEnum):
    """Which part of a long message a PARTIAL_MCAST holds."""

    FIRST = 1
    MIDDLE = 2
    LAST = 3


class WireError(ValueError):
    """A message that is not one; the text says why."""


class ProcJoin(NamedTuple):
    """A process of the sender joined."""

    group: bytes
    pid: int
    reason: int


class ProcLeave(NamedTuple):
    """A process of the sender left (2) or died (5)."""

    group: bytes
    pid: int
    reason: int


class JoinList(NamedTuple):
    """All memberships of the sender's processes, sent in the sync."""

    entries: list[tuple[int, bytes]]
    """(pid, group)"""


class Mcast(NamedTuple):
    """A message to a group."""

    group: bytes
    pid: int
    data: bytes | memoryview


class Batch(NamedTuple):
    """Consecutive messages to a group."""

    group: bytes
    pid: int
    messages: int
    body: bytes | memoryview
    """`rondo.protocol.batch.decode_body` gives the payloads."""
    payload_bytes: int


class PartialMcast(NamedTuple):
    """A part of a message too long for one."""

    group: bytes
    pid: int
    total: int
    part: int
    data: bytes | memoryview
    again: bool
    """PARTS_AGAIN: what was ordered before the receiver came."""


class DownList(NamedTuple):
    """Whom the sender misses after a ring change: for the log only, each node goes by its own view."""

    old_members: int
    left: list[int]


Message = ProcJoin | ProcLeave | JoinList | Mcast | Batch | PartialMcast | DownList

_HEAD: Final = struct.Struct("<i4xi4x")
_PROC: Final = struct.Struct("<i4xi4xI4x128sI4xI4x")
_MCAST: Final = struct.Struct("<i4xi4xI4x128sI4xI4xI4xQ")
_PARTIAL: Final = struct.Struct("<i4xi4xI4x128sI4xI4xI4xI4xI4xQ")
_JOINLIST: Final = struct.Struct("<i4xi4xI4x")
_JOINLIST_ENTRY: Final = struct.Struct("<I4xI4x128s")
_DOWNLIST: Final = struct.Struct("<i4xi4xI4xI4x384I")

MCAST_ID: Final = struct.pack("<i", _SERVICE | Function.MCAST)
"""First four bytes of every MCAST."""
MCAST_FIELDS: Final = struct.Struct("<I4x128xI4xI")
"""At offset 16 of a MCAST: length of the name, length of the data, pid."""
NAME_AT: Final = 24

_COPY_BYTES_MAX: Final = 4096
"""Longer data is not copied out of the message, only referred to."""


def encode_proc_join(group: bytes, pid: int) -> bytes:
    """PROCJOIN, reason 1 (join)."""
    return _PROC.pack(_SERVICE | Function.PROCJOIN, _PROC.size, len(group), group, pid, 1)


def encode_proc_leave(group: bytes, pid: int, reason: int) -> bytes:
    """PROCLEAVE with its reason: 2 (leave) or 5 (the process died)."""
    return _PROC.pack(_SERVICE | Function.PROCLEAVE, _PROC.size, len(group), group, pid, reason)


def encode_join_lists(entries: list[tuple[int, bytes]]) -> list[bytes]:
    """JOINLISTs with these (pid, group): none if there are none, several if one message cannot hold them."""
    lists: list[bytes] = []
    for at in range(0, len(entries), JOINLIST_ENTRIES_MAX):
        some = entries[at : at + JOINLIST_ENTRIES_MAX]
        body = b"".join([_JOINLIST_ENTRY.pack(pid, len(group), group) for pid, group in some])
        # The error field is 0 in what C nodes send.
        lists.append(_JOINLIST.pack(_SERVICE | Function.JOINLIST, _JOINLIST.size + len(body), 0) + body)
    return lists


def encode_down_list(old_members: int, left: list[int]) -> bytes:
    """DOWNLIST: how many members the old ring had, and who of them is gone."""
    left = left[:DOWNLIST_NODES_MAX]
    padded = left + [0] * (DOWNLIST_NODES_MAX - len(left))
    return _DOWNLIST.pack(_SERVICE | Function.DOWNLIST, _DOWNLIST.size, old_members, len(left), *padded)


def encode_mcast(group: bytes, node: int, pid: int, data: bytes | memoryview) -> list[bytes]:
    """The messages that carry `data` to a group: one MCAST, or for long data a row of PARTIAL_MCASTs."""
    length = len(data)
    if length <= PART_BYTES_MAX:
        return [encode_one_mcast(group, node, pid, data)]
    return _encode_parts(Function.PARTIAL_MCAST, group, node, pid, length, data)


def encode_parts_again(group: bytes, node: int, pid: int, total: int, data: bytes) -> list[bytes]:
    """PARTS_AGAIN: `data` is the beginning, as far as it is ordered, of a message of `total` bytes."""
    return _encode_parts(Function.PARTS_AGAIN, group, node, pid, total, data)


def _encode_parts(
    function: Function, group: bytes, node: int, pid: int, total: int, data: bytes | memoryview
) -> list[bytes]:
    parts: list[bytes] = []
    for at in range(0, len(data), PART_BYTES_MAX):
        piece = memoryview(data)[at : at + PART_BYTES_MAX]
        part = Part.FIRST if at == 0 else Part.LAST if at + len(piece) == total else Part.MIDDLE
        head = _PARTIAL.pack(
            _SERVICE | function, _PARTIAL.size + len(piece),
            len(group), group, total, len(piece), pid, part, node, 0,
        )  # fmt: skip
        parts.append(b"".join((head, piece)))
    return parts


def decode(message: bytes) -> Message | None:
    """The message; None for one that is to be ignored. Raises `WireError`."""
    if len(message) < _HEAD.size:
        raise WireError("shorter than its header")
    ident, _ = _HEAD.unpack_from(message)
    decoder = _DECODERS.get(ident)
    if decoder is None:
        if ident >> 16 != 2:
            raise WireError(f"of service {ident >> 16}, not 2")
        return None
    size_min, decode_body = decoder
    if len(message) < size_min:
        raise WireError(f"function {ident & 0xFFFF}: {len(message)} bytes, at least {size_min} expected")
    return decode_body(message)


def _group(length: int, name: bytes) -> bytes:
    if length > NAME_BYTES_MAX:
        raise WireError(f"group name of {length} bytes")
    return name[:length]


def _decode_join(message: bytes) -> Message:
    _, _, length, name, pid, reason = _PROC.unpack_from(message)
    return ProcJoin(_group(length, name), pid, reason)


def _decode_leave(message: bytes) -> Message:
    _, _, length, name, pid, reason = _PROC.unpack_from(message)
    return ProcLeave(_group(length, name), pid, reason)


def _decode_join_list(message: bytes) -> Message:
    if (len(message) - _JOINLIST.size) % _JOINLIST_ENTRY.size:
        raise WireError(f"joinlist of {len(message)} bytes")
    entries = _JOINLIST_ENTRY.iter_unpack(memoryview(message)[_JOINLIST.size :])
    return JoinList([(pid, _group(length, name)) for pid, length, name in entries])


def _decode_mcast(message: bytes) -> Message:
    _, _, name_length, name, length, pid, _, _ = _MCAST.unpack_from(message)
    return Mcast(_group(name_length, name), pid, _data(message, MCAST_DATA_AT, length))


def _decode_batch(message: bytes) -> Message:
    name_length, length, pid, count = BATCH_FIELDS.unpack_from(message, 16)
    if name_length > NAME_BYTES_MAX or length > len(message) - BATCH_BODY_AT:
        raise WireError(f"a batch of {length} bytes in {len(message)}")
    body = _data(message, BATCH_BODY_AT, length)
    sizes = sizes_of_bins(body)
    if sizes is not None:
        found, payload_bytes = len(sizes), sum(sizes)
    else:
        try:
            payloads = decode_body(body)
        except BusError as error:
            raise WireError(str(error)) from None
        found, payload_bytes = len(payloads), sum(map(len, payloads))
    if found != count:
        raise WireError(f"a batch of {found} messages says {count}")
    return Batch(message[NAME_AT : NAME_AT + name_length], pid, count, body, payload_bytes)


def _decode_partial(message: bytes) -> Message:
    ident, _, name_length, name, total, length, pid, part, _, _ = _PARTIAL.unpack_from(message)
    if part not in (Part.FIRST, Part.MIDDLE, Part.LAST):
        raise WireError(f"part of kind {part}")
    again = ident & 0xFFFF == Function.PARTS_AGAIN
    return PartialMcast(_group(name_length, name), pid, total, part, _data(message, _PARTIAL.size, length), again)


def _decode_down_list(message: bytes) -> Message:
    _, _, old_members, left, *nodes = _DOWNLIST.unpack_from(message)
    if left > DOWNLIST_NODES_MAX:
        raise WireError(f"downlist of {left} nodes")
    return DownList(old_members, nodes[:left])


def _data(message: bytes, at: int, length: int) -> bytes | memoryview:
    """`length` bytes of payload at `at`."""
    if length > len(message) - at:
        raise WireError(f"{length} bytes of data announced, {len(message) - at} there")
    return message[at : at + length] if length <= _COPY_BYTES_MAX else memoryview(message)[at : at + length]


_DECODERS: Final = {
    _SERVICE | Function.PROCJOIN: (_PROC.size, _decode_join),
    _SERVICE | Function.PROCLEAVE: (_PROC.size, _decode_leave),
    _SERVICE | Function.JOINLIST: (_JOINLIST.size, _decode_join_list),
    _SERVICE | Function.MCAST: (_MCAST.size, _decode_mcast),
    _SERVICE | Function.BATCH: (BATCH_BODY_AT, _decode_batch),
    _SERVICE | Function.PARTIAL_MCAST: (_PARTIAL.size, _decode_partial),
    _SERVICE | Function.PARTS_AGAIN: (_PARTIAL.size, _decode_partial),
    _SERVICE | Function.DOWNLIST: (_DOWNLIST.size, _decode_down_list),
}
