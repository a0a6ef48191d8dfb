"""cmap's message in the sync: a node announces its totem.config_version, byte for byte as Corosync 3.1 does.

The header of executive messages (id i32 = 0, 4 bytes of padding, size i32, 4 bytes of padding), then reason, "sync key"
and the number of items, u8 each in 8 bytes, and one item: key length u16 @48, key[256] @56, type u8 @312, value length
u64 @320, value @328. Other keys than this one are not read.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from typing import Any, NamedTuple

_MESSAGE = struct.Struct("<i4xi4xB7xB7xB7xB7x")
_ITEM = struct.Struct("<H6x256sB7xQ")
_UINT64 = 8
_KEY = b"totem.config_version"
_VALUE_AT = _MESSAGE.size + _ITEM.size


class MalformedError(ValueError):
    """Bytes that are no such message."""


def encode(version: int) -> bytes:
    """Encode the message: 336 bytes with a version, 328 without one (0)."""
    value = struct.pack("<Q", version) if version else b""
    item = _ITEM.pack(len(_KEY), _KEY, _UINT64 if version else 0, len(value)) + value
    return _MESSAGE.pack(0, _MESSAGE.size + len(item), 0, 1, 0, 0) + item


def decode(message: bytes) -> int | None:
    """The version, 0 if the sender has none; None if the message is about another key. Raises `MalformedError`."""
    if len(message) < _VALUE_AT:
        raise MalformedError("too short")
    key_length, key, kind, length = _ITEM.unpack_from(message, _MESSAGE.size)
    if key[:key_length] != _KEY:
        return None
    if kind != _UINT64 or length != 8:
        return 0
    if len(message) < _VALUE_AT + 8:
        raise MalformedError("too short for its value")
    version: int = struct.unpack_from("<Q", message, _VALUE_AT)[0]
    return version


class Eviction(NamedTuple):
    """The decision that this node must leave the ring."""

    is_fault_of_configuration: bool
    """Whether a restart with the same configuration would end the same way."""
    text: str


class ConfigVersions:
    """The versions of the members of this ring, and whether this node may stay."""

    def __init__(self) -> None:
        self.told: dict[int, int] = {}
        """By node."""
        self._met_others = False

    def ring_changed(self) -> None:
        """All members announce their versions again."""
        self.told.clear()

    def heard(self, sender: int, message: bytes, members: Collection[int]) -> int | None:
        """The version that a member announces; None: the message is about something else. Raises `MalformedError`."""
        version = decode(message)
        if version is None or sender not in members:
            return None
        self.told[sender] = version
        return version

    def judge(self, own: int, members: Collection[int]) -> Eviction | None:
        """A node that meets others for the first time, and has an older configuration than one of them, must leave."""
        if len(members) < 2 or self._met_others:
            return None
        self._met_others = True
        newest = max(self.told.values(), default=0)
        if not own or own >= newest:
            return None
        return Eviction(
            True,
            f"Received config version ({newest}) is different than my config version ({own})! Exiting; "
            "copy the newest corosync.conf to this node",
        )

    def snapshot(self) -> list[Any]:
        """The state, for a restart of this process."""
        return [self._met_others, [[node, version] for node, version in self.told.items()]]

    @classmethod
    def restore(cls, snapshot: list[Any]) -> ConfigVersions:
        """The state of a snapshot."""
        found = cls()
        found._met_others, told = snapshot
        found.told = dict(told)
        return found
