"""The processes of a node, found in /proc: also those whose supervisord was killed, and never anybody else's.

What `rondo start` starts carries a mark in its environment, which its children inherit and which nobody can lose:
RONDO_SUPERVISED, the real path of the run directory. A process belongs to the node if it has this mark and runs
supervisord, one of the services, or the keeper of SAM's applications. A service that somebody started by hand does not
have it and is left alone. The applications themselves are known by what SAM writes into their environment.
"""

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

MARK = "RONDO_SUPERVISED"
SUPERVISORD = "supervisord"
KEEPER = "keeper"
"""The parent of the applications that SAM has started (services/sam/keeper)."""

OTHERS = (("rondo.node.supervision", SUPERVISORD), ("services.sam", KEEPER))
"""Package and name of the processes of a node that are not services."""


@dataclass(frozen=True, slots=True)
class Found:
    """A process of a node: `supervisord`, `keeper`, or the name of a service."""

    name: str
    pid: int


def mark(run_dir: Path) -> str:
    """What the environment of the node's processes holds."""
    return os.path.realpath(run_dir)


def find(run_dir: Path) -> list[Found]:
    """The node's processes that run now, in the order of their pids."""
    wanted = os.fsencode(f"{MARK}={mark(run_dir)}")
    all_found = [found for pid in _pids() if (found := _look_at(pid, wanted))]
    names = {each.pid: each.name for each in all_found}
    if len(set(names.values())) == len(names):
        return all_found
    # What one of them has just forked off is a copy of it until it becomes what it is for: supervisord's a service,
    # SAM's the keeper, and the keeper's an application.
    return [each for each in all_found if names.get(_parent(each.pid)) != each.name]


def find_one(run_dir: Path, name: str) -> Found | None:
    """The node's process of that name that runs now."""
    return next((found for found in find(run_dir) if found.name == name), None)


def find_applications(run_dir: Path) -> list[int]:
    """The pids of all processes that SAM's applications on this node consist of."""
    return [pid for pid in _pids() if _is_application(pid, mark(run_dir))]


def _is_application(pid: int, directory: str) -> bool:
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
    sockets = [os.fsdecode(each[19:]) for each in environment if each.startswith(b"RONDO_SOCKET=ipc://")]
    is_managed = any(each.startswith((b"RONDO_SAM_ID=", b"RONDO_SAM_CHECK=")) for each in environment)
    return is_managed and any(os.path.realpath(os.path.dirname(each)) == directory for each in sockets)


def _pids() -> list[int]:
    return sorted(int(entry) for entry in os.listdir("/proc") if entry.isdecimal())


def _look_at(pid: int, wanted: bytes) -> Found | None:
    try:
        name = _role(Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"))
        if name is None or wanted not in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            return None
    except OSError:  # gone meanwhile, or another user's
        return None
    return Found(name, pid)


def _parent(pid: int) -> int:
    """The process that started it; 0 if it has gone."""
    try:
        # The name of the program stands in parentheses and may hold anything, these included.
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0


def _role(argv: list[bytes]) -> str | None:
    """`services.NAME`, `services.sam.keeper` or `rondo.node.supervision.supervisord` after -m, as its short name."""
    with contextlib.suppress(ValueError, IndexError):
        package, _, name = argv[argv.index(b"-m") + 1].decode(errors="replace").rpartition(".")
        if package == "services" or (package, name) in OTHERS:
            return name
    return None


class Grip:
    """Hold on a process: signals reach it and no other that has got its number since (pidfd_open(2))."""

    def __init__(self, run_dir: Path, found: Found) -> None:
        """Raises ProcessLookupError if it has gone."""
        self.found = found
        self._descriptor = os.pidfd_open(found.pid)
        # Only now is it certain that the number means the process that was found.
        if _look_at(found.pid, os.fsencode(f"{MARK}={mark(run_dir)}")) != found:
            os.close(self._descriptor)
            raise ProcessLookupError(f"process {found.pid} has gone")

    def send(self, number: int) -> None:
        """Send a signal; nothing happens if the process has ended."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._descriptor, number)

    def wait(self, seconds: float) -> bool:
        """Wait for its end; False if it still runs after so long."""
        return bool(select.select([self._descriptor], [], [], max(0.0, seconds))[0])

    def close(self) -> None:
        """Let go."""
        os.close(self._descriptor)


def grips(run_dir: Path, all_found: Iterable[Found]) -> list[Grip]:
    """Hold on those of them that still run."""
    held = []
    for found in all_found:
        with contextlib.suppress(ProcessLookupError):
            held.append(Grip(run_dir, found))
    return held


def end(held: Iterable[Grip], seconds: float) -> list[str]:
    """Ask these processes to end, kill them after so many seconds; returns the names of those that were killed."""
    held = list(held)
    for grip in held:
        grip.send(signal.SIGTERM)
        grip.send(signal.SIGCONT)  # one that was stopped would not hear
    deadline = time.monotonic() + seconds
    killed = []
    for grip in held:
        if not grip.wait(deadline - time.monotonic()):
            grip.send(signal.SIGKILL)
            grip.wait(seconds)
            killed.append(grip.found.name)
        grip.close()
    return killed
