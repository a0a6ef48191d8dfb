"""Numbered events, of which the last ones are kept: whoever was away asks for those after the last that it had."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

EVENTS_MAX = 512
"""Kept at most; they are part of the state that is handed to a successor of the process."""
BYTES_MAX = 128 * 1024
"""Of all events that are kept; one of any size is."""


class History:
    """Events by number 1, 2, 3 ..."""

    def __init__(self) -> None:
        self.number = 0
        """Of the newest event."""
        self._events: deque[tuple[int, dict[str, Any]]] = deque()
        """(bytes, event), the last ones."""
        self._bytes = 0

    @property
    def floor(self) -> int:
        """Events up to this number are not kept any more."""
        return self.number - len(self._events)

    def add(self, event: dict[str, Any], size: int = 128) -> None:
        """Something happened. `size`: about how many bytes it has."""
        self.number += 1
        self._events.append((size, event))
        self._bytes += size
        while len(self._events) > EVENTS_MAX or (self._bytes > BYTES_MAX and len(self._events) > 1):
            self._bytes -= self._events.popleft()[0]

    def after(self, number: int) -> Iterator[tuple[int, dict[str, Any]]]:
        """The events that are kept after this one, with their numbers."""
        first = self.floor + 1
        for index, (_, event) in enumerate(self._events):
            if first + index > number:
                yield first + index, event

    def snapshot(self) -> list[Any]:
        """Everything."""
        return [self.number, [list(each) for each in self._events]]

    @classmethod
    def restore(cls, snapshot: list[Any]) -> History:
        """What `snapshot` gave."""
        found = cls()
        found.number, events = snapshot
        for size, event in events:
            found._events.append((size, event))
            found._bytes += size
        return found
