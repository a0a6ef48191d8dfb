"""Notices between Rondo nodes, outside the ring: whether packets get through, and which keys each node has.

A notice is a hold cancel with the identifier of an impossible ring, and more bytes after it. Corosync and Rondo ignore
a hold cancel of another ring than their own, and read nothing after its 25 bytes. So C nodes, and Rondo nodes older
than notices, drop a notice silently.

| at | size | field |
|---|---|---|
| 0 | 13 | header of a hold cancel; its nodeid is the sender |
| 13 | 12 | ring identifier: representative 0, sequence `NOTICE_RING` |
| 25 | 1 | version 1 |
| 26 | 1 | 1 probe, 2 echo, 3 keys |

Probe and echo: u8 via (0 unicast, 1 multicast) @27, u32 number @28, u32 size @32 (of the datagram, envelope included);
then zeros up to that size in a probe. An echo confirms one probe, and has no padding.

Keys: u8 count @27, u8 index of the key in use @28, then 8 bytes for each key that the sender accepts.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from services.totem.wire.base import Malformed, Reason, RingId
from services.totem.wire.frames import HoldCancel, Kind, encode_hold_cancel

NOTICE_RING: Final = RingId(0, int.from_bytes(b"notices\0", "little"))
"""No ring has representative 0."""

KEY_IDENTITY_SIZE: Final = 8
KEYS_MAX: Final = 8

_HOLD_CANCEL_SIZE: Final = 25
_RING_AT: Final = 13
_RING: Final = struct.pack("<IQ", *NOTICE_RING)
_VERSION: Final = 1
_PROBE: Final = struct.Struct("<BBBII")
_KEYS: Final = struct.Struct("<BBBB")


class _Subject(IntEnum):
    PROBE = 1
    ECHO = 2
    KEYS = 3


@dataclass(slots=True, frozen=True)
class Probe:
    """A probe packet, or (`echo`) the answer to one."""

    sender: int
    number: int
    """Chosen by the sender of the probe; the echo repeats it."""
    size: int
    """Size of the probe's datagram, bytes."""
    multicast: bool
    """Whether the probe was sent by multicast."""
    echo: bool = False


@dataclass(slots=True, frozen=True)
class KeyNotice:
    """The keys under which the sender accepts packets, and the one with which it seals its own."""

    sender: int
    valid: tuple[bytes, ...]
    """Identities, 8 bytes each."""
    in_use: bytes


Notice = Probe | KeyNotice

PROBE_SIZE_MIN: Final = _HOLD_CANCEL_SIZE + _PROBE.size
"""Bytes of a probe without padding."""


def is_notice(frame: bytes) -> bool:
    """Whether this frame is a notice, well-formed or not."""
    return frame[3:4] == _KIND and frame[_RING_AT:_HOLD_CANCEL_SIZE] == _RING


def decode_notice(frame: bytes) -> Notice | None:
    """Decode a frame for which `is_notice` is true; None if its version is unknown. Raises `Malformed`."""
    at = _HOLD_CANCEL_SIZE
    if len(frame) < at + _KEYS.size:
        raise Malformed(Reason.TOO_SHORT)
    version, subject, first, second = _KEYS.unpack_from(frame, at)
    if version != _VERSION:
        return None
    (sender,) = struct.unpack_from("<I", frame, 5)
    if subject in (_Subject.PROBE, _Subject.ECHO):
        if len(frame) < PROBE_SIZE_MIN:
            raise Malformed(Reason.TOO_SHORT)
        _, _, via, number, size = _PROBE.unpack_from(frame, at)
        return Probe(sender, number, size, via == 1, subject == _Subject.ECHO)
    if subject != _Subject.KEYS:
        raise Malformed(Reason.BAD_TYPE)
    at += _KEYS.size
    if not 0 < first <= KEYS_MAX or second >= first:
        raise Malformed(Reason.BAD_INDEX)
    if len(frame) < at + first * KEY_IDENTITY_SIZE:
        raise Malformed(Reason.TOO_SHORT)
    valid = tuple(frame[at + i * KEY_IDENTITY_SIZE : at + (i + 1) * KEY_IDENTITY_SIZE] for i in range(first))
    return KeyNotice(sender, valid, valid[second])


def encode_probe(probe: Probe, frame_size: int = 0) -> bytes:
    """The frame of a probe or an echo, filled up to `frame_size` bytes."""
    subject = _Subject.ECHO if probe.echo else _Subject.PROBE
    body = _PROBE.pack(_VERSION, subject, probe.multicast, probe.number, probe.size)
    return (encode_hold_cancel(HoldCancel(probe.sender, NOTICE_RING)) + body).ljust(frame_size, b"\0")


def encode_keys(notice: KeyNotice) -> bytes:
    """The frame of a key notice."""
    body = _KEYS.pack(_VERSION, _Subject.KEYS, len(notice.valid), notice.valid.index(notice.in_use))
    return encode_hold_cancel(HoldCancel(notice.sender, NOTICE_RING)) + body + b"".join(notice.valid)


_KIND: Final = bytes([Kind.HOLD_CANCEL])
