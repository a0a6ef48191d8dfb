"""The messages of Corosync's service cfg (1), byte for byte as in Corosync 3.1.

The header of executive messages (id i32 @0, its low half the function, size i32 @8), then:

    1 KILLNODE       288 bytes: node u32 @16, length of the reason u16 @24, reason[256] @32
    2 SHUTDOWN        16 bytes
    3 RELOAD_CONFIG   32 bytes: source node u32 @16, a pointer of the sender's that nobody else reads @24

Function 4 (a step of knet's key change) is ignored here. Function 0 (RINGREENABLE, 32 bytes) does nothing in Corosync
3. Rondo nodes put their own messages after those 32 bytes. Their RELOAD_CONFIG has a mark instead of the pointer, which
no program's pointer can equal, and the number of the agreed reload.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from rondo.protocol.envelope import BusError, pack, unpack

SERVICE = 1
AMONG_RONDO, KILL_NODE, SHUTDOWN, RELOAD = 0, 1, 2, 3
REASON_BYTES_MAX = 255
"""Corosync ends the text with a zero byte."""

_HEADER = struct.Struct("<i4xi4x")
_KILL = struct.Struct("<I4xH6x256s")
_SOURCE = struct.Struct("<I4xQ")
_MAGIC = b"RNDO"
_MARK, _NUMBER_BITS = 0x524F, 48
NUMBER_MAX = (1 << _NUMBER_BITS) - 1
_BEFORE_MAGIC = _HEADER.size + _SOURCE.size
_SHAPES = {KILL_NODE: _HEADER.size + _KILL.size, RELOAD: _BEFORE_MAGIC}


class MalformedError(ValueError):
    """Bytes that are no such message."""


@dataclass(frozen=True, slots=True)
class KillNode:
    """This node must leave at once."""

    node: int
    reason: str


@dataclass(frozen=True, slots=True)
class Shutdown:
    """The sender stops in an orderly way."""


@dataclass(frozen=True, slots=True)
class Reload:
    """All nodes reload their configuration. `number`: the reload that Rondo nodes have agreed on; None: a C node wants
    it."""

    source: int
    number: int | None


@dataclass(frozen=True, slots=True)
class AmongRondo:
    """A message that only Rondo nodes understand. Its body is not checked here."""

    body: Any


Message = KillNode | Shutdown | Reload | AmongRondo


def encode_kill(node: int, reason: str) -> bytes:
    """The message that makes `node` leave. A reason that is too long is cut."""
    text = reason.encode()[:REASON_BYTES_MAX].decode(errors="ignore").encode()
    return _header(KILL_NODE, _SHAPES[KILL_NODE]) + _KILL.pack(node, len(text), text)


def encode_shutdown() -> bytes:
    """The message that announces that this node stops."""
    return _header(SHUTDOWN, _HEADER.size)


def encode_reload(source: int, number: int) -> bytes:
    """The message at which all nodes change. C nodes read their file then."""
    return _header(RELOAD, _BEFORE_MAGIC) + _SOURCE.pack(source, _MARK << _NUMBER_BITS | number)


def encode_among_rondo(source: int, body: Any) -> bytes:
    """A message for Rondo nodes. To C nodes it looks like one that does nothing."""
    said = _MAGIC + pack(body)
    return _header(AMONG_RONDO, _BEFORE_MAGIC + len(said)) + _SOURCE.pack(source, 0) + said


def _header(function: int, size: int) -> bytes:
    return _HEADER.pack(SERVICE << 16 | function, size)


def decode(message: bytes) -> Message | None:
    """The message; None if it is to be ignored. Raises `MalformedError`."""
    if len(message) < _HEADER.size:
        raise MalformedError("too short for a header")
    function = message[0] | message[1] << 8
    if len(message) < _SHAPES.get(function, 0):
        raise MalformedError(f"too short for function {function}")
    if function == KILL_NODE:
        node, length, text = _KILL.unpack_from(message, _HEADER.size)
        return KillNode(node, text[: min(length, REASON_BYTES_MAX)].split(b"\0")[0].decode(errors="replace"))
    if function == SHUTDOWN:
        return Shutdown()
    if function == RELOAD:
        source, pointer = _SOURCE.unpack_from(message, _HEADER.size)
        return Reload(source, pointer & NUMBER_MAX if pointer >> _NUMBER_BITS == _MARK else None)
    if function == AMONG_RONDO and message[_BEFORE_MAGIC : _BEFORE_MAGIC + len(_MAGIC)] == _MAGIC:
        try:
            return AmongRondo(unpack(message[_BEFORE_MAGIC + len(_MAGIC) :]))
        except BusError as error:
            raise MalformedError(str(error)) from None
    return None
