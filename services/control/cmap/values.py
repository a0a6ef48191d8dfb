"""Typed values of keys: the twelve types of Corosync's cmap, with its numbers and short names."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

VALUE_BYTES_MAX = 16384
"""Most bytes of a string or of bytes. A string's NUL counts, as in Corosync, which stores it."""


class Refusal(IntEnum):
    """Why something is refused; numbers as in Corosync's cs_error_t."""

    INVALID_PARAM = 7
    ACCESS = 11
    NOT_EXIST = 12
    NAME_TOO_LONG = 13
    NO_SPACE = 15
    NOT_SUPPORTED = 19


class CmapError(ValueError):
    """A refused request. The text gives the reason."""

    def __init__(self, refusal: Refusal, text: str) -> None:
        super().__init__(text)
        self.refusal = refusal


class Type(IntEnum):
    """Type of a value; numbers as in cmap.h."""

    I8 = 1
    U8 = 2
    I16 = 3
    U16 = 4
    I32 = 5
    U32 = 6
    I64 = 7
    U64 = 8
    FLT = 9
    DBL = 10
    STR = 11
    BIN = 12

    @property
    def text(self) -> str:
        """Its name on the command line and in JSON."""
        return self.name.lower()

    @property
    def is_integer(self) -> bool:
        """Whether it can be incremented."""
        return self <= Type.U64

    @property
    def bits(self) -> int:
        """Width of an integer type."""
        assert self.is_integer
        return 8 << (self - 1) // 2

    @property
    def is_signed(self) -> bool:
        """Whether an integer type has negative values."""
        return self % 2 == 1

    @property
    def range(self) -> range:
        """The values of an integer type."""
        half = 1 << (self.bits - 1)
        return range(-half, half) if self.is_signed else range(2 * half)


BY_TEXT = {each.text: each for each in Type}

_FLOAT = struct.Struct("<f")


class Value(NamedTuple):
    """A value with its type."""

    type: Type
    value: int | float | str | bytes

    @property
    def bytes(self) -> int:
        """Size in bytes; a string's NUL included."""
        if self.type == Type.STR:
            assert isinstance(self.value, str)
            return len(self.value.encode()) + 1
        if self.type == Type.BIN:
            assert isinstance(self.value, bytes)
            return len(self.value)
        return {Type.FLT: 4, Type.DBL: 8}.get(self.type) or self.type.bits // 8


def make(kind: int, value: object) -> Value:
    """Make a value of this type from a program's input. Raises `CmapError`."""
    try:
        of = Type(kind)
    except ValueError:
        raise CmapError(Refusal.INVALID_PARAM, f"{kind} is no type") from None
    if of.is_integer:
        return Value(of, _integer(of, value))
    if of in (Type.FLT, Type.DBL):
        return Value(of, _number(of, value))
    if of == Type.STR:
        made = Value(of, _string(value))
    else:
        if type(value) is not bytes:
            raise CmapError(Refusal.INVALID_PARAM, "bin takes bytes")
        made = Value(of, value)
    if made.bytes > VALUE_BYTES_MAX:
        raise CmapError(Refusal.INVALID_PARAM, f"a value has at most {VALUE_BYTES_MAX} bytes")
    return made


def _integer(of: Type, value: object) -> int:
    if type(value) is not int:
        raise CmapError(Refusal.INVALID_PARAM, f"{of.text} takes an integer")
    if value not in of.range:
        raise CmapError(Refusal.INVALID_PARAM, f"{value} is no {of.text}: {of.range[0]} to {of.range[-1]}")
    return value


def _number(of: Type, value: object) -> float:
    if type(value) is not float and type(value) is not int:
        raise CmapError(Refusal.INVALID_PARAM, f"{of.text} takes a number")
    try:
        number = float(value)
        # Round it as it is stored: a float has 32 bits.
        return float(_FLOAT.unpack(_FLOAT.pack(number))[0]) if of == Type.FLT else number
    except OverflowError:
        raise CmapError(Refusal.INVALID_PARAM, f"{value} is too large for {of.text}") from None


def _string(value: object) -> str:
    if type(value) is not str:
        raise CmapError(Refusal.INVALID_PARAM, "str takes a text")
    if "\0" in value:
        raise CmapError(Refusal.INVALID_PARAM, "a string cannot hold a NUL")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise CmapError(Refusal.INVALID_PARAM, "a string must be Unicode text") from None
    return value


def added(value: Value, step: int) -> Value:
    """`value` + `step`, wrapped around at the ends of its type. Raises `CmapError` if it is no integer."""
    if not value.type.is_integer:
        raise CmapError(Refusal.INVALID_PARAM, f"a value of type {value.type.text} cannot be incremented")
    assert isinstance(value.value, int)
    low = value.type.range.start
    return Value(value.type, (value.value + step - low) % (1 << value.type.bits) + low)
