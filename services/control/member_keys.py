"""The keys `runtime.members.NODE.*`: present and former members of the ring."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from services.control.cmap.keymap import Keymap
from services.control.cmap.values import Type, Value


def changed(keys: Keymap, addresses: Mapping[int, tuple[str, ...]], old: Iterable[int], new: Iterable[int]) -> None:
    """The members of the ring have changed."""
    for node in sorted(set(old).difference(new)):
        keys.put(f"runtime.members.{node}.status", Value(Type.STR, "left"))
    for node in sorted(set(new).difference(old)):
        _joined(keys, node, addresses.get(node, ()))


def moved(keys: Keymap, addresses: Mapping[int, tuple[str, ...]], members: Iterable[int]) -> None:
    """A reload may have changed addresses of members."""
    for node in members:
        keys.put(f"runtime.members.{node}.ip", _ip(addresses.get(node, ())))


def _ip(addresses: tuple[str, ...]) -> Value:
    return Value(Type.STR, "".join(f"r({link}) ip({address}) " for link, address in enumerate(addresses)))


def _joined(keys: Keymap, node: int, addresses: tuple[str, ...]) -> None:
    below = f"runtime.members.{node}."
    count = keys.get(f"{below}join_count")
    times = count.value if count is not None and isinstance(count.value, int) else 0
    keys.put(f"{below}ip", _ip(addresses))
    keys.put(f"{below}join_count", Value(Type.U32, (times + 1) & 0xFFFFFFFF))
    keys.put(f"{below}status", Value(Type.STR, "joined"))
    if f"{below}config_version" not in keys:
        keys.put(f"{below}config_version", Value(Type.U64, 0))
