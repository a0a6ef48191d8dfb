"""What every service does for speed at its start: keep freed memory, and exempt old objects from garbage collection."""

from __future__ import annotations

import contextlib
import ctypes
import gc

KEPT_BYTES = 32 * 1024 * 1024
"""How much free memory malloc keeps for the next use, and the block size from which on it asks the system directly
(glibc's limit)."""

COLLECT_AFTER_OBJECTS = 50_000
"""After this many new objects, less those freed, the cycle collector runs (CPython: 700)."""

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3


def tune_memory() -> None:
    """Call it once everything is imported.

    By default glibc's malloc returns blocks of more than 128 KiB to the system at once. An envelope of the bus has
    about 256 KiB. Each would cost a page fault for every 4 KiB, twice as much as copying it. Imported objects live for
    ever, so the collector need not look at them. Nearly all objects that a message needs are freed by reference
    counting. With another malloc nothing is changed.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER_OBJECTS)
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, KEPT_BYTES)
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(_M_TOP_PAD, 1024 * 1024)
