"""Signals to applications: only to what is certain to be one, and with the rights of its owner, not of root.

A process number is used again once its process was reaped; who signals it then signals somebody else. A pidfd names
one process for good, and from Linux 6.9 on also the group that bears its number. Before that a group is signalled only
while its leader is there: until it is reaped nobody else can get that number.

What is in the group of an application need not be its owner's: a program that changes its user may have joined it. What
the owner may not signal himself he gets no signal to through SAM.
"""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

PIDFD_SIGNAL_PROCESS_GROUP = 1 << 2
"""Flag of pidfd_send_signal(2), from Linux 6.9 on."""
NOBODY = 2**32 - 2
"""A user number that no process has. (2**32 - 1 means "unchanged".)"""


def stat_of(pid: int) -> list[bytes]:
    """The fields of /proc/PID/stat from the third on: state, ppid, pgrp, session, ...; empty if it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
        # The name of the program stands in parentheses and may hold anything, these included.
        return stat[stat.rindex(b")") + 2 :].split()
    except (OSError, ValueError):
        return []


def start_time_of(pid: int) -> int:
    """When it started, in clock ticks since boot; 0 if it is gone. With the pid it names a process for good."""
    stat = stat_of(pid)
    return int(stat[19]) if stat else 0


def user_of(pid: int) -> int:
    """The real user of a process: who started it, whatever rights its program has; -1 if it is gone."""
    try:
        for line in Path(f"/proc/{pid}/status").read_bytes().splitlines():
            if line.startswith(b"Uid:"):
                return int(line.split()[1])
    except (OSError, ValueError, IndexError):
        pass
    return -1


@contextlib.contextmanager
def rights_of(uid: int) -> Iterator[None]:
    """Signals that are sent meanwhile are sent with the rights of this user. Raises PermissionError.

    kill(2) looks at the effective and at the real user of who sends. The effective one becomes the owner; the real one
    becomes nobody, so that neither root's processes are reached, nor this process by the owner in that moment.
    """
    if os.geteuid() != 0 or uid == 0:
        yield
        return
    before = os.getresuid()
    try:
        os.setresuid(NOBODY, uid, 0)
    except OSError:  # a user namespace that does not have that number
        os.setresuid(uid, uid, 0)
    try:
        yield
    finally:
        os.setresuid(*before)


def signal_group(descriptor: int, pid: int, start_time: int, number: int) -> None:
    """Signal the process group that bears the number of this pidfd's process, if that is certain to be its own.
    Raises ProcessLookupError if nothing is left of it, or that is not certain; PermissionError."""
    try:
        signal.pidfd_send_signal(descriptor, number, None, PIDFD_SIGNAL_PROCESS_GROUP)
    except OSError as error:
        if isinstance(error, (ProcessLookupError, PermissionError)):
            raise
        if start_time_of(pid) != start_time:
            raise ProcessLookupError(pid) from None
        os.killpg(pid, number)
