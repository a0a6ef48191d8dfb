"""Gives the process its CPU, its scheduling class and locked memory, so that it runs in time.

All of this is best effort. What the system refuses is logged in one line, and the node runs without it.
"""

from __future__ import annotations

import ctypes
import logging
import os
import resource
import sys

from rondo.node.logs import notice
from rondo.node.tuning import tune_memory

REALTIME_PRIORITY = 1
"""The lowest of SCHED_RR: above everything that is not real-time, below what the kernel itself needs."""

SWITCH_INTERVAL_SECONDS = 0.0005
"""How long a helper thread may hold the interpreter's lock while the loop waits for it."""

_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4
_log = logging.getLogger("TOTEM")


def tune(cpu_affinity: tuple[int, ...], *, realtime: bool) -> None:
    """Apply what the configuration asks for (system.cpu_affinity, system.sched_rr)."""
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    tune_memory()
    refused: list[str] = []
    if cpu_affinity:
        try:
            os.sched_setaffinity(0, cpu_affinity)
        except (OSError, ValueError) as error:
            refused.append(f"run on CPU {','.join(map(str, cpu_affinity))} ({_why(error)})")
    if realtime:
        refused += _realtime()
    if refused:
        notice(
            _log,
            "The system does not let this process %s; it runs without. Root, CAP_SYS_NICE and CAP_IPC_LOCK, or "
            "system.sched_rr: no, mend that.", " and ".join(refused),
        )  # fmt: skip


def _realtime() -> list[str]:
    refused: list[str] = []
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(REALTIME_PRIORITY))
    except OSError as error:
        refused.append(f"use SCHED_RR ({_why(error)})")
    try:
        _lock_memory()
    except OSError as error:
        refused.append(f"lock its memory ({_why(error)})")
    return refused


def _lock_memory() -> None:
    """mlockall(2) for pages as they come into use: so a thread's stack takes what it uses, not the possible 8 MiB.

    Only if memory locking has no limit: with a limit, allocations would fail later at any place.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if soft != resource.RLIM_INFINITY:
        try:
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        except (OSError, ValueError):
            raise OSError(1, f"RLIMIT_MEMLOCK is {hard} bytes") from None
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _why(error: OSError | ValueError) -> str:
    return getattr(error, "strerror", None) or str(error)
