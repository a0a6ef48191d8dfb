"""Merges two streams: the events of a group and those of quorum, each at its place among the ring changes.

A node reports a ring change first to groups, then to watchers of quorum; the messages of the new ring come last. So
after a ring change the group's events wait for the quorum event of that ring, and a quorum event waits for the group's
ring change. Neither waits for ever: if one of the services is missing, the events of the other are still shown.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import rondo

WAIT_S_MAX = 5.0
"""How long one stream waits for the other."""

Line = tuple[str, Any]
"""("group", event) or ("quorum", event)"""


class InOrder:
    """Takes both streams and returns one."""

    def __init__(self, quorum: rondo.quorum.Quorate) -> None:
        """`quorum`: the state at the beginning."""
        self._told = quorum.ring.sequence
        """The ring of the last quorum event that was returned."""
        self._ring = quorum.ring.sequence
        """The last ring that either stream has reached."""
        self._waiting: int | None = None
        """The ring whose quorum event is awaited."""
        self._since_s = 0.0
        self._group: deque[Any] = deque()
        self._quorum: deque[rondo.quorum.Quorate] = deque()

    def group(self, event: rondo.Event, now_s: float) -> list[Line]:
        """An event of the group."""
        self._group.append(event)
        return self._go_on(now_s)

    def quorum(self, event: rondo.quorum.Quorate, now_s: float) -> list[Line]:
        """A quorum event."""
        if not self._quorum:
            self._since_s = now_s
        self._quorum.append(event)
        return self._go_on(now_s)

    def tick(self, now_s: float) -> list[Line]:
        """Check for a wait that has lasted too long."""
        if not self.is_waiting or now_s < self._since_s + WAIT_S_MAX:
            return []
        self._waiting = None
        if self._quorum:
            self._ring = max(self._ring, self._quorum[0].ring.sequence)
        return self._go_on(now_s)

    @property
    def is_waiting(self) -> bool:
        """True if one stream waits for the other."""
        return self._waiting is not None or bool(self._quorum)

    def rest(self) -> list[Line]:
        """The group's stream has ended: return its waiting events."""
        lines: list[Line] = [("group", event) for event in self._group]
        self._group.clear()
        return lines

    def _go_on(self, now_s: float) -> list[Line]:
        lines: list[Line] = []
        while True:
            if self._quorum and self._quorum[0].ring.sequence <= self._ring:
                event = self._quorum.popleft()
                self._since_s = now_s
                self._told = max(self._told, event.ring.sequence)
                lines.append(("quorum", event))
                if self._waiting is not None and self._waiting <= self._told:
                    self._waiting = None
            elif self._group and self._waiting is None:
                event = self._group.popleft()
                lines.append(("group", event))
                if isinstance(event, rondo.RingChange):
                    self._ring = max(self._ring, event.ring.sequence)
                    if event.ring.sequence > self._told:
                        self._waiting, self._since_s = event.ring.sequence, now_s
            else:
                return lines
