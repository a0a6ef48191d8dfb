"""Signals to applications: only to processes that certainly belong to one, and with the rights of the owner, not of
root.

A pid is reused once its process was reaped; a signal to it could then reach another process. A pidfd names one process
for good, and from Linux 6.9 on also the group that it leads. On older kernels a group is signalled only while its
leader exists: until the leader is reaped nobody else can get that number.

The group of an application may contain processes of other users: a program that changes its user may have joined it. So
a process that the owner may not signal himself gets no signal through SAM.
"""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

PIDFD_SIGNAL_PROCESS_GROUP = 1 << 2
"""Flag of pidfd_send_signal(2), from Linux 6.9 on."""
NOBODY = 2**32 - 2
"""A user id that no process has. (2**32 - 1 means "unchanged".)"""


def stat_of(pid: int) -> list[bytes]:
    """The fields of /proc/PID/stat from the third on: state, ppid, pgrp, session, ...; empty if it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
        # The name of the program is in parentheses and may contain anything, parentheses included.
        return stat[stat.rindex(b")") + 2 :].split()
    except (OSError, ValueError):
        return []


def start_time_of(pid: int) -> int:
    """When it started, in clock ticks since boot; 0 if it is gone. Pid and start time identify a process for good."""
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
    """Signals in this context are sent with the rights of this user. Raises PermissionError.

    kill(2) checks the effective and the real user of the sender. The effective one becomes the owner. The real one
    becomes nobody: so root's processes are not reached, and the owner cannot signal this process in that moment.
    """
    if os.geteuid() != 0 or uid == 0:
        yield
        return
    before = os.getresuid()
    try:
        os.setresuid(NOBODY, uid, 0)
    except OSError:  # a user namespace without that number
        os.setresuid(uid, uid, 0)
    try:
        yield
    finally:
        os.setresuid(*before)


def signal_group(descriptor: int, pid: int, start_time: int, number: int) -> None:
    """Signal the process group that this pidfd's process leads, if the group is certainly its own. Raises
    ProcessLookupError if nothing is left of it, or that is not certain; PermissionError."""
    try:
        signal.pidfd_send_signal(descriptor, number, None, PIDFD_SIGNAL_PROCESS_GROUP)
    except OSError as error:
        if isinstance(error, (ProcessLookupError, PermissionError)):
            raise
        if start_time_of(pid) != start_time:
            raise ProcessLookupError(pid) from None
        os.killpg(pid, number)
