"""Typed values of cmap's keys: each behaves like the plain Python value, and has a type.

cluster.cmap.set("my.key", rondo.cmap.U32(3))
cluster.cmap.get("my.key") + 1        # 4
cluster.cmap.get("my.key").type       # "u32"
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from rondo.errors import InvalidParameter


class _Integer(int):
    type: ClassVar[str]
    number: ClassVar[int]


class I8(_Integer):
    """-128 to 127."""

    type, number = "i8", 1


class U8(_Integer):
    """0 to 255."""

    type, number = "u8", 2


class I16(_Integer):
    """16 bits, signed."""

    type, number = "i16", 3


class U16(_Integer):
    """16 bits."""

    type, number = "u16", 4


class I32(_Integer):
    """32 bits, signed."""

    type, number = "i32", 5


class U32(_Integer):
    """32 bits."""

    type, number = "u32", 6


class I64(_Integer):
    """64 bits, signed."""

    type, number = "i64", 7


class U64(_Integer):
    """64 bits."""

    type, number = "u64", 8


class Flt(float):
    """32 bits of floating point."""

    type, number = "flt", 9


class Dbl(float):
    """64 bits of floating point."""

    type, number = "dbl", 10


class Str(str):
    """A text without NUL."""

    __slots__ = ()
    type, number = "str", 11


class Bin(bytes):
    """Bytes."""

    type, number = "bin", 12


Value = I8 | U8 | I16 | U16 | I32 | U32 | I64 | U64 | Flt | Dbl | Str | Bin

TYPES: tuple[type[Value], ...] = (I8, U8, I16, U16, I32, U32, I64, U64, Flt, Dbl, Str, Bin)
BY_NAME = {kind.type: kind for kind in TYPES}
"""By the names that the command line and JSON use."""
_BY_NUMBER = {kind.number: kind for kind in TYPES}


@dataclass(frozen=True, slots=True)
class Change:
    """A key was added (`old` is None), deleted (`new` is None), or changed."""

    key: str
    old: Value | None
    new: Value | None


def typed(value: object) -> Value:
    """`value` if it says its type; a plain str or bytes is Str or Bin. Raises InvalidParameter, too for a number that
    its type cannot hold."""
    if isinstance(value, TYPES):
        _check(value)
        return value
    if type(value) is str:
        _check(Str(value))
        return Str(value)
    if type(value) is bytes:
        return Bin(value)
    raise InvalidParameter(f"the type of {value!r} is missing: write rondo.cmap.U32({value!r}), for example")


def _check(value: Value) -> None:
    if isinstance(value, _Integer):
        bits = int(value.type[1:])
        low, high = (0, (1 << bits) - 1) if value.type[0] == "u" else (-1 << (bits - 1), (1 << (bits - 1)) - 1)
        if not low <= value <= high:
            raise InvalidParameter(f"value: {type(value).__name__} is a number from {low} to {high}; not {int(value)}")
    elif isinstance(value, Str):
        try:
            is_text = b"\0" not in value.encode()
        except UnicodeEncodeError:
            is_text = False
        if not is_text:
            raise InvalidParameter(f"value: a text that UTF-8 can hold, without NUL; not {str(value)!r:.80}")


def plain(value: Value) -> Any:
    """The value without its type, as it is sent."""
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    return str(value) if isinstance(value, str) else bytes(value)


def value_of(said: list[Any] | None) -> Value | None:
    """The value in a reply of the node, `[type, value]`."""
    return None if said is None else _BY_NUMBER[said[0]](said[1])


def change_of(event: dict[str, Any]) -> Change:
    """The change in an event of the node."""
    return Change(event["key"], value_of(event["old"]), value_of(event["new"]))
