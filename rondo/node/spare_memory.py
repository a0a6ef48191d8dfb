"""Gives memory that a burst has left behind back to the system; what is in daily use stays (`tuning` keeps it).

malloc keeps what was freed, above all what lies between pieces in use: a process stays as large as it ever was.
A client that stands still for a third of a second at 70 MB/s is enough for 20 MB.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
from pathlib import Path

INTERVAL_S = 5.0
SPARE_BYTES_MAX = 6 * 1024 * 1024
"""A process may be so much larger than it was at its smallest, since memory was last given back, for two looks."""

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def give_back_memory() -> None:
    """All that nobody needs now.

    Cycles are collected first: up to 50,000 objects may wait for that (`tuning`), and what is left of a crowd of
    clients is some of each. malloc_trim(3) is glibc's; other libraries do without it. Both take some milliseconds.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def resident_bytes() -> int:
    """Memory of this process; 0 where /proc does not tell."""
    try:
        return int(Path("/proc/self/statm").read_bytes().split()[1]) * _PAGE_BYTES
    except (OSError, ValueError, IndexError):
        return 0


class SpareMemory:
    """Looks now and then; `tick` belongs into the loop of a service, which wakes at `due_s` at the latest."""

    def __init__(self, now_s: float) -> None:
        self.due_s = now_s + INTERVAL_S
        """When it looks again, seconds of the monotonic clock."""
        self._least = 0
        self._was_large = False

    def tick(self, now_s: float) -> None:
        """Nothing, but for a look (some 10 µs) each INTERVAL_S."""
        if now_s >= self.due_s:
            self.due_s = now_s + INTERVAL_S
            self._look()

    def _look(self) -> None:
        size = resident_bytes()
        self._least = min(self._least or size, size)
        is_large = size > self._least + SPARE_BYTES_MAX
        if is_large and self._was_large:
            give_back_memory()
            # What it has now it needs: it is not to be asked for again and again.
            self._least = resident_bytes()
            is_large = False
        self._was_large = is_large
