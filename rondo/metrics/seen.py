"""The state of a node at one moment: the answers of its services, and what the kernel says about its processes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from rondo.config import NodeConfig
from rondo.ipc.surveyor import Answers
from rondo.node.supervision import survey
from rondo.node.supervision.processes import Found
from rondo.node.supervision.record import Record

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_STAT_BYTES_MAX = 4096
_UTIME, _STIME, _START, _RSS = 11, 12, 19, 21
"""Fields of /proc/PID/stat, counted from the state, which is the first after the program's name (proc(5))."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process has used so far."""

    cpu_seconds: float
    resident_bytes: int
    started_unix_seconds: float


@dataclass(frozen=True, slots=True)
class Seen:
    """A node at one moment."""

    status: dict[str, Any]
    """As `rondo status --json` has it."""
    answers: dict[str, dict[str, Any]]
    """As `rondo debug` has them, of each service that answered."""
    usage: dict[str, Usage]
    """By the name of the process, supervisord included."""
    config: NodeConfig | None
    """What the node was started with."""


def look(run_dir: Path) -> Seen:
    """Ask the node that runs in this directory. If none runs there, the result says so and little else."""
    return look_with(run_dir, survey.ask_all(run_dir), survey.configuration(run_dir))


def look_with(
    run_dir: Path,
    answers: Answers,
    config: NodeConfig | None,
    running: list[Found] | None = None,
    noted: Record | None = None,
    *,
    with_usage: bool = True,
) -> Seen:
    """The same for a caller that has the answers already, and may know the processes and what supervision has noted.
    Without the usage of processes it takes a third less time."""
    status = survey.status_of(run_dir, answers, config, running, noted)
    pids = {name: each["pid"] for name, each in status["services"].items()}
    pids["supervisord"] = status["supervisor"]["pid"]
    usage = {} if not with_usage else {name: found for name, pid in pids.items() if pid and (found := usage_of(pid))}
    return Seen(status, {name: each for name, each in answers.items() if each is not None}, usage, config)


def usage_of(pid: int) -> Usage | None:
    """What a process has used, by /proc. None if the process is gone."""
    try:
        descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)  # half the price of a file object
        try:
            fields = os.read(descriptor, _STAT_BYTES_MAX).rpartition(b")")[2].split()
        finally:
            os.close(descriptor)
        ticks = int(fields[_UTIME]) + int(fields[_STIME])
        started = _boot_unix_seconds() + int(fields[_START]) / _TICKS
        return Usage(ticks / _TICKS, int(fields[_RSS]) * _PAGE_BYTES, started)
    except (OSError, ValueError, IndexError):
        return None


@cache
def _boot_unix_seconds() -> int:
    """When the machine was started. The kernel writes much into that file, so it is read once. Raises OSError,
    ValueError."""
    for line in Path("/proc/stat").read_bytes().splitlines():
        if line.startswith(b"btime "):
            return int(line.split()[1])
    raise ValueError("/proc/stat has no btime")
