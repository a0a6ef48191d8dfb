"""The sync engine's messages: BARRIER (32 bytes) and SERVICE_BUILD (552 bytes), group "sync".

Both open with the 16-byte request header of an executive message (id i32, 4 bytes of padding, size i32, 4 bytes of
padding; the padding may hold garbage) and the 12-byte ring id at 16. BUILD lists service ids, ascending, in `ids[128]`.
Only Rondo reads the slots beyond `count`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from services.totem.wire.base import Malformed, Reason, RingId

BARRIER_ID: Final = 0
SERVICE_BUILD_ID: Final = 1

SERVICE_IDS_MAX: Final = 128
_HEAD: Final = struct.Struct("<i4xi4xIQ")
_BUILD_COUNT: Final = struct.Struct("<i")
_BUILD_COUNT_AT: Final = 32
_BUILD_IDS_AT: Final = 40
BARRIER_SIZE: Final = 32
SERVICE_BUILD_SIZE: Final = 552


@dataclass(slots=True, frozen=True)
class Barrier:
    """ "I have done this step of the sync"; one per member and service of the union list."""

    ring: RingId


@dataclass(slots=True, frozen=True)
class ServiceBuild:
    """The services of a member that take part in the sync."""

    ring: RingId
    services: tuple[int, ...]
    tail: tuple[int, ...] = ()
    """The i32 slots of `ids` beyond `count`, without trailing zeros: Rondo's announcement
    (services/totem/ring/capabilities.py)."""


def decode_sync(payload: bytes) -> Barrier | ServiceBuild | None:
    """Decode a message of group "sync"; None for one that is to be ignored. Raises `Malformed` (BAD_MESSAGE)."""
    if len(payload) < 16:
        raise Malformed(Reason.BAD_MESSAGE)
    (kind,) = _BUILD_COUNT.unpack_from(payload)
    if kind not in (BARRIER_ID, SERVICE_BUILD_ID):
        return None
    if len(payload) < (BARRIER_SIZE if kind == BARRIER_ID else SERVICE_BUILD_SIZE):
        raise Malformed(Reason.BAD_MESSAGE)
    _, _, rep, ring_seq = _HEAD.unpack_from(payload)
    ring = RingId(rep, ring_seq)
    if kind == BARRIER_ID:
        return Barrier(ring)
    (count,) = _BUILD_COUNT.unpack_from(payload, _BUILD_COUNT_AT)
    if not 0 <= count <= SERVICE_IDS_MAX:
        raise Malformed(Reason.BAD_MESSAGE)
    ids = struct.unpack_from(f"<{SERVICE_IDS_MAX}i", payload, _BUILD_IDS_AT)
    tail = ids[count:]
    used = next((i for i in range(len(tail), 0, -1) if tail[i - 1]), 0)
    return ServiceBuild(ring, ids[:count], tail[:used])


def encode_barrier(barrier: Barrier) -> bytes:
    """The 32 bytes of a BARRIER."""
    return _HEAD.pack(BARRIER_ID, BARRIER_SIZE, *barrier.ring) + bytes(4)


def encode_service_build(build: ServiceBuild) -> bytes:
    """The 552 bytes of a SERVICE_BUILD."""
    slots = build.services + build.tail
    ids = slots + (0,) * (SERVICE_IDS_MAX - len(slots))
    head = _HEAD.pack(SERVICE_BUILD_ID, SERVICE_BUILD_SIZE, *build.ring) + bytes(4)
    return head + struct.pack(f"<i4x{SERVICE_IDS_MAX}i", len(build.services), *ids)
