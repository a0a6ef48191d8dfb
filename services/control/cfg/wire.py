"""The messages of Corosync's service cfg (1), byte for byte as Corosync 3.1 has them.

The header of executive messages (id i32 @0, its low half the function, size i32 @8), then:

    1 KILLNODE       288 bytes: node u32 @16, length of the reason u16 @24, reason[256] @26
    2 SHUTDOWN        16 bytes
    3 RELOAD_CONFIG   32 bytes: source node u32 @16, a pointer of the sender's that nobody else reads @24

Functions 0 (nothing comes of it) and 4 (a step of knet's change of keys) are passed over.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

SERVICE = 1
KILL_NODE, SHUTDOWN = 1, 2
REASON_BYTES_MAX = 255
"""Corosync ends the text with a zero byte."""

_HEADER = struct.Struct("<i4xi4x")
_KILL = struct.Struct("<I4xH256s6x")
_SHAPES = {KILL_NODE: _HEADER.size + _KILL.size}


class MalformedError(ValueError):
    """Bytes that are no such message."""


@dataclass(frozen=True, slots=True)
class KillNode:
    """This node must go at once."""

    node: int
    reason: str


@dataclass(frozen=True, slots=True)
class Shutdown:
    """The sender stops, in order."""


def encode_kill(node: int, reason: str) -> bytes:
    """The message that makes `node` leave. A reason that is too long is cut."""
    text = reason.encode()[:REASON_BYTES_MAX].decode(errors="ignore").encode()
    return _header(KILL_NODE, _SHAPES[KILL_NODE]) + _KILL.pack(node, len(text), text)


def encode_shutdown() -> bytes:
    """The message that this node stops."""
    return _header(SHUTDOWN, _HEADER.size)


def _header(function: int, size: int) -> bytes:
    return _HEADER.pack(SERVICE << 16 | function, size)


def decode(message: bytes) -> KillNode | Shutdown | None:
    """The message; None if it is one that is passed over. Raises `MalformedError`."""
    if len(message) < _HEADER.size:
        raise MalformedError("too short for a header")
    function = message[0] | message[1] << 8
    if len(message) < _SHAPES.get(function, 0):
        raise MalformedError(f"too short for function {function}")
    if function == KILL_NODE:
        node, length, text = _KILL.unpack_from(message, _HEADER.size)
        return KillNode(node, text[: min(length, REASON_BYTES_MAX)].split(b"\0")[0].decode(errors="replace"))
    return Shutdown() if function == SHUTDOWN else None
