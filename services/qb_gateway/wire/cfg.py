"""The messages of libcfg.

| id | request | after the header | reply |
|---|---|---|---|
| 0 | state of the rings | | 0: count u32 @24, 16 names of 128 bytes @32, 16 states of 512 bytes @2080 |
| 1 | re-enable | | 1 |
| 2 | kill a node | node u32 @16, length of the reason u16 @24, reason[256] @26 | 8 |
| 3 | try to shut down | flags u32 @16 | 9 |
| 4 | answer to that | u32 @16 | 13 |
| 5 | addresses of a node | node u32 @16, 0 = this one | 11: family u32 @24, count u32 @28, 16 bytes for each @32 |
| 6 | own node | | 12: node u32 @24 |
| 7, 8 | reload, reopen logs | | 14, 15 |
| 9 | state of a node | node u32 @16, version u32 @24 | 16: below, @24 |
| 10, 11 | track, do not | | 2, 3 |

The event to those who track, 10: flags u32 @24; its error is 1, or 5 (CS_ERR_TIMEOUT) when somebody has not answered.

The state of a node, 4176 bytes: version u32 @0, node u32 @4, reachable u8 @8, then 8 links of 520 bytes from @16 on:
enabled u8 @0, connected u8 @1, mtu u32 @4, its own address 256 @8, the other 256 @264.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from services.qb_gateway.wire.messages import REQUEST_HEADER_BYTES, blank_reply, reply, unknown_reply

RINGS = 0
KILL, SHUTDOWN, SHUTDOWN_VOTE = 2, 3, 4
ADDRESSES = 5
OWN_NODE = 6
RELOAD, REOPEN_LOGS = 7, 8
NODE_STATUS = 9
TRACK, UNTRACK = 10, 11
STATUS_VERSION = 1
STATUS_BYTES = 4200
LINKS_MAX = 8
MESSAGE_BYTES_MAX = 64 * 1024
ADDRESS_BYTES = 16
FAMILY_IPV4, FAMILY_IPV6 = 2, 10

_REPLIES = {
    0: (0, 10272), 1: (1, 24), 2: (8, 24), 3: (9, 24), 4: (13, 24), ADDRESSES: (11, 32), OWN_NODE: (12, 32),
    7: (14, 24), 8: (15, 24), 9: (16, 4200), 10: (2, 24), 11: (3, 24),
}  # fmt: skip
"""Id and size of the reply to each request."""
SHUTDOWN_EVENT = 10
_REASON = struct.Struct("<H256s")
_REASON_AT = 24
_NODE = struct.Struct("<I")
_STATUS = struct.Struct("<IIB7x")
_RINGS_MAX, _RING_NAME_BYTES, _RING_STATE_BYTES = 16, 128, 512
_LINK = struct.Struct("<BB2xI256s256s")


class Link(NamedTuple):
    """One link to a node."""

    is_connected: bool
    mtu: int
    source: str
    destination: str


def node_of(message: bytes) -> int | None:
    """The node that a request is about; None if it is too short for one."""
    if len(message) < REQUEST_HEADER_BYTES + _NODE.size:
        return None
    return int(_NODE.unpack_from(message, REQUEST_HEADER_BYTES)[0])


def reason_of(message: bytes) -> str:
    """The reason for the kill of a node."""
    if len(message) < _REASON_AT + _REASON.size:
        return ""
    length, text = _REASON.unpack_from(message, _REASON_AT)
    return str(text[:length].split(b"\0")[0].decode(errors="replace"))


def shutdown_event(flags: int, error: int) -> bytes:
    """The event that somebody wants the node to stop, or has got no answer."""
    return reply(SHUTDOWN_EVENT, struct.pack("<I4x", flags), error)


def refusal(ident: int, code: int) -> bytes:
    """A reply to request `ident` with only a code."""
    known = _REPLIES.get(ident)
    return unknown_reply() if known is None else blank_reply(*known, code)


def own_node_reply(node: int) -> bytes:
    """The reply with this node's identifier."""
    return reply(12, struct.pack("<I4x", node))


def addresses_reply(addresses: Sequence[bytes]) -> bytes:
    """The addresses of a node, packed; all of one family."""
    family = FAMILY_IPV4 if len(addresses[0]) == 4 else FAMILY_IPV6
    packed = b"".join(address.ljust(ADDRESS_BYTES, b"\0") for address in addresses)
    return reply(11, struct.pack("<II", family, len(addresses)) + packed)


def rings_reply(rings: Sequence[tuple[str, str]]) -> bytes:
    """The name and the state of each link of this node."""
    names = b"".join(name.encode()[: _RING_NAME_BYTES - 1].ljust(_RING_NAME_BYTES, b"\0") for name, _ in rings)
    states = b"".join(state.encode()[: _RING_STATE_BYTES - 1].ljust(_RING_STATE_BYTES, b"\0") for _, state in rings)
    tables = names.ljust(_RINGS_MAX * _RING_NAME_BYTES, b"\0") + states.ljust(_RINGS_MAX * _RING_STATE_BYTES, b"\0")
    return reply(0, struct.pack("<I4x", len(rings)) + tables)


def version_of(message: bytes) -> int:
    """The requested version of the state of a node; 0 if the request is too short."""
    return int(_NODE.unpack_from(message, 24)[0]) if len(message) >= 28 else 0


def status_reply(node: int, is_reachable: bool, links: Mapping[int, Link]) -> bytes:
    """The state of a node, and of its links by number."""
    status = _STATUS.pack(STATUS_VERSION, node, is_reachable)
    for number in range(LINKS_MAX):
        link = links.get(number)
        if link is None:
            status += bytes(_LINK.size)
        else:
            source, destination = (each.encode()[:255] for each in (link.source, link.destination))
            status += _LINK.pack(1, link.is_connected, link.mtu, source, destination)
    return reply(16, status.ljust(STATUS_BYTES - 24, b"\0"))
