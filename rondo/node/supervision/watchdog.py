"""Keeps `system.service_timeout`: finds the services that do not move, whether they are stopped, spin or wait.

supervisord holds a pipe to the standard input of every service. Twice a second a byte is written into each that is
empty, and the service's loop reads it when it comes round. A byte that stays unread for the time-out belongs to a
service that did not come round. It costs a service nothing on the way of a message: its loop polls one descriptor more.

A machine or container that was suspended as a whole kills nobody. The watchdog stood still then, too: it looks later
than it wanted to, and that time does not count against anybody.
"""

from __future__ import annotations

from dataclasses import dataclass

LOOK_S_MAX = 0.5
LOOKS_PER_TIMEOUT = 4

START_S_MAX = 30.0
"""A service that has not read anything yet is still being started; on a busy machine Python takes its time."""


@dataclass(slots=True)
class _Pulse:
    asked_s: float | None = None
    """When the byte was written that has not been read; None: all have been."""
    is_started: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one look has found."""

    to_ask: list[int]
    """Processes into whose pipe a byte is to be written now."""
    hung: list[int]
    """Processes that are to be killed."""


class Watchdog:
    """Times are of CLOCK_MONOTONIC, in seconds."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self.look_s = min(LOOK_S_MAX, timeout_s / LOOKS_PER_TIMEOUT)
        """Time between two looks."""
        self._pulses: dict[int, _Pulse] = {}
        self._looked_s: float | None = None

    def look(self, now_s: float, unread: dict[int, bool]) -> Verdict:
        """`unread`: by process, whether its pipe still holds a byte. Who is no longer in it is forgotten."""
        self._forgive(now_s)
        verdict = Verdict([], [])
        pulses = {pid: self._pulses.get(pid) or _Pulse() for pid in unread}
        for pid, pulse in pulses.items():
            if not unread[pid]:
                pulse.is_started = pulse.is_started or pulse.asked_s is not None
                pulse.asked_s = now_s
                verdict.to_ask.append(pid)
            elif pulse.asked_s is not None and now_s - pulse.asked_s >= self._patience_s(pulse):
                verdict.hung.append(pid)
                pulse.asked_s = now_s  # one that a kill does not end (it waits for a disk) is told of once a time-out
        self._pulses = pulses
        return verdict

    def _patience_s(self, pulse: _Pulse) -> float:
        return self.timeout_s if pulse.is_started else max(self.timeout_s, START_S_MAX)

    def _forgive(self, now_s: float) -> None:
        """The time by which this look comes late is nobody's fault."""
        if self._looked_s is not None:
            late_s = now_s - self._looked_s - self.look_s
            if late_s > 0:
                for pulse in self._pulses.values():
                    if pulse.asked_s is not None:
                        pulse.asked_s += late_s
        self._looked_s = now_s
