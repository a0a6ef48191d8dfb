"""The messages of libquorum and libvotequorum.

| quorum | request | after the header | reply |
|---|---|---|---|
| 0 | quorate? | | 0: u32 @24 |
| 1, 2 | track, do not | flags u32 @16 | 1, 2 |
| 3 | initialize, model 0 | | 4: type u32 @24, 1 = there is a provider |
| 4 | initialize, model 1 | model u32 @16 | 5: the same |

Events: 3 (model 0) quorate @24, sequence u64 @32, count @40, ids @44. 6 (model 1) quorate @24, ring @32, count @48,
ids @52. 7 (model 1) ring @24, members @40, joined @48, left @56, the lists @60. A ring is node u32, sequence u64 8
behind.

| votequorum | request | after the header | reply |
|---|---|---|---|
| 0 | information | node i32 @16, 0 = this one | 1: 320 bytes |
| 1 | set expected votes | u32 @16 | 0 |
| 2 | set votes | u32 @16, node @20 | 0 |
| 3, 4 | track, do not | context u64 @16, flags u32 @24 | 0 |
| 5 to 9 | the quorum device | | 0 |

Events: 3 quorate @24, context u64 @32, count @40, (node, state) @48. 4 context @24, expected votes @32. 5 context @24,
ring @32, count @48, ids @56.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from services.qb_gateway.wire.messages import blank_reply, reply, reply_header, unknown_reply

MESSAGE_BYTES_MAX = 64 * 1024
QUORATE, TRACK, UNTRACK, INITIALIZE, INITIALIZE_MODEL = range(5)
INFORMATION, SET_EXPECTED, SET_VOTES, VOTES_TRACK, VOTES_UNTRACK = range(5)
NOW, CHANGES, CHANGES_ONLY = 1, 2, 4
"""Flags of tracking."""
MODEL_MAX = 1
INFORMATION_BYTES = 320

_WORD = struct.Struct("<I")
_REPLIES = {QUORATE: (0, 32), TRACK: (1, 24), UNTRACK: (2, 24), INITIALIZE: (4, 32), INITIALIZE_MODEL: (5, 32)}
SIZES_MIN = {QUORATE: 16, TRACK: 20, UNTRACK: 16, INITIALIZE: 16, INITIALIZE_MODEL: 20}
VOTES_SIZES_MIN = {INFORMATION: 20, SET_EXPECTED: 20, SET_VOTES: 24, VOTES_TRACK: 28, VOTES_UNTRACK: 16}
_SPARE = bytes(4)

Ring = tuple[int, int]
"""Representative and sequence."""


class Information(NamedTuple):
    """What votequorum tells of a node."""

    node: int
    state: int
    votes: int
    expected: int
    highest_expected: int
    total: int
    quorum: int
    flags: int


def word(message: bytes, at: int) -> int:
    """A number in a request."""
    return int(_WORD.unpack_from(message, at)[0])


def context_of(message: bytes) -> int:
    """The program's context value for its tracking."""
    return int(struct.unpack_from("<Q", message, 16)[0])


def refusal(ident: int, code: int) -> bytes:
    """A reply of `quorum` with only a code, which may be OK."""
    known = _REPLIES.get(ident)
    return unknown_reply() if known is None else blank_reply(*known, code)


def votes_refusal(ident: int, code: int) -> bytes:
    """The same for `votequorum`."""
    if not 0 <= ident <= 9:
        return unknown_reply()
    return blank_reply(1, INFORMATION_BYTES, code) if ident == INFORMATION else blank_reply(0, 24, code)


def word_reply(ident: int, value: int) -> bytes:
    """The reply of `quorum` with one number."""
    return reply(_REPLIES[ident][0], struct.pack("<I4x", value))


def _list(nodes: Sequence[int]) -> bytes:
    return struct.pack(f"<{len(nodes)}I", *nodes)


def _event(ident: int, body: bytes) -> bytes:
    return reply_header(ident, 24 + len(body)) + body


def quorum_event(model: int, quorate: bool, ring: Ring, members: Sequence[int]) -> bytes:
    """The event for quorum on a ring."""
    if model == 0:
        return _event(3, struct.pack("<i4xQI", quorate, ring[1], len(members)) + _list(members) + _SPARE)
    return _event(6, struct.pack("<i4xI4xQI", quorate, *ring, len(members)) + _list(members) + _SPARE)


def nodelist_event(ring: Ring, members: Sequence[int], joined: Sequence[int], left: Sequence[int]) -> bytes:
    """The event with the members of the ring, and who came and went."""
    head = struct.pack("<I4xQI4xI4xI", *ring, len(members), len(joined), len(left))
    return _event(7, head + _list(members) + _list(joined) + _list(left) + _SPARE)


def information_reply(found: Information) -> bytes:
    """The reply with what is known of a node; there is no quorum device."""
    return reply(1, struct.pack("<9I", *found, 0).ljust(INFORMATION_BYTES - 24, b"\0"))


def votes_event(context: int, quorate: bool, nodes: Sequence[tuple[int, int]]) -> bytes:
    """The event for quorum, with the state of each node."""
    rows = b"".join(struct.pack("<II", *each) for each in nodes)
    return _event(3, struct.pack("<I4xQI4x", quorate, context, len(nodes)) + rows)


def expected_event(context: int, votes: int) -> bytes:
    """The event with the expected votes."""
    return _event(4, struct.pack("<QI4x", context, votes))


def votes_nodelist_event(context: int, ring: Ring, members: Sequence[int]) -> bytes:
    """The event with the members of the ring."""
    return _event(5, struct.pack("<QI4xQI4x", context, *ring, len(members)) + _list(members))
