"""What every service does for speed when it starts: memory that was freed is kept, and old objects are left alone."""

from __future__ import annotations

import contextlib
import ctypes
import gc

KEPT_BYTES = 32 * 1024 * 1024
"""Free memory that malloc keeps for the next use, and the size from which on it asks the system for a block by itself
(glibc takes no more)."""

COLLECT_AFTER_OBJECTS = 50_000
"""Objects made, less those freed, after which the collector of cycles looks at them (CPython: 700)."""

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3


def tune_memory() -> None:
    """Call it once everything is imported.

    By itself glibc's malloc gives blocks of more than 128 KiB back to the system at once, and an envelope of the bus
    has about 256 KiB: every one of them would be paid for with a page fault for each 4 KiB, twice what it costs to copy
    it. What was imported lives for ever, so the collector need not look at it; and nearly all that is made on the way
    of a message is freed by its count. Where there is another malloc nothing is changed.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER_OBJECTS)
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, KEPT_BYTES)
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(_M_TOP_PAD, 1024 * 1024)
