"""Clients that track statistics. One sample of the services' statuses answers all of them; samples are taken at
intervals.

Nobody notifies control of a changed statistic: statistics change with every message, and a notification would cost more
than the message. So a client asks for the values again and again, and compares them itself. It is answered with the
next sample. The services are asked for their status once in `SAMPLE_S`, however many clients track. Nothing here has to
survive a restart of this process, because clients compare with the values that they had last.
"""

from __future__ import annotations

from typing import Any

from services.control.watches import Place

SAMPLE_S = 1.5
"""Interval between samples. Corosync compares its statistics as often."""


class Samples:
    """The clients that wait for the next sample."""

    def __init__(self) -> None:
        self._waiting: dict[Place, tuple[int, dict[str, Any]]] = {}
        self._next_ns = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def ask(self, place: Place, op: int, arguments: dict[str, Any]) -> None:
        """A client waits for the next sample. The caller bounds their number."""
        self._waiting[place] = op, arguments

    def take_due(self, now_ns: int) -> list[tuple[Place, int, dict[str, Any]]]:
        """The clients to answer with a sample that is due now: all that wait, or none."""
        if not self._waiting or now_ns < self._next_ns:
            return []
        self._next_ns = now_ns + int(SAMPLE_S * 1e9)
        due = [(place, op, arguments) for place, (op, arguments) in self._waiting.items()]
        self._waiting.clear()
        return due

    def next_deadline_ns(self) -> int | None:
        """When to call `take_due`."""
        return self._next_ns if self._waiting else None

    def forget(self, gateway: bytes, connection: bytes | None = None) -> None:
        """A gateway is gone, and all clients that waited there; or only one of its clients."""
        for place in [place for place in self._waiting if place[0] == gateway]:
            if connection is None or place[1] == connection:
                del self._waiting[place]
