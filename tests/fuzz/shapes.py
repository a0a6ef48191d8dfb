"""msgpack values changed in their structure: to a fuzzer of bytes a length that does not fit is nearly all it makes."""

from __future__ import annotations

from typing import Any

from rondo.protocol.envelope import pack

PALETTE: list[Any] = [
    None, True, False, 0, 1, 2, -1, 255, 2**31, 2**32 - 1, 2**32, 2**63, 2**64 - 1, 1.5, "", "text", b"", b"bytes",
    [], [[]], {}, [0], [1, 2], b"\0" * 16, "\ud83d\ude00",
]  # fmt: skip


class Bytes:
    """What the fuzzer gave, taken a number at a time; zeros when it is used up."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def below(self, limit: int) -> int:
        """A number below `limit`."""
        value = self._data[self._at] if self._at < len(self._data) else 0
        self._at += 1
        return value % limit

    @property
    def left(self) -> bool:
        """Whether there is more."""
        return self._at < len(self._data)


def altered(value: Any, bytes_: Bytes, depth: int = 0) -> Any:
    """The value with something in it replaced, left out, doubled or added."""
    if type(value) is not list or depth > 4 or not value or bytes_.below(4) == 0:
        return PALETTE[bytes_.below(len(PALETTE))]
    index = bytes_.below(len(value))
    match bytes_.below(6):
        case 0:
            return value[:index] + value[index + 1 :]
        case 1:
            return [*value, PALETTE[bytes_.below(len(PALETTE))]]
        case 2:
            return [*value[:index], value[index], *value[index:]]
        case _:
            return [*value[:index], altered(value[index], bytes_, depth + 1), *value[index + 1 :]]


def from_seeds(seeds: list[Any], data: bytes) -> bytes:
    """A packed value: one of the seeds, altered as often as the bytes last (at most eight times)."""
    bytes_ = Bytes(data)
    value = seeds[bytes_.below(len(seeds))]
    for _ in range(8):
        if not bytes_.left:
            break
        value = altered(value, bytes_)
    try:
        return pack(value)
    except (OverflowError, ValueError):  # a lone surrogate, a number of more than 64 bits
        return b""
