"""Enforces `system.service_timeout`: finds services that hang, whether they are stopped, spin or block.

supervisord holds a pipe to the standard input of every service. Almost every second it writes a byte into each empty
pipe. The service's loop reads it in its next turn. If a byte stays unread for the timeout, the loop did not turn. This
adds nothing to the path of a message: the loop polls one descriptor more.

The suspension of a whole machine or container kills no service. The watchdog stood still then, too: its check comes
late, and the delay does not count against any service.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

LOOK_S_MAX = 0.9
"""Each look wakes every service of the node. Looks every half a second were a third of the processor time of an idle
node (0.62 % of a core, 0.5 % is the aim)."""
LOOKS_PER_TIMEOUT_MIN = 4

LATE_SHARE = 0.02
LATE_S_MAX = 0.1
"""The last look within a time-out comes this much after it. Looks that come exactly with it would find a service that
hangs just before or just after, by chance, and then one look later."""

START_S_MAX = 30.0
"""A service that has not read anything yet is still starting. On a busy machine Python takes its time."""


@dataclass(slots=True)
class _Pulse:
    asked_s: float | None = None
    """When the unread byte was written; None: all were read."""
    is_started: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of one check."""

    to_ask: list[int]
    """Processes into whose pipe a byte is to be written now."""
    hung: list[int]
    """Processes that are to be killed."""


class Watchdog:
    """Times are of CLOCK_MONOTONIC, in seconds."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self.look_s = _look_s(timeout_s)
        """Time between two looks."""
        self._pulses: dict[int, _Pulse] = {}
        self._looked_s: float | None = None

    def look(self, now_s: float, unread: dict[int, bool]) -> Verdict:
        """`unread`: by process, whether its pipe still holds a byte. Processes that are missing from it are
        forgotten."""
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
                pulse.asked_s = now_s  # if a kill does not end it (waiting for a disk): reported once per timeout
        self._pulses = pulses
        return verdict

    def _patience_s(self, pulse: _Pulse) -> float:
        return self.timeout_s if pulse.is_started else max(self.timeout_s, START_S_MAX)

    def _forgive(self, now_s: float) -> None:
        """The delay of this check counts against no service."""
        if self._looked_s is not None:
            late_s = now_s - self._looked_s - self.look_s
            if late_s > 0:
                for pulse in self._pulses.values():
                    if pulse.asked_s is not None:
                        pulse.asked_s += late_s
        self._looked_s = now_s


def _look_s(timeout_s: float) -> float:
    """The time between two looks, at most LOOK_S_MAX, such that a whole number of them is just over the time-out."""
    until_hung_s = timeout_s + min(LATE_SHARE * timeout_s, LATE_S_MAX)
    return until_hung_s / max(LOOKS_PER_TIMEOUT_MIN, math.ceil(until_hung_s / LOOK_S_MAX))
