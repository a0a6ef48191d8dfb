"""What waits to be told, what is tried again, and what is given up. No I/O; times are of CLOCK_MONOTONIC, in seconds.

One notice is under way at a time, in the order in which things happened: the next one begins when it has been told or
given up. What comes while the queue is full is dropped, the newest first, and counted: the beginning of a trouble says
more than its thousandth echo.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

WAITING_MAX = 256
ATTEMPTS_MAX = 4
RETRY_S = (1.0, 4.0, 16.0)
"""After each attempt that has failed."""

KINDS: dict[str, tuple[str, ...]] = {
    "node": ("ring.formed", "ring.cannot_form", "node.", "interface."),
    "quorum": ("quorum.",),
    "application": ("application.",),
    "link": ("link.", "path."),
}
"""What can be asked for, and how the names of its events begin."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that happened."""

    seconds: float
    """Since 1970."""
    kind: str
    """One of `KINDS`."""
    event: dict[str, Any]
    """As `rondo events --json` has it."""


def kind_of(name: str) -> str | None:
    """To which kind an event of that name belongs; None: nobody is told of it."""
    for kind, beginnings in KINDS.items():
        if name.startswith(beginnings):
            return kind
    return None


class Queue:
    """The notices that have not been settled."""

    def __init__(self) -> None:
        self._waiting: deque[Notice] = deque()
        self._attempts = 0
        self._not_before_s = 0.0
        self.counters = {"told": 0, "attempts_failed": 0, "given_up": 0, "dropped": 0}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, notice: Notice) -> bool:
        """Have it told; False if there is no room."""
        if len(self._waiting) >= WAITING_MAX:
            self.counters["dropped"] += 1
            return False
        self._waiting.append(notice)
        return True

    def next(self, now_s: float) -> Notice | None:
        """What is to be told now; None if nothing waits, or it is too early to try again."""
        return self._waiting[0] if self._waiting and now_s >= self._not_before_s else None

    @property
    def due_s(self) -> float | None:
        """When `next` will have something; None if nothing waits."""
        return self._not_before_s if self._waiting else None

    def settle(self, now_s: float, *, is_told: bool) -> Notice | None:
        """How an attempt has ended; the notice if that was the last one."""
        self._attempts += 1
        if not is_told:
            self.counters["attempts_failed"] += 1
            if self._attempts < ATTEMPTS_MAX:
                self._not_before_s = now_s + RETRY_S[self._attempts - 1]
                return None
        self.counters["told" if is_told else "given_up"] += 1
        self._attempts, self._not_before_s = 0, 0.0
        return self._waiting.popleft()
