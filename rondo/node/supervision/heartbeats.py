"""The watchdog inside supervisord: the pipes to the standard input of the services, and SIGKILL."""

import contextlib
import fcntl
import os
import signal
import termios
import time
from pathlib import Path
from typing import Any

from supervisor.states import ProcessStates

from rondo.node.supervision.watchdog import Watchdog

DOING = {b"T": "is stopped by a signal", b"t": "is stopped by a debugger", b"R": "computes", b"D": "waits for a disk"}
"""The kernel's process states in words."""


class Heartbeats:
    """Watches all services of this supervisord."""

    def __init__(self, supervisord: Any, watchdog: Watchdog) -> None:
        self._supervisord = supervisord
        self._watchdog = watchdog
        self._due_s = 0.0

    def start_clock(self) -> None:
        """Make a signal wake supervisord's loop whenever a check is due."""
        signal.signal(signal.SIGALRM, lambda *_: None)
        signal.setitimer(signal.ITIMER_REAL, self._watchdog.look_s, self._watchdog.look_s)

    def look(self) -> None:
        """If a check is due: write to the services that have answered, and kill those that have not for too long."""
        now_s = time.monotonic()
        if now_s < self._due_s:
            return
        self._due_s = now_s + self._watchdog.look_s * 0.9
        services = {each.pid: each for each in self._services()}
        verdict = self._watchdog.look(now_s, {pid: _unread(each) for pid, each in services.items()})
        for pid in verdict.to_ask:
            with contextlib.suppress(OSError):  # it has just died
                os.write(services[pid].pipes["stdin"], b"?")
        for pid in verdict.hung:
            self._kill(services[pid])

    def _services(self) -> list[Any]:
        groups = self._supervisord.process_groups.values()
        return [
            each
            for group in groups
            for each in group.processes.values()
            # A service that is being stopped has a timeout of its own (stopwaitsecs).
            if each.state in (ProcessStates.STARTING, ProcessStates.RUNNING) and each.pid and each.pipes.get("stdin")
        ]

    def _kill(self, process: Any) -> None:
        self._supervisord.options.logger.warn(
            f"{process.config.name} (process {process.pid}) has not moved for {self._watchdog.timeout_s * 1000:.0f} ms "
            f"(system.service_timeout): it {_doing(process.pid)}. It is killed and started again"
        )
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)


def _unread(process: Any) -> bool:
    """True if the byte that was written last is still in the pipe."""
    count = fcntl.ioctl(process.pipes["stdin"], termios.FIONREAD, bytes(4))
    return any(count)


def _doing(pid: int) -> str:
    """The state of a process that hangs, for the log."""
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except (OSError, IndexError):
        return "has gone"
    return DOING.get(state, "waits for something")
