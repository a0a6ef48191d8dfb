"""Returns memory to the system that a burst has left unused. `tuning` keeps what is used daily.

malloc keeps freed memory, above all small gaps between pieces in use, so a process stays as large as it ever was. A
client that stands still for a third of a second at 70 MB/s is enough to waste 20 MB.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
from pathlib import Path

INTERVAL_S = 5.0
SPARE_BYTES_MAX = 6 * 1024 * 1024
"""A process may be this much larger than its smallest size since memory was last returned, for two checks."""

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def give_back_memory() -> None:
    """Return all unused memory to the system.

    Cycles are collected first: up to 50,000 objects may wait for that (`tuning`), which is much after a crowd of
    clients. malloc_trim(3) is glibc's; nothing happens with other libraries. Both take some milliseconds.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def resident_bytes() -> int:
    """Memory of this process in bytes; 0 where /proc does not tell."""
    try:
        return int(Path("/proc/self/statm").read_bytes().split()[1]) * _PAGE_BYTES
    except (OSError, ValueError, IndexError):
        return 0


class SpareMemory:
    """Checks the memory at intervals. The loop of a service calls `tick`, and wakes at `due_s` at the latest."""

    def __init__(self, now_s: float) -> None:
        self.due_s = now_s + INTERVAL_S
        """When the next check is due, in seconds of the monotonic clock."""
        self._least = 0
        self._was_large = False

    def tick(self, now_s: float) -> None:
        """Checks once every INTERVAL_S, which takes some 10 µs; otherwise does nothing."""
        if now_s >= self.due_s:
            self.due_s = now_s + INTERVAL_S
            self._look()

    def _look(self) -> None:
        size = resident_bytes()
        self._least = min(self._least or size, size)
        is_large = size > self._least + SPARE_BYTES_MAX
        if is_large and self._was_large:
            give_back_memory()
            # The process needs the memory that it still has: it is not to be trimmed again and again.
            self._least = resident_bytes()
            is_large = False
        self._was_large = is_large
