"""Checks of the machine's resources for a node: disk space, buffers, real-time scheduling, compiled code."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

from rondo.doctor.finding import Finding, fault, ok, warn
from rondo.doctor.subject import Subject
from rondo.node import compiled
from rondo.node.supervision.launch import FILES_MIN

ROOM_BYTES_MIN = 4 * 1024 * 1024
"""With less space a node does not start, or soon loses log lines."""
ROOM_BYTES_GOOD = 128 * 1024 * 1024
INODES_MIN = 64

BUFFER_BYTES = 32 * 65536
"""The receive and send buffers that the ring process asks for."""
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_BUFFERS = (
    ("rmem_max", "receive", (socket.SO_RCVBUF, _SO_RCVBUFFORCE)),
    ("wmem_max", "send", (socket.SO_SNDBUF, _SO_SNDBUFFORCE)),
)
DGRAM_QUEUE_MIN = 64
"""Lines that may wait for syslog. Distributions set 10 or 512."""
RUNTIME_SHARE_MIN = 0.5

_SYS = Path("/proc/sys")


def sysctl(name: str) -> int | None:
    """A kernel setting; None if it is not visible."""
    try:
        return int(_SYS.joinpath(*name.split(".")).read_text())
    except (OSError, ValueError):
        return None


def disk(subject: Subject) -> Iterator[Finding]:
    """Check that the directories that the node writes to have space."""
    config = subject.config
    places = {"run directory": subject.run_dir}
    if config is not None:
        places["state directory"] = Path(config.state_dir)
        for settings in config.logging.values():
            if settings.to_logfile and settings.logfile:
                places[f"log {settings.logfile}"] = Path(settings.logfile).parent
    found = False
    for what, path in places.items():
        there = next(each for each in (path, *path.parents) if each.exists())
        for finding in _room(what, there):
            found = True
            yield finding
    if not found:
        yield ok("disk", "there is room where the node writes", ", ".join(map(str, places.values())))


def _room(what: str, path: Path) -> Iterator[Finding]:
    room = os.statvfs(path)
    free = room.f_bavail * room.f_frsize
    if not os.access(path, os.W_OK | os.X_OK) or room.f_flag & os.ST_RDONLY:
        mend = "run as the user that it belongs to, or name another directory"
        yield fault("disk", f"the {what} is not writable", str(path), mend)
    elif free < ROOM_BYTES_MIN:
        yield fault("disk", f"the {what} has {free // 1024} KiB free", str(path), "make room there")
    elif room.f_files and room.f_favail < INODES_MIN:
        yield fault("disk", f"the {what} has room for {room.f_favail} more files", str(path), "remove files there")
    elif free < ROOM_BYTES_GOOD:
        yield warn("disk", f"the {what} has {free // 2**20} MiB free", str(path), "make room there")


def kernel(subject: Subject) -> Iterator[Finding]:
    """Check socket buffers, the queue to syslog, open files, and packets that the kernel has dropped."""
    found = []
    for name, what, options in _BUFFERS:
        granted = granted_bytes(*options)
        if granted < BUFFER_BYTES:
            said = f"the {what} buffer of the ring may have {granted} bytes, and {BUFFER_BYTES} are wanted"
            mend = f"sysctl -w net.core.{name}={BUFFER_BYTES}, or give the node CAP_NET_ADMIN"
            found.append(warn("kernel", said, f"net.core.{name}", mend))
    queue = sysctl("net.unix.max_dgram_qlen")
    logs = subject.config.logging.values() if subject.config is not None else ()
    if queue is not None and queue < DGRAM_QUEUE_MIN and any(each.to_syslog for each in logs):
        said = f"only {queue} lines may wait for syslog; more are lost when there is much to say"
        found.append(warn("kernel", said, "net.unix.max_dgram_qlen", "sysctl -w net.unix.max_dgram_qlen=512"))
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if files != resource.RLIM_INFINITY and files < FILES_MIN:
        said = f"this user may have {files} open files, and a node needs {FILES_MIN}"
        found.append(fault("kernel", said, "ulimit -n", "raise it, or LimitNOFILE= of systemd"))
    dropped = ((subject.totem or {}).get("counters") or {}).get("rx_dropped_by_kernel", 0)
    if dropped:
        said = f"the kernel has dropped {dropped} packets because the receive buffer was full"
        found.append(warn("kernel", said, "totem", f"run as root, or sysctl -w net.core.rmem_max={4 * BUFFER_BYTES}"))
    yield from found
    if not found:
        yield ok("kernel", "buffers and limits are as large as they need to be")


def granted_bytes(plain: int, forced: int) -> int:
    """The size of the buffer that the ring process would get: the limit holds for everybody without CAP_NET_ADMIN, root
    in a container among them."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.setsockopt(socket.SOL_SOCKET, forced, BUFFER_BYTES)
        except PermissionError:
            probe.setsockopt(socket.SOL_SOCKET, plain, BUFFER_BYTES)
        return probe.getsockopt(socket.SOL_SOCKET, plain) // 2  # the kernel doubles what it grants (socket(7))


def realtime(subject: Subject) -> Iterator[Finding]:
    """Check that the kernel grants `system.sched_rr` and does not throttle it."""
    config = subject.config
    if config is None or not config.sched_rr:
        yield ok("realtime", "system.sched_rr is off: the ring process runs like any other")
        return
    runtime, period = sysctl("kernel.sched_rt_runtime_us"), sysctl("kernel.sched_rt_period_us")
    if runtime is not None and period and 0 <= runtime < RUNTIME_SHARE_MIN * period:
        said = f"real-time processes get {runtime} us of every {period} us, and then stand still"
        mend = "sysctl -w kernel.sched_rt_runtime_us=950000, or write sched_rr: no"
        yield fault("realtime", said, "kernel.sched_rt_runtime_us", mend)
        return
    pid = (subject.totem or {}).get("pid")
    if pid is not None and os.sched_getscheduler(pid) != os.SCHED_RR:
        mend = "start it as root, with CAP_SYS_NICE, or with LimitRTPRIO= of systemd; or write sched_rr: no"
        yield warn("realtime", "the ring process was not granted SCHED_RR", f"process {pid}", mend)
    elif pid is None and os.geteuid() != 0 and not resource.getrlimit(resource.RLIMIT_RTPRIO)[1]:
        mend = "start it as root, or raise ulimit -r; or write sched_rr: no"
        yield warn("realtime", "this user may not have SCHED_RR", "ulimit -r", mend)
    else:
        yield ok("realtime", "SCHED_RR can be had, and is not throttled")


def code(subject: Subject) -> Iterator[Finding]:
    """Check that the hot modules run compiled, if they were compiled."""
    pid = (subject.totem or {}).get("pid")
    where = str(compiled.ROOT / compiled.path_of(compiled.LIBRARY, compiled.SUFFIX))
    if not compiled.is_there():
        yield ok("compiled", "the hot modules run from source; a compiled wheel saves a fifth to a third of their time")
    elif not compiled.is_of_its_source():
        what = "the compiled modules, which are what runs, are of other source than lies beside them"
        yield warn("compiled", what, where, "install Rondo anew")
    elif pid is not None and _maps_the_library(pid) is False:
        what = "the node runs from source, although there are compiled modules"
        yield warn("compiled", what, f"process {pid}", "rondo stop and rondo start")
    else:
        yield ok("compiled", "the hot modules are compiled", where)


def _maps_the_library(pid: int) -> bool | None:
    """True if the process has loaded the compiled modules. None if this user may not see it."""
    try:
        mapped = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return compiled.path_of(compiled.LIBRARY, compiled.SUFFIX).name in mapped
