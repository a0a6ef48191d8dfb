"""The timers of a ring: at most one of each kind. They are deadlines; the host asks for the earliest one."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Timer(StrEnum):
    """Kinds of timers."""

    TOKEN = "token"
    """The token time-out: no token came, so a processor must have failed."""
    TOKEN_RETRANSMIT = "token_retransmit"
    """No sign that the token arrived that was passed on: send it again."""
    TOKEN_HOLD = "token_hold"
    """The representative of an idle ring releases the token."""
    TOKEN_WARNING = "token_warning"
    JOIN = "join"
    """Repeat the join."""
    SEND_JOIN = "send_join"
    """A join that waits for its random delay."""
    CONSENSUS = "consensus"
    MERGE = "merge"
    """Announce this ring to others."""
    SYNC = "sync"
    """The members are out of step in the sync."""
    STANDSTILL = "standstill"
    """The ring that is being formed makes no progress; or the installed one seems to have fallen apart, and no token
    comes."""
    PAUSE = "pause"
    """Notice that this process was not scheduled."""


MS: Final = 1_000_000
"""Nanoseconds in a millisecond."""

NS: Final = 1_000_000_000
"""Nanoseconds in a second."""


class Timers:
    """Deadlines in nanoseconds of the host's clock."""

    __slots__ = ("deadlines_ns",)

    def __init__(self) -> None:
        self.deadlines_ns: dict[Timer, int] = {}

    def start(self, timer: Timer, deadline_ns: int) -> None:
        """Arm the timer, or move its deadline."""
        self.deadlines_ns[timer] = deadline_ns

    def stop(self, *timers: Timer) -> None:
        """Disarm timers. Those that are not armed stay so."""
        for timer in timers:
            self.deadlines_ns.pop(timer, None)

    def stop_all(self) -> None:
        """Disarm every timer."""
        self.deadlines_ns.clear()

    def next_deadline_ns(self) -> int | None:
        """The earliest deadline."""
        return min(self.deadlines_ns.values(), default=None)

    def take_due(self, now_ns: int) -> Timer | None:
        """Disarm and return the timer with the earliest deadline, if it is due; else None."""
        if not self.deadlines_ns:
            return None
        timer = min(self.deadlines_ns, key=self.deadlines_ns.__getitem__)
        if self.deadlines_ns[timer] > now_ns:
            return None
        del self.deadlines_ns[timer]
        return timer
