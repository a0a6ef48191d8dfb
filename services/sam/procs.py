"""What the kernel says of processes: who leads their session, whether they live, how they were started."""

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from services.sam.application import Command

UMASK_DEFAULT = 0o022


def is_alive(pid: int, start_time: int) -> bool:
    """Whether that very process lives; a zombie does not."""
    stat = _stat(pid)
    return bool(stat) and stat[0] not in (b"Z", b"X") and int(stat[19]) == start_time


def start_time_of(pid: int) -> int:
    """When it started, in clock ticks since boot; 0 if it is gone. With the pid it names a process for good."""
    stat = _stat(pid)
    return int(stat[19]) if stat else 0


def session_of(pid: int) -> int:
    """The pid of its session's leader; 0 if it is gone."""
    stat = _stat(pid)
    return int(stat[3]) if stat else 0


def leads_its_group(pid: int) -> bool:
    """Whether its process group bears its number."""
    stat = _stat(pid)
    return bool(stat) and int(stat[2]) == pid


def _stat(pid: int) -> list[bytes]:
    """The fields of /proc/PID/stat from the third on: state, ppid, pgrp, session, ..."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
        return stat[stat.rindex(b")") + 2 :].split()
    except (OSError, ValueError):
        return []


def marked(marks: set[bytes]) -> Iterator[int]:
    """Leaders of sessions that have all of these in their environment."""
    for entry in os.listdir("/proc"):
        if entry.isdecimal() and session_of(int(entry)) == int(entry):
            with contextlib.suppress(OSError):
                if marks <= set(Path(f"/proc/{entry}/environ").read_bytes().split(b"\0")):
                    yield int(entry)


def command_of(pid: int) -> Command:
    """How to start such a process again: by its own command line, environment and directory. Raises OSError."""
    place = Path(f"/proc/{pid}")
    arguments = (place / "cmdline").read_bytes().split(b"\0")[:-1]
    environment = [each for each in (place / "environ").read_bytes().split(b"\0") if b"=" in each]
    directory = os.fsencode((place / "cwd").readlink())
    umask = UMASK_DEFAULT
    for line in (place / "status").read_bytes().splitlines():
        if line.startswith(b"Umask:"):
            umask = int(line.split()[1], 8)
    executed = os.fsencode((place / "exe").readlink())
    if not arguments:
        arguments = [executed]
    return Command(_program(arguments[0], executed, directory, environment), arguments, directory, environment, umask)


def _program(name: bytes, executed: bytes, directory: bytes, environment: list[bytes]) -> bytes:
    """What it calls itself, if that leads to what it executes: an interpreter finds its environment by that name."""
    path = next((os.fsdecode(each[5:]) for each in environment if each.startswith(b"PATH=")), os.defpath)
    looked_up = None if b"/" in name else shutil.which(os.fsdecode(name), path=path)
    found = os.path.join(directory, name) if looked_up is None else os.fsencode(looked_up)
    if os.path.realpath(found) == executed and os.access(found, os.X_OK):
        return found
    return executed


class Watch:
    """A process that is not a child of the keeper, held by a pidfd: signals reach it and no other."""

    def __init__(self, pid: int, start_time: int) -> None:
        """Raises ProcessLookupError if it is gone."""
        self.pid = pid
        self.descriptor = os.pidfd_open(pid)
        if not is_alive(pid, start_time):
            os.close(self.descriptor)
            raise ProcessLookupError(pid)

    def send(self, number: int, *, to_group: bool) -> None:
        """Send a signal to it, or to its process group, which bears its number as long as it is not reaped."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            signal.pidfd_send_signal(self.descriptor, signal.Signals(number))
            if to_group:
                os.killpg(self.pid, number)

    def kill_group(self) -> None:
        """It has died: what it has left in its group dies too."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Let go."""
        os.close(self.descriptor)


def started_unix_time(start_time: int) -> float:
    """When a process with this start time was started, by the clock on the wall."""
    up_s = time.clock_gettime(time.CLOCK_BOOTTIME) - start_time / os.sysconf("SC_CLK_TCK")
    return time.time() - max(0.0, up_s)
