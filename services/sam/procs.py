"""What the kernel tells about processes: their session leader, whether they live, how they were started."""

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from services.sam.application import Command
from services.sam.signals import stat_of, user_of

UMASK_DEFAULT = 0o022


def is_alive(pid: int, start_time: int) -> bool:
    """True if that very process lives and is no zombie."""
    stat = stat_of(pid)
    return bool(stat) and stat[0] not in (b"Z", b"X") and int(stat[19]) == start_time


def session_of(pid: int) -> int:
    """The pid of its session leader; 0 if it is gone."""
    stat = stat_of(pid)
    return int(stat[3]) if stat else 0


def leads_its_group(pid: int) -> bool:
    """True if it leads its process group."""
    stat = stat_of(pid)
    return bool(stat) and int(stat[2]) == pid


def users_of(pid: int) -> set[int]:
    """Its user ids: real, effective, saved, file system; none if it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_bytes()
        return set(map(int, status.partition(b"\nUid:")[2].split(b"\n", 1)[0].split()))
    except (OSError, ValueError):
        return set()


def marked(socket_mark: bytes, prefix: bytes, uid: int) -> Iterator[tuple[int, set[bytes]]]:
    """Session leaders of this user with this mark in their environment, and the variables there that begin with
    `prefix`.

    Every user can write anything into the environment of his own processes, so it tells nothing about another user's.
    """
    for entry in os.listdir("/proc"):
        if entry.isdecimal() and session_of(int(entry)) == int(entry) and user_of(int(entry)) == uid:
            with contextlib.suppress(OSError):
                environment = set(Path(f"/proc/{entry}/environ").read_bytes().split(b"\0"))
                if socket_mark in environment:
                    yield int(entry), {each for each in environment if each.startswith(prefix)}


def command_of(pid: int) -> Command:
    """How to start such a process again: its command line, environment and directory. Raises OSError."""
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
    """The name by which it was called, if that leads to the executed file: an interpreter finds its environment by that
    name."""
    path = next((os.fsdecode(each[5:]) for each in environment if each.startswith(b"PATH=")), os.defpath)
    looked_up = None if b"/" in name else shutil.which(os.fsdecode(name), path=path)
    found = os.path.join(directory, name) if looked_up is None else os.fsencode(looked_up)
    if os.path.realpath(found) == executed and os.access(found, os.X_OK):
        return found
    return executed


def started_unix_time(start_time: int) -> float:
    """When a process with this start time was started, in wall-clock time."""
    up_s = time.clock_gettime(time.CLOCK_BOOTTIME) - start_time / os.sysconf("SC_CLK_TCK")
    return time.time() - max(0.0, up_s)
