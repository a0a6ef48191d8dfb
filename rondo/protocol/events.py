"""Events for sessions: the content of blobs that the gateway passes on unread.

A blob of events is an array of `[n, kind, ...]`, n = position in the log, ascending. All events of a session at one
position are in one blob. An event at a position that was seen before is a duplicate.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Final

from rondo.protocol.envelope import (
    BusError,
    Check,
    array_of,
    is_bool,
    is_bytes,
    is_u32,
    is_u64,
    optional,
    pack,
    record,
    unpack,
)
from rondo.protocol.large import LARGE_BYTES, pack_list

MESSAGE: Final = 0
"""`[n, 0, group, node, pid, transitional, data, request]`: request = the number of the session's own request, else nil.
"""
MEMBERSHIP: Final = 1
"""`[n, 1, group, members, joined, left, request]`: members `[[node, pid], ...]` sorted, after the change; joined and
left `[[node, pid, reason], ...]`; request = the session's own request that brought this about, else nil."""
RING: Final = 2
"""`[n, 2, rep, seq, members]`: cpg's part of the sync of this ring is complete."""
FAILED: Final = 3
"""`[n, 3, request, code]`: an accepted request had no effect when its turn came."""


BATCH: Final = 4
"""`[n, 4, group, node, pid, transitional, body, first]`: messages that follow each other directly, and have one
position in common. `batch.decode_body` gives the payloads; first = the number of the session's own request that
 the first of them is, the others being those that follow it; else nil."""


class Reason(IntEnum):
    """cpg_reason_t: why a process joined or left."""

    UNDEFINED = 0
    JOIN = 1
    LEAVE = 2
    NODEDOWN = 3
    NODEUP = 4
    PROCDOWN = 5


_LARGE_EVENTS_MAX: Final = 256
"""More than this are not looked at for being large."""

_MEMBERS: Final = array_of(record(node=is_u32, pid=is_u32))
_CHANGES: Final = array_of(record(node=is_u32, pid=is_u32, reason=is_u32))
_HEAD: Final[dict[str, Check]] = {"n": is_u64, "kind": is_u32}
_SENDER: Final[dict[str, Check]] = {"group": is_bytes, "node": is_u32, "pid": is_u32, "transitional": is_bool}
SHAPES: Final[dict[int, Check]] = {
    MESSAGE: record(**_HEAD, **_SENDER, data=is_bytes, request=optional(is_u64)),
    MEMBERSHIP: record(
        **_HEAD, group=is_bytes, members=_MEMBERS, joined=_CHANGES, left=_CHANGES, request=optional(is_u64)
    ),
    RING: record(**_HEAD, rep=is_u32, seq=is_u64, members=array_of(is_u32)),
    FAILED: record(**_HEAD, request=is_u64, code=is_u32),
    BATCH: record(**_HEAD, **_SENDER, body=is_bytes, first=optional(is_u64)),
}
"""The shapes of the events, by kind."""


def encode_events(events: list[list[Any]]) -> bytes:
    """The blob of these events."""
    if len(events) <= _LARGE_EVENTS_MAX and all(
        (each[1] == MESSAGE or each[1] == BATCH) and len(each[6]) >= LARGE_BYTES for each in events
    ):
        return pack_list(events, behind=1)
    return pack(events)


def decode_events(blob: bytes | memoryview) -> list[list[Any]]:
    """The events in a blob. Raises `BusError`."""
    value = unpack(blob)
    if type(value) is not list:
        raise BusError("events are not an array")
    for event in value:
        if type(event) is not list or len(event) < 2 or type(event[1]) is not int:
            raise BusError("an event is [position, kind, ...]")
        shape = SHAPES.get(event[1])
        if shape is None or not shape(event):
            raise BusError(f"event of kind {event[1]} of a wrong shape")
    return value
