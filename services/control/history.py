"""Numbered events, of which the last ones are kept. A client that was away asks for those after its last one."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

EVENTS_MAX = 512
"""Most events to keep. They are part of the state that a restarted process gets."""
BYTES_MAX = 128 * 1024
"""Most bytes of all kept events. The newest one is always kept."""


class History:
    """Events by number 1, 2, 3 ..."""

    def __init__(self) -> None:
        self.number = 0
        """Number of the newest event."""
        self._events: deque[tuple[int, dict[str, Any]]] = deque()
        """(bytes, event), the last ones."""
        self._bytes = 0

    @property
    def floor(self) -> int:
        """Events up to this number are not kept any more."""
        return self.number - len(self._events)

    def add(self, event: dict[str, Any], size: int = 128) -> None:
        """Add an event. `size`: its approximate size in bytes."""
        self.number += 1
        self._events.append((size, event))
        self._bytes += size
        while len(self._events) > EVENTS_MAX or (self._bytes > BYTES_MAX and len(self._events) > 1):
            self._bytes -= self._events.popleft()[0]

    def after(self, number: int) -> Iterator[tuple[int, dict[str, Any]]]:
        """The kept events after this number, with their numbers."""
        first = self.floor + 1
        for index, (_, event) in enumerate(self._events):
            if first + index > number:
                yield first + index, event

    def snapshot(self) -> list[Any]:
        """The whole state."""
        return [self.number, [list(each) for each in self._events]]

    @classmethod
    def restore(cls, snapshot: list[Any]) -> History:
        """The state of a snapshot."""
        found = cls()
        found.number, events = snapshot
        for size, event in events:
            found._events.append((size, event))
            found._bytes += size
        return found
