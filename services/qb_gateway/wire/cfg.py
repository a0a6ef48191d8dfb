"""The messages of libcfg.

| id | request | after the header | reply |
|---|---|---|---|
| 0 | state of the rings | | 0: 10272 bytes |
| 1 | re-enable | | 1 |
| 2 | kill a node | node u32 @16, reason @24 | 8 |
| 3 | try to shut down | flags u32 @16 | 9 |
| 4 | answer to that | u32 @16 | 13 |
| 5 | addresses of a node | node u32 @16, 0 = this one | 11: family u32 @24, count u32 @28, 16 bytes for each @32 |
| 6 | own node | | 12: node u32 @24 |
| 7, 8 | reload, reopen logs | | 14, 15 |
| 9 | state of a node | node u32 @16, version u32 @24 | 16: 4200 bytes |
| 10, 11 | track, do not | | 2, 3 |
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from services.qb_gateway.wire.messages import REQUEST_HEADER_BYTES, blank_reply, reply, unknown_reply

ADDRESSES = 5
OWN_NODE = 6
MESSAGE_BYTES_MAX = 64 * 1024
ADDRESS_BYTES = 16
FAMILY_IPV4, FAMILY_IPV6 = 2, 10

_REPLIES = {
    0: (0, 10272), 1: (1, 24), 2: (8, 24), 3: (9, 24), 4: (13, 24), ADDRESSES: (11, 32), OWN_NODE: (12, 32),
    7: (14, 24), 8: (15, 24), 9: (16, 4200), 10: (2, 24), 11: (3, 24),
}  # fmt: skip
"""Id and size of the reply to each request."""
_NODE = struct.Struct("<I")


def node_of(message: bytes) -> int | None:
    """The node that a request is about; None if it is too short for one."""
    if len(message) < REQUEST_HEADER_BYTES + _NODE.size:
        return None
    return int(_NODE.unpack_from(message, REQUEST_HEADER_BYTES)[0])


def refusal(ident: int, code: int) -> bytes:
    """The reply to request `ident` that says nothing but a code."""
    known = _REPLIES.get(ident)
    return unknown_reply() if known is None else blank_reply(*known, code)


def own_node_reply(node: int) -> bytes:
    """The number of this node."""
    return reply(12, struct.pack("<I4x", node))


def addresses_reply(addresses: Sequence[bytes]) -> bytes:
    """The addresses of a node, packed; all of one family."""
    family = FAMILY_IPV4 if len(addresses[0]) == 4 else FAMILY_IPV6
    packed = b"".join(address.ljust(ADDRESS_BYTES, b"\0") for address in addresses)
    return reply(11, struct.pack("<II", family, len(addresses)) + packed)
