"""The multicast messages of CPG, as totem and cpg both know them: single messages, and batches.

MCAST is Corosync's, byte for byte. A *batch* is Rondo's own: consecutive messages of one process to one group, whose
payloads travel together, so that costs arise per batch on the whole way from client to client. Only Rondo nodes
understand it. On a ring with Corosync nodes totem sends the equivalent MCASTs instead, so cpg submits batches on any
ring.

All begin with a header of 16 bytes: id i32 = 2 << 16 | function, padding, size i32, padding. A name is 136 bytes:
length u32, padding, 128 bytes.

| function | message | layout after the header |
|---|---|---|
| 0 | PROCJOIN | name @16, pid u32 @152, reason u32 @160 |
| 1 | PROCLEAVE | the same |
| 3 | MCAST | name @16, length u32 @152, pid u32 @160, source @168 (node u32, 8 bytes of the sender's own), data @184 |
| 8 | BATCH | name, length, pid and source as MCAST, messages u32 @184, body @192 |

A body is a msgpack array of bin: the payloads, at least one.
"""

from __future__ import annotations

import struct
from typing import Final

from rondo.protocol.envelope import BusError, pack, unpack
from rondo.protocol.large import LARGE_PAYLOADS_MAX, PAYLOADS_BYTES_MIN, pack_bins

MCAST_FUNCTION: Final = 3
BATCH_FUNCTION: Final = 8
_SERVICE: Final = 2 << 16

_MCAST: Final = struct.Struct("<i4xi4xI4x128sI4xI4xI4xQ")
_BATCH: Final = struct.Struct("<i4xi4xI4x128sI4xI4xI4xQI4x")
MCAST_DATA_AT: Final = _MCAST.size
BATCH_BODY_AT: Final = _BATCH.size
MCAST_ID: Final = struct.pack("<i", _SERVICE | MCAST_FUNCTION)
"""The first four bytes of a whole message to a group."""
BATCH_ID: Final = struct.pack("<i", _SERVICE | BATCH_FUNCTION)
"""The first four bytes of every batch."""
BATCH_FIELDS: Final = struct.Struct("<I4x128xI4xI20xI")
"""At offset 16 of a batch: length of the name, length of the body, pid, messages."""
_NAME_AT: Final = 24
_NODE: Final = struct.Struct("<I")
_NODE_AT: Final = 168
_COUNT_AT: Final = 184

_PROC_JOIN_ID: Final = struct.pack("<i", _SERVICE)
_PROC_LEAVE_ID: Final = struct.pack("<i", _SERVICE | 1)
_PROC_FIELDS: Final = struct.Struct("<I4x128xI")
"""At offset 16 of PROCJOIN and PROCLEAVE: length of the name, pid."""
_PROC_BYTES: Final = 168

MESSAGES_MAX: Final = 1 << 16
"""How many messages a batch may have."""
MESSAGE_COST_BYTES: Final = MCAST_DATA_AT + 64
"""What each message of a batch costs of the credit besides its payload: as much as if it were sent alone."""


def group_of(message: bytes) -> bytes:
    """The group to which a MCAST or a batch is sent."""
    return message[_NAME_AT : _NAME_AT + int.from_bytes(message[16:20], "little")]


def membership_of(message: bytes) -> tuple[bool, bytes, int] | None:
    """True if a process joins (false: leaves), the group, and the pid. None for any other message."""
    kind = message[:4]
    if kind not in (_PROC_JOIN_ID, _PROC_LEAVE_ID) or len(message) < _PROC_BYTES:
        return None
    name_length, pid = _PROC_FIELDS.unpack_from(message, 16)
    return kind == _PROC_JOIN_ID, message[_NAME_AT : _NAME_AT + name_length], pid


def encode_mcast(group: bytes, node: int, pid: int, data: bytes | memoryview) -> bytes:
    """MCAST."""
    length = len(data)
    head = _MCAST.pack(
        _SERVICE | MCAST_FUNCTION, MCAST_DATA_AT + length, len(group), group, length, pid, node, 0
    )  # fmt: skip
    return b"".join((head, data))


def encode_body(payloads: list[bytes]) -> bytes:
    """The body of a batch."""
    count = len(payloads)
    if count <= LARGE_PAYLOADS_MAX and sum(map(len, payloads)) >= count * PAYLOADS_BYTES_MIN:
        return pack_bins(payloads)
    return pack(payloads)


def decode_body(body: bytes | memoryview) -> list[bytes]:
    """The payloads in a body. Raises `BusError`."""
    payloads = unpack(body, MESSAGES_MAX, MESSAGES_MAX + 1)
    if type(payloads) is not list or set(map(type, payloads)) != {bytes}:
        raise BusError("a batch is an array of payloads")
    return payloads


def encode_batch(group: bytes, node: int, pid: int, count: int, body: bytes | memoryview) -> bytes:
    """BATCH: `body` holds `count` payloads."""
    length = len(body)
    head = _BATCH.pack(
        _SERVICE | BATCH_FUNCTION, BATCH_BODY_AT + length, len(group), group, length, pid, node, 0, count
    )  # fmt: skip
    return b"".join((head, body))


def batch_length(message: bytes) -> int:
    """How many messages a message stands for: 1, or those of a batch."""
    if message[:4] != BATCH_ID or len(message) < BATCH_BODY_AT:
        return 1
    return int(_NODE.unpack_from(message, _COUNT_AT)[0])


def expand_batch(message: bytes) -> list[bytes]:
    """The MCASTs that a batch stands for, in its order. Raises `BusError`."""
    name_length, length, pid, count = BATCH_FIELDS.unpack_from(message, 16)
    payloads = decode_body(message[BATCH_BODY_AT : BATCH_BODY_AT + length])
    if len(payloads) != count:
        raise BusError(f"a batch of {count} messages has {len(payloads)}")
    group = message[_NAME_AT : _NAME_AT + name_length]
    (node,) = _NODE.unpack_from(message, _NODE_AT)
    return [encode_mcast(group, node, pid, data) for data in payloads]
