"""The totempg packet inside an mcast, and the group header inside each assembled message.

Packet: version u16 0, type u16 0, fragmented u8, continuation u8, count u16, count * u16 lengths, then the pieces back
to back. A `fragmented` of 1..255 means that the last piece continues in a later packet. A `continuation` other than 0
means that the first piece continues the packet whose `fragmented` had that value. The lengths must add up exactly.

Message: u16 number of groups, a u16 name length for each, the names, then the payload. Corosync uses one group per
message: "a" for executive messages, "sync" for the sync engine.
"""

from __future__ import annotations

import struct
from enum import Enum
from typing import Final

from services.totem.wire.base import Malformed, Reason

_HEAD: Final = struct.Struct("<HHBBH")
PACKET_HEADER_SIZE: Final = _HEAD.size
PIECES_MAX: Final = 0xFFFF

EXECUTIVE_PREFIX: Final = b"\x01\x00\x01\x00a"
SYNC_PREFIX: Final = b"\x01\x00\x04\x00sync"
NOBODY_PREFIX: Final[bytes] = b"\x01\x00\x01\x00-"
"""A group that does not exist: every receiver drops messages to it."""


class Group(Enum):
    """The group that a message is for."""

    EXECUTIVE = "a"
    SYNC = "sync"


def decode_packet(data: bytes, start: int = 0) -> tuple[int, int, list[bytes]]:
    """`(fragmented, continuation, pieces)` of the packet at `data[start:]`. Raises `Malformed` (BAD_PACKET)."""
    if len(data) - start < PACKET_HEADER_SIZE:
        raise Malformed(Reason.BAD_PACKET)
    version, kind, fragmented, continuation, count = _HEAD.unpack_from(data, start)
    at = start + PACKET_HEADER_SIZE + 2 * count
    if version or kind or count == 0 or at > len(data):
        raise Malformed(Reason.BAD_PACKET)
    if count == 1:  # a shortcut for the common case of long messages
        (length,) = struct.unpack_from("<H", data, start + PACKET_HEADER_SIZE)
        if at + length != len(data):
            raise Malformed(Reason.BAD_PACKET)
        return fragmented, continuation, [data[at:]]
    lengths = struct.unpack_from(f"<{count}H", data, start + PACKET_HEADER_SIZE)
    if at + sum(lengths) != len(data):
        raise Malformed(Reason.BAD_PACKET)
    pieces = []
    for length in lengths:
        end = at + length
        pieces.append(data[at:end])
        at = end
    return fragmented, continuation, pieces


def encode_packet(fragmented: int, continuation: int, pieces: list[bytes]) -> bytes:
    """Encode a packet with these pieces: at least one, each of at most 65535 bytes."""
    assert pieces, "no receiver takes an empty packet"
    count = len(pieces)
    head = struct.pack(f"<HHBBH{count}H", 0, 0, fragmented, continuation, count, *map(len, pieces))
    return b"".join((head, *pieces))


def split_group(message: bytes) -> tuple[Group, int]:
    """`(group, offset of the payload)` of an assembled message. Raises `Malformed` (BAD_GROUP)."""
    if message.startswith(EXECUTIVE_PREFIX):
        return Group.EXECUTIVE, len(EXECUTIVE_PREFIX)
    if message.startswith(SYNC_PREFIX):
        return Group.SYNC, len(SYNC_PREFIX)
    return _split_any_group(message)


def _split_any_group(message: bytes) -> tuple[Group, int]:
    """The general form: several names. The first known one counts."""
    if len(message) < 2:
        raise Malformed(Reason.BAD_GROUP)
    (count,) = struct.unpack_from("<H", message)
    at = 2 + 2 * count
    if at > len(message):
        raise Malformed(Reason.BAD_GROUP)
    lengths = struct.unpack_from(f"<{count}H", message, 2)
    if at + sum(lengths) > len(message):
        raise Malformed(Reason.BAD_GROUP)
    found: Group | None = None
    for length in lengths:
        name = message[at : at + length]
        at += length
        if found is None and name in (b"a", b"sync"):
            found = Group(name.decode())
    if found is None:
        raise Malformed(Reason.BAD_GROUP)
    return found, at
