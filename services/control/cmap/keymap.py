"""The keys of one map.

Programs use `set`, `delete` and `increment`, which check their input. The node itself uses `put`, `drop` and
`replace_below`. `changes` lists each change with the old and the new value, until the caller takes it. Setting a key to
its present value is no change. `snapshot` is the whole map, for a restarted process.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from services.control.cmap.names import check_name, is_read_only
from services.control.cmap.values import CmapError, Refusal, Value, added, make

KEYS_MAX = 16384
"""Most keys. Corosync has no bound; this leaves room for 384 nodes with ten keys each, and for programs' own keys."""

BYTES_MAX = 2 * 1024 * 1024
"""Most bytes of names and values: a restarted process gets the map as a whole."""


class Change(NamedTuple):
    """A key was added (`old` is None), deleted (`new` is None) or has another value."""

    key: str
    old: Value | None
    new: Value | None


class Keymap:
    """Keys and their values, by ascending name."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        """Changes in order. The caller empties the list."""
        self._values: dict[str, Value] = {}
        self._names: list[str] = []
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: str) -> bool:
        return key in self._values

    # For all callers.

    def get(self, key: str) -> Value | None:
        """The value of a key."""
        return self._values.get(key)

    def items(self, prefix: str = "") -> Iterator[tuple[str, Value]]:
        """Keys that begin with `prefix`, and their values, ascending. The map may change during the iteration: deleted
        keys are left out."""
        names = self._names
        first = bisect_left(names, prefix)
        last = first
        while last < len(names) and names[last].startswith(prefix):
            last += 1
        for name in names[first:last]:
            value = self._values.get(name)
            if value is not None:
                yield name, value

    # For programs.

    def set(self, key: str, kind: int, value: object) -> None:
        """Add or change a key; its type may change. Raises `CmapError`."""
        check_name(key)
        _check_writable(key)
        made = make(kind, value)
        old = self._values.get(key)
        grown = made.bytes - old.bytes if old is not None else made.bytes + len(key)
        if (old is None and len(self._values) >= KEYS_MAX) or self._bytes + grown > BYTES_MAX:
            raise CmapError(Refusal.NO_SPACE, f"the map is full: {len(self._values)} keys, {self._bytes} bytes")
        self.put(key, made)

    def delete(self, key: str) -> None:
        """Delete a key. Raises `CmapError`."""
        _check_writable(key)
        if key not in self._values:
            raise _missing(key)
        self.drop(key)

    def increment(self, key: str, step: int = 1) -> Value:
        """Add to an integer, which wraps around at the ends of its type. Returns the new value. Raises `CmapError`."""
        _check_writable(key)
        old = self._values.get(key)
        if old is None:
            raise _missing(key)
        new = added(old, step)
        self.put(key, new)
        return new

    # For the node itself.

    def put(self, key: str, value: Value) -> None:
        """Set a key, even one that programs cannot change."""
        old = self._values.get(key)
        if old == value:
            return
        if old is None:
            insort(self._names, key)
            self._bytes += len(key)
        else:
            self._bytes -= old.bytes
        self._bytes += value.bytes
        self._values[key] = value
        self.changes.append(Change(key, old, value))

    def drop(self, key: str) -> None:
        """Delete a key if it is there."""
        old = self._values.pop(key, None)
        if old is not None:
            del self._names[bisect_left(self._names, key)]
            self._bytes -= len(key) + old.bytes
            self.changes.append(Change(key, old, None))

    def replace_below(self, prefix: str, values: Mapping[str, Value]) -> None:
        """Replace all keys that begin with `prefix` by `values`, whose keys must all begin with it."""
        for key, _ in list(self.items(prefix)):
            if key not in values:
                self.drop(key)
        for key, value in values.items():
            assert key.startswith(prefix)
            self.put(key, value)

    # Snapshots.

    def snapshot(self) -> list[Any]:
        """All keys; `changes` is not in it."""
        return [[key, int(value.type), value.value] for key, value in self.items()]

    @classmethod
    def restore(cls, snapshot: list[Any]) -> Keymap:
        """The map of a snapshot, without changes. Raises ValueError or TypeError if it is not one."""
        found = cls()
        for key, kind, value in snapshot:
            found.put(key, make(kind, value))
        found.changes.clear()
        return found


def _check_writable(key: str) -> None:
    if is_read_only(key):
        raise CmapError(Refusal.ACCESS, f"{key} cannot be changed by programs")


def _missing(key: str) -> CmapError:
    return CmapError(Refusal.NOT_EXIST, f"there is no key {key}")
