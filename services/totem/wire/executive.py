"""Executive messages (group "a"): the header, which names the service and the function.

The header is 16 bytes: id i32 = service << 16 | function, 4 bytes of padding, size i32, 4 bytes of padding. The bodies
belong to the services, which decode them elsewhere.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final

from services.totem.wire.base import Malformed, Reason

_HEAD: Final = struct.Struct("<i4xi4x")
HEADER_SIZE: Final = _HEAD.size


class Service(IntEnum):
    """Service ids of Corosync."""

    CMAP = 0
    CFG = 1
    CPG = 2
    QUORUM = 3
    PLOAD = 4
    VOTEQUORUM = 5
    MON = 6
    WD = 7


def service_of(message: bytes) -> tuple[int, int]:
    """`(service, function)` of an executive message. Raises `Malformed` (BAD_MESSAGE)."""
    if len(message) < HEADER_SIZE:
        raise Malformed(Reason.BAD_MESSAGE)
    ident, _ = _HEAD.unpack_from(message)
    return (ident >> 16) & 0xFFFF, ident & 0xFFFF
