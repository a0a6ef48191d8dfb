"""Large payloads in msgpack, with as few copies as can be. The bytes are those that msgpack itself makes and reads.

msgpack packs into a buffer that grows as it goes, and copies the result out of it: a payload is copied three times.
Here what stands around a large payload is packed by itself, and all is joined once. The other way, a payload at the end
of a frame is not copied at all: the receiver gets a view.

The callers decide by `LARGE_BYTES` which way is shorter; msgpack itself is, for small payloads.
"""

from __future__ import annotations

from typing import Any, Final

from rondo.protocol.envelope import pack

LARGE_BYTES: Final = 32 * 1024
"""From this size on, a payload is worth the way round msgpack."""
HEAD_BYTES_MAX: Final = 256
"""`split` looks no further than this for the last element. It stands for all that a view keeps alive besides itself."""
PAYLOADS_BYTES_MIN: Final = 4096
"""Payloads of a batch of this size, in the mean, are worth it."""
LARGE_PAYLOADS_MAX: Final = 64
"""A batch of such payloads has hardly more."""

_EMPTY: Final = b"\xc4\x00"
_NIL: Final = 0xC0
_FALSE: Final = 0xC2
_TRUE: Final = 0xC3
_BIN_8: Final = 0xC4
_BIN_16: Final = 0xC5
_BIN_32: Final = 0xC6
_UINT_8: Final = 0xCC
_UINT_64: Final = 0xCF


def bin_header(size: int) -> bytes:
    """What stands before so many bytes."""
    if size <= 0xFF:
        return bytes((_BIN_8, size))
    return b"\xc5" + size.to_bytes(2) if size <= 0xFFFF else b"\xc6" + size.to_bytes(4)


def array_header(length: int) -> bytes:
    """What stands before so many elements."""
    if length <= 0x0F:
        return bytes((0x90 | length,))
    return b"\xdc" + length.to_bytes(2) if length <= 0xFFFF else b"\xdd" + length.to_bytes(4)


def pack_before(value: Any, size: int) -> bytes:
    """The beginning of `value` packed, whose very last element is an empty bin: all up to the bytes of a bin of so many
    bytes in its place."""
    return pack(value)[: -len(_EMPTY)] + bin_header(size)


def pack_list(rows: list[list[Any]], behind: int = 0) -> bytes:
    """The array of `rows`, in each of which a bin is the last element but `behind` (0 or 1)."""
    parts: list[bytes | memoryview] = [array_header(len(rows))]
    for row in rows:
        blob = row[-1 - behind]
        if behind:
            end = pack(row[-1])
            parts.append(pack([*row[:-2], b"", row[-1]])[: -len(_EMPTY) - len(end)] + bin_header(len(blob)))
            parts.append(blob)
            parts.append(end)
        else:
            parts.append(pack_before([*row[:-1], b""], len(blob)))
            parts.append(blob)
    return b"".join(parts)


def pack_rows(prefix: list[Any], rows: list[list[Any]]) -> bytes:
    """The array of `prefix` and, as its last element, `rows`. Each row ends with a bin, or with an array of bins."""
    if len(rows) == 1 and type(rows[0][-1]) is not list:
        row, blob = rows[0][:-1], rows[0][-1]
        return b"".join((pack_before([*prefix, [[*row, b""]]], len(blob)), blob))
    parts: list[bytes | memoryview] = [pack([*prefix, []])[:-1], array_header(len(rows))]
    for row in rows:
        last = row[-1]
        if type(last) is list:
            parts.append(pack([*row[:-1], []])[:-1])
            parts.append(array_header(len(last)))
            for each in last:
                parts.append(bin_header(len(each)))
                parts.append(each)
        else:
            parts.append(pack_before([*row[:-1], b""], len(last)))
            parts.append(last)
    return b"".join(parts)


def pack_bins(payloads: list[bytes]) -> bytes:
    """An array of bins."""
    parts: list[bytes] = [array_header(len(payloads))]
    for payload in payloads:
        parts.append(bin_header(len(payload)))
        parts.append(payload)
    return b"".join(parts)


def sizes_of_bins(packed: bytes | memoryview) -> list[int] | None:
    """The bytes of each bin in an array of bins that is all of `packed`, without a copy of them. None if it is anything
    else, or empty, or if unpacking it takes no longer."""
    end = len(packed)
    if end < LARGE_BYTES:
        return None
    first = int(packed[0])
    if 0x91 <= first <= 0x9F:
        count, at = first & 0x0F, 1
    elif first == 0xDC:
        count, at = int.from_bytes(packed[1:3]), 3
    else:
        return None
    if end < count * PAYLOADS_BYTES_MIN:
        return None
    sizes: list[int] = []
    for _ in range(count):
        if end - at < 2:
            return None
        kind = int(packed[at])
        if kind == _BIN_16:
            size, at = int.from_bytes(packed[at + 1 : at + 3]), at + 3
        elif kind == _BIN_8:
            size, at = int(packed[at + 1]), at + 2
        elif kind == _BIN_32:
            size, at = int.from_bytes(packed[at + 1 : at + 5]), at + 5
        else:
            return None
        at += size
        sizes.append(size)
    return sizes if at == end and sizes else None


def split(frame: bytes | memoryview) -> tuple[bytes, memoryview] | None:
    """The frame with an empty bin in place of its last element, and that element, if it is a bin that is nearly all of
    the frame. None otherwise.

    What the first one unpacks to, with the second one in the place of its last element, is what the frame unpacks to.
    Where the first one is no valid msgpack the frame is not either.
    """
    end = len(frame)
    if end < LARGE_BYTES:
        return None
    head = bytes(frame[: HEAD_BYTES_MAX + 16])
    at = 0
    at_max = min(HEAD_BYTES_MAX, end)
    while at < at_max:
        token = head[at]
        if token <= 0x7F or 0x90 <= token <= 0x9F or token in (_NIL, _FALSE, _TRUE):
            at += 1
        elif _UINT_8 <= token <= _UINT_64:
            at += 1 + (1 << (token - _UINT_8))
        elif _BIN_8 <= token <= _BIN_32:
            begin = at + 1 + (1 << (token - _BIN_8))
            size = int.from_bytes(head[at + 1 : begin])
            if begin + size == end and begin <= HEAD_BYTES_MAX:
                return head[:at] + _EMPTY, memoryview(frame)[begin:]
            at = begin + size
        else:
            return None
    return None
