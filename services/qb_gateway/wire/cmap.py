"""The messages of libcmap. A key is 264 bytes: length u16 @0, 256 bytes @8. Lengths of values are u64; types u8.

| id | request | after the header | reply |
|---|---|---|---|
| 0 | set | key @16, length @280, type @288, value @296 | 0 |
| 1 | delete | key @16 | 1 |
| 2 | get | key @16, room @280, or 0 for type and length alone | 2: length @24, type @32, value @40 in that room |
| 3 | add | key @16, step i32 @280 | 3 |
| 4, 5, 6 | iterate, next, end | prefix @16; handle u64 @16 | 4: handle @24; 5: key @24, length @288, type @296; 6 |
| 7 | track | key or prefix @16, type i32 @280, the client's handle u64 @288 | 7: handle u64 @24 |
| 8 | do not | handle u64 @16 | 8: the client's handle @24 |
| 9 | choose a map | i32 @16: 0 the usual one, 1 statistics | 10 |

Event 9: the client's handle @24, key @32, what i32 @296 (1 deleted, 2 changed, 4 added), new type @304, old type @312,
new length @320, old length @328, new value @336, old value behind it.
"""

from __future__ import annotations

import struct
from typing import Any

from services.qb_gateway.wire.messages import (
    INVALID_PARAM,
    REQUEST_HEADER_BYTES,
    RequestError,
    blank_reply,
    reply,
    reply_header,
    unknown_reply,
)

MESSAGE_BYTES_MAX = 64 * 1024
SET, DELETE, GET, ADD, ITERATE, NEXT, END, TRACK, UNTRACK, CHOOSE = range(10)
DELETED, CHANGED, ADDED, PREFIX = 1, 2, 4, 8
STRING, BINARY = 11, 12
_GET_HEAD_BYTES = 40

_KEY = struct.Struct("<H6x256s")
_LENGTH = struct.Struct("<Q")
_STEP = struct.Struct("<i")
_TRACK = struct.Struct("<i4xQ")
_SET = struct.Struct("<QB7x")
_VALUE_AT = 296
_EVENT = struct.Struct("<QH6x256si4xB7xB7xQQ")
_NUMBERS = {
    1: struct.Struct("<b"), 2: struct.Struct("<B"), 3: struct.Struct("<h"), 4: struct.Struct("<H"),
    5: struct.Struct("<i"), 6: struct.Struct("<I"), 7: struct.Struct("<q"), 8: struct.Struct("<Q"),
    9: struct.Struct("<f"), 10: struct.Struct("<d"),
}  # fmt: skip
_REPLIES = {
    SET: (0, 24), DELETE: (1, 24), GET: (2, 40), ADD: (3, 24), ITERATE: (4, 32), NEXT: (5, 304), END: (6, 24),
    TRACK: (7, 32), UNTRACK: (8, 32), CHOOSE: (10, 24),
}  # fmt: skip
SIZES_MIN = {
    SET: 296,
    DELETE: 280,
    GET: 288,
    ADD: 284,
    ITERATE: 280,
    NEXT: 24,
    END: 24,
    TRACK: 296,
    UNTRACK: 24,
    CHOOSE: 20,
}
"""The least size of each request."""


def refusal(ident: int, code: int) -> bytes:
    """A reply to request `ident` with only a code, which may be OK."""
    known = _REPLIES.get(ident)
    return unknown_reply() if known is None else blank_reply(*known, code)


def key_of(message: bytes) -> str:
    """The key or prefix of a request. Raises `RequestError`."""
    length, name = _KEY.unpack_from(message, REQUEST_HEADER_BYTES)
    if length > len(name):
        raise RequestError(INVALID_PARAM, f"a key of {length} bytes")
    try:
        return str(name[:length].decode("ascii"))
    except UnicodeDecodeError:
        raise RequestError(INVALID_PARAM, "a key that is not ASCII") from None


def number_of(message: bytes) -> int:
    """The handle or map at the beginning of a request."""
    if len(message) >= 24:
        return int(_LENGTH.unpack_from(message, REQUEST_HEADER_BYTES)[0])
    return int(_STEP.unpack_from(message, REQUEST_HEADER_BYTES)[0])


def map_of(message: bytes) -> int:
    """The chosen map."""
    return int(_STEP.unpack_from(message, REQUEST_HEADER_BYTES)[0])


def room_of(message: bytes) -> int:
    """How much room a get has for the value."""
    return int(_LENGTH.unpack_from(message, 280)[0])


def step_of(message: bytes) -> int:
    """The number to add."""
    return int(_STEP.unpack_from(message, 280)[0])


def track_of(message: bytes) -> tuple[int, int]:
    """The changes to track, and the client's handle."""
    kinds, handle = _TRACK.unpack_from(message, 280)
    return kinds, handle


def value_of(message: bytes) -> tuple[int, Any]:
    """Type and value of a set. Raises `RequestError`."""
    length, kind = _SET.unpack_from(message, 280)
    raw = message[_VALUE_AT : _VALUE_AT + length]
    number = _NUMBERS.get(kind)
    if len(raw) != length or (number is not None and number.size != length):
        raise RequestError(INVALID_PARAM, f"a value of type {kind} with {length} bytes")
    if number is not None:
        return kind, number.unpack(raw)[0]
    if kind == BINARY:
        return kind, raw
    if kind != STRING:
        raise RequestError(INVALID_PARAM, f"a value of type {kind}")
    try:
        return kind, raw.rstrip(b"\0").decode()
    except UnicodeDecodeError:
        raise RequestError(INVALID_PARAM, "a string that is not UTF-8") from None


def pack_value(kind: int, value: Any) -> bytes:
    """A value in the form for clients: a string with its NUL."""
    number = _NUMBERS.get(kind)
    if number is not None:
        return number.pack(value)
    return value.encode() + b"\0" if kind == STRING else bytes(value)


def value_reply(kind: int, raw: bytes, room: int) -> bytes:
    """The reply to a get, with exactly the size that the client asked for."""
    if room and len(raw) > room:
        return refusal(GET, INVALID_PARAM)
    head = reply_header(2, _GET_HEAD_BYTES + room) + struct.pack("<QB7x", len(raw), kind)
    return head + raw.ljust(room, b"\0") if room else head


def handle_reply(ident: int, handle: int) -> bytes:
    """The reply with a new handle."""
    return reply(_REPLIES[ident][0], _LENGTH.pack(handle))


def entry_reply(key: str, kind: int, length: int) -> bytes:
    """One entry of an iteration."""
    return reply(5, _KEY.pack(len(key), key.encode()) + struct.pack("<QB7x", length, kind))


def change_event(handle: int, key: str, new: list[Any] | None, old: list[Any] | None) -> bytes:
    """A change of a key: `[type, value]`, None where there is none."""
    what = DELETED if new is None else ADDED if old is None else CHANGED
    new_raw, old_raw = (b"" if each is None else pack_value(*each) for each in (new, old))
    new_kind, old_kind = (0 if each is None else each[0] for each in (new, old))
    name = key.encode()
    body = _EVENT.pack(handle, len(name), name, what, new_kind, old_kind, len(new_raw), len(old_raw))
    return reply_header(9, 24 + len(body) + len(new_raw) + len(old_raw)) + body + new_raw + old_raw


def kind_of_change(new: Any, old: Any) -> int:
    """DELETED, CHANGED or ADDED."""
    return DELETED if new is None else ADDED if old is None else CHANGED
