"""Executive messages (group "a"): the header that says which service and function, and the CMAP item.

The header is 16 bytes: id i32 = service << 16 | function, 4 bytes of padding, size i32, 4 bytes of padding. The bodies
belong to the services; the ring's process itself speaks only CMAP, with which nodes compare their config_version.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from services.totem.wire.base import Malformed, Reason

_HEAD = struct.Struct("<i4xi4x")
HEADER_SIZE = _HEAD.size


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


_CMAP_MESSAGE = struct.Struct("<i4xi4xB7xB7xB7xB7x")
_CMAP_ITEM = struct.Struct("<H6x256sB7xQ")
_CMAP_UINT64 = 8
_CONFIG_VERSION_KEY = b"totem.config_version"


@dataclass(slots=True, frozen=True)
class ConfigVersion:
    """CMAP's sync message: the sender's totem.config_version, 0 if it has none."""

    version: int


def encode_config_version(version: int) -> bytes:
    """The CMAP sync message: 336 bytes with a version, 328 without."""
    value = struct.pack("<Q", version) if version else b""
    item = _CMAP_ITEM.pack(
        len(_CONFIG_VERSION_KEY), _CONFIG_VERSION_KEY, _CMAP_UINT64 if version else 0, len(value)
    ) + value  # fmt: skip
    size = _CMAP_MESSAGE.size + len(item)
    return _CMAP_MESSAGE.pack(Service.CMAP << 16, size, 0, 1, 0, 0) + item


def decode_config_version(message: bytes) -> ConfigVersion | None:
    """The config_version in a CMAP message; None if it carries another key. Raises `Malformed` (BAD_MESSAGE)."""
    if len(message) < _CMAP_MESSAGE.size + _CMAP_ITEM.size:
        raise Malformed(Reason.BAD_MESSAGE)
    key_length, key, kind, length = _CMAP_ITEM.unpack_from(message, _CMAP_MESSAGE.size)
    if key[:key_length] != _CONFIG_VERSION_KEY:
        return None
    if kind != _CMAP_UINT64 or length != 8:
        return ConfigVersion(0)
    at = _CMAP_MESSAGE.size + _CMAP_ITEM.size
    if len(message) < at + 8:
        raise Malformed(Reason.BAD_MESSAGE)
    (version,) = struct.unpack_from("<Q", message, at)
    return ConfigVersion(version)
