"""Clients that track statistics. All of them are answered from one look at the services, which is taken now and then.

Nobody tells control that a statistic has changed: that happens with every message, and to tell it would cost more than
the message. So a client asks for the values again and again, and finds by itself what is another one. It is answered
with the next sample, whoever asks: the services are asked for their status once in `SAMPLE_S`, however many clients
track. Nothing of it has to outlive this process, because clients compare with what they had last.
"""

from __future__ import annotations

from typing import Any

from services.control.watches import Place

SAMPLE_S = 1.5
"""From one sample to the next. Corosync compares its statistics as often."""


class Samples:
    """All that wait for the next sample."""

    def __init__(self) -> None:
        self._waiting: dict[Place, tuple[int, dict[str, Any]]] = {}
        self._next_ns = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def ask(self, place: Place, op: int, arguments: dict[str, Any]) -> None:
        """A client waits; the caller bounds how many do."""
        self._waiting[place] = op, arguments

    def take_due(self, now_ns: int) -> list[tuple[Place, int, dict[str, Any]]]:
        """Those for whom the services are to be asked now: all that wait, or nobody."""
        if not self._waiting or now_ns < self._next_ns:
            return []
        self._next_ns = now_ns + int(SAMPLE_S * 1e9)
        due = [(place, op, arguments) for place, (op, arguments) in self._waiting.items()]
        self._waiting.clear()
        return due

    def next_deadline_ns(self) -> int | None:
        """When `take_due` has somebody."""
        return self._next_ns if self._waiting else None

    def forget(self, gateway: bytes, connection: bytes | None = None) -> None:
        """A gateway is gone, and with it whoever waited there; or one of its clients."""
        for place in [place for place in self._waiting if place[0] == gateway]:
            if connection is None or place[1] == connection:
                del self._waiting[place]
