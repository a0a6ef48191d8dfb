"""Two streams as one: the events of a group, and those of quorum, each in its place among the ring changes.

A node tells of a ring change to groups first, then to whom quorum concerns, then come the messages of the new ring. So
after a ring change the group's events wait for the quorum event of that ring, and a quorum event waits for the group's
ring change. Neither waits for ever: a node without one of its services still shows what the other says.
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
    """Takes both streams, gives one."""

    def __init__(self, quorum: rondo.quorum.Quorate) -> None:
        """`quorum`: how it is at the beginning."""
        self._told = quorum.ring.sequence
        """Ring of the last quorum event that was given."""
        self._ring = quorum.ring.sequence
        """The last ring that either stream has reached."""
        self._waiting: int | None = None
        """Ring whose quorum event is due."""
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
        """Time has passed."""
        if not self.is_waiting or now_s < self._since_s + WAIT_S_MAX:
            return []
        self._waiting = None
        if self._quorum:
            self._ring = max(self._ring, self._quorum[0].ring.sequence)
        return self._go_on(now_s)

    @property
    def is_waiting(self) -> bool:
        """Whether one stream waits for the other."""
        return self._waiting is not None or bool(self._quorum)

    def rest(self) -> list[Line]:
        """The group has come to its end: what of it has waited."""
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
