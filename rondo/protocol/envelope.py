"""Common to all envelopes of the bus: msgpack in and out, and the checks that a received one must pass.

An envelope is one ZeroMQ message: a msgpack array `[kind, epoch, field, ...]` with a fixed shape for each kind.
Anything else raises `BusError`, and no other exception, so that a truncated or foreign envelope can be counted and
dropped. The kinds are in `kinds`, the shapes in the file of each pair; docs/PROTOCOL.md describes them for other
languages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgpack

PROTOCOL_VERSION: Final = 1
"""Both sides must have the same version. Every hello has it."""

ENVELOPE_BYTES_TARGET: Final = 256 * 1024
"""A batch is closed once it has this many bytes; a single item of any size always fits."""

ARRAY_LENGTH_MAX: Final = 1 << 20
"""Longer arrays are refused: their announced length alone would make the receiver allocate memory."""

U32_MAX: Final = 0xFFFF_FFFF
U64_MAX: Final = 0xFFFF_FFFF_FFFF_FFFF


class BusError(ValueError):
    """An invalid envelope was received. The text gives the fault, in one line."""


Check = Callable[[Any], bool]
"""True if a decoded value is valid at its place."""


class _Elements:
    """Counts the elements of arrays and maps as they are decoded, and refuses more than the limit."""

    def __init__(self, elements_max: int) -> None:
        self.left = elements_max

    def array(self, value: list[Any]) -> list[Any]:
        """An array is complete."""
        self.left -= len(value) + 1
        if self.left < 0:
            raise ValueError("too many elements")
        return value

    def map(self, value: dict[Any, Any]) -> dict[Any, Any]:
        """A map is complete."""
        self.left -= 2 * len(value) + 1
        if self.left < 0:
            raise ValueError("too many elements")
        return value


def unpack(frame: bytes | memoryview, array_length_max: int = ARRAY_LENGTH_MAX, elements_max: int | None = None) -> Any:
    """The value that `frame` holds. Raises `BusError` unless the frame is exactly one msgpack value with valid maps and
    without extensions.

    `elements_max` is for input of strangers: the elements that all arrays and maps together may have. Without it a byte
    of nested empty arrays becomes 64 bytes of memory.
    """
    arrays = maps = None
    if elements_max is not None:
        counter = _Elements(elements_max)
        arrays, maps = counter.array, counter.map
    try:
        return msgpack.unpackb(
            frame, max_array_len=array_length_max, max_map_len=array_length_max, max_ext_len=0, strict_map_key=True,
            list_hook=arrays, object_hook=maps,
        )  # fmt: skip
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException) as error:
        raise BusError(f"not msgpack: {error or type(error).__name__}") from None


_PACKED_BYTES_KEPT: Final = 64 * 1024
_PACKERS_KEPT: Final = 4
_packers: Final[list[msgpack.Packer]] = []
"""Packers that are not in use. A new one takes three times as long as packing a small envelope (1.3 of 1.9 us). Whoever
packs takes one out, so neither another thread nor a finalizer that packs meanwhile has the same."""


def pack(value: Any) -> bytes:
    """`value` as msgpack: bytes as bin, str as str. Raises what msgpack raises for values that it cannot hold."""
    try:
        packer = _packers.pop()
    except IndexError:
        packer = msgpack.Packer()
    packed: bytes = packer.pack(value)
    # The buffer of a packer grows, and never shrinks. After an error a packer is not used again.
    if len(packed) <= _PACKED_BYTES_KEPT and len(_packers) < _PACKERS_KEPT:
        _packers.append(packer)
    return packed


def any_value(_: Any) -> bool:
    """Anything that msgpack can hold."""
    return True


def is_bool(value: Any) -> bool:
    """True or false."""
    return value is True or value is False


def is_bytes(value: Any) -> bool:
    """msgpack bin."""
    return type(value) is bytes


def is_text(value: Any) -> bool:
    """msgpack str."""
    return type(value) is str


def is_u32(value: Any) -> bool:
    """An integer from 0 to 2^32 - 1."""
    return type(value) is int and 0 <= value <= U32_MAX


def is_u64(value: Any) -> bool:
    """An integer from 0 to 2^64 - 1."""
    return type(value) is int and 0 <= value <= U64_MAX


_NOTATIONS: Final[dict[Check, str]] = {
    any_value: "any",
    is_bool: "bool",
    is_bytes: "bin",
    is_text: "str",
    is_u32: "u32",
    is_u64: "u64",
}


def notation(check: Check) -> str:
    """How the documents write a check: `u32`, `[session u64, request u64]`, `[bin...]`, `bin/nil`."""
    return _NOTATIONS[check]


def written_as(check: Check, text: str) -> Check:
    """`check`, with `text` as its notation in the documents."""
    _NOTATIONS[check] = text
    return check


def optional(check: Check) -> Check:
    """nil, or a value that passes `check`."""
    return written_as(lambda value: value is None or check(value), f"{notation(check)}/nil")


def array_of(check: Check) -> Check:
    """An array of any length whose elements all pass."""
    return written_as(lambda value: type(value) is list and all(map(check, value)), f"[{notation(check)}...]")


def record(**checks: Check) -> Check:
    """An array of exactly these elements, whose names the documents have."""
    every, count = tuple(checks.values()), len(checks)

    def matches(value: Any) -> bool:
        return (
            type(value) is list and len(value) == count and all(c(v) for c, v in zip(every, value, strict=True))
        )  # fmt: skip

    fields = (name if name == notation(check) else f"{name} {notation(check)}" for name, check in checks.items())
    return written_as(matches, f"[{', '.join(fields)}]")


def decode_shape(frame: bytes, shapes: Mapping[Any, tuple[type[Any], Check]]) -> Any:
    """The envelope that `frame` holds. `shapes` gives the class for its kind and the check for its fields. Raises
    `BusError`."""
    value = unpack(frame)
    if type(value) is not list or not value or type(value[0]) is not int:
        raise BusError("not an envelope")
    shape = shapes.get(value[0])
    if shape is None:
        raise BusError(f"unknown kind {value[0]}")
    envelope, check = shape
    fields = value[1:]
    if not check(fields):
        raise BusError(f"{envelope.__name__} of a wrong shape")
    return envelope(*fields)
