"""The last events of all nodes, in the order in which they were heard of, for whoever watches."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

from rondo.node.log_formats import iso_time
from rondo.timeline.events import Event
from services.web.wire import TEXT_MAX, Happened

EVENTS_MAX = 500


class Recent:
    """Each has an `id`, one more than the one before, and the `node` on which it happened; None: this one."""

    def __init__(self) -> None:
        self._events: deque[dict[str, Any]] = deque(maxlen=EVENTS_MAX)
        self._next_id = 1
        self._next_own = 1

    def add_own(self, events: Iterable[Event]) -> list[Happened]:
        """Of this node; the same as the others are told."""
        told = []
        for event in events:
            self._add({"node": None, **event.as_json()})
            number, self._next_own = self._next_own, self._next_own + 1
            text = event.text[:TEXT_MAX]
            told.append(Happened(number, event.seconds, event.source, event.name, event.level, text))
        return told

    def add_of_peer(self, node: int, events: Iterable[Happened]) -> None:
        """Of another node."""
        for event in events:
            self._add(
                {
                    "node": node, "time": iso_time(event.seconds, milliseconds=True), "source": event.source,
                    "event": event.name, "level": event.level, "detail": {}, "text": event.text,
                }
            )  # fmt: skip

    def _add(self, event: dict[str, Any]) -> None:
        self._events.append({"id": self._next_id, **event})
        self._next_id += 1

    @property
    def last_id(self) -> int:
        """That of the newest one; 0: there is none."""
        return self._next_id - 1

    def after(self, number: int) -> list[dict[str, Any]]:
        """Those after that one, as many as are kept."""
        return [each for each in self._events if each["id"] > number]
