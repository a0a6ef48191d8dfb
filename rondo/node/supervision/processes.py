"""The processes of a node, found in /proc: also those whose supervisord was killed, and never anybody else's.

`rondo start` puts a mark into the environment of what it starts, and children inherit it: RONDO_SUPERVISED, the real
path of the run directory. A process belongs to the node if it has this mark and runs supervisord, one of the services,
or the keeper of SAM's applications. A service that was started by hand has no mark and is left alone.

SAM's applications are recognised by variables that SAM puts into their environment. Any user may put these into the
environment of his own programs. So they count only for processes of the user who owns the application.
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
APPLICATION_MARKS = (b"RONDO_SAM_ID=", b"RONDO_SAM_CHECK=")

OTHERS = (("rondo.node.supervision", SUPERVISORD), ("services.sam", KEEPER))
"""Package and name of the node's processes that are not services."""


@dataclass(frozen=True, slots=True)
class Found:
    """A process of a node: `supervisord`, `keeper`, or the name of a service."""

    name: str
    pid: int


def mark(run_dir: Path) -> str:
    """The value of the mark in the environment of the node's processes."""
    return os.path.realpath(run_dir)


def find(run_dir: Path) -> list[Found]:
    """The node's running processes, in the order of their pids."""
    wanted = os.fsencode(f"{MARK}={mark(run_dir)}")
    all_found = [found for pid in _pids() if (found := _look_at(pid, wanted))]
    names = {each.pid: each.name for each in all_found}
    if len(set(names.values())) == len(names):
        return all_found
    # A process that one of them has just forked is a copy of its parent until it executes its own program: a child of
    # supervisord becomes a service, a child of SAM the keeper, a child of the keeper an application.
    return [each for each in all_found if names.get(_parent(each.pid)) != each.name]


def find_one(run_dir: Path, name: str) -> Found | None:
    """The node's running process of that name; None if there is none."""
    return next((found for found in find(run_dir) if found.name == name), None)


def find_applications(run_dir: Path) -> list[int]:
    """The pids of all processes of SAM's applications on this node."""
    return [pid for pid in _pids() if _is_application(pid, run_dir)]


def kill_applications(run_dir: Path) -> bool:
    """Kill (SIGKILL) all processes of SAM's applications on this node. False if there were none."""
    found = find_applications(run_dir)
    for pid in found:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            descriptor = os.pidfd_open(pid)
            try:
                # Only after pidfd_open is it certain that the pid still means the process that was found.
                if _is_application(pid, run_dir):
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            finally:
                os.close(descriptor)
    return bool(found)


def _is_application(pid: int, run_dir: Path) -> bool:
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
    sockets = [os.fsdecode(each[19:]) for each in environment if each.startswith(b"RONDO_SOCKET=ipc://")]
    names = [each.partition(b"=")[2] for each in environment if each.startswith(APPLICATION_MARKS)]
    if not any(os.path.realpath(os.path.dirname(each)) == mark(run_dir) for each in sockets):
        return False
    user = _user_of(pid)
    return any(_owner_of(run_dir, os.fsdecode(name)) == user for name in names)


def _owner_of(run_dir: Path, application_id: str) -> int | None:
    """The user id of the application's owner; None if there is no such application."""
    try:
        return (run_dir / "sam" / f"{os.path.basename(application_id)}.out").lstat().st_uid
    except (OSError, ValueError):
        return None


def _user_of(pid: int) -> int:
    """The user id of a process; -1 if it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_bytes()
        return int(status.partition(b"\nUid:")[2].split(None, 1)[0])
    except (OSError, ValueError, IndexError):
        return -1


def _pids() -> list[int]:
    return sorted(int(entry) for entry in os.listdir("/proc") if entry.isdecimal())


def _look_at(pid: int, wanted: bytes) -> Found | None:
    try:
        argv = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        name = _role(argv)
        if name is None or not _has_mark(pid, argv, wanted):
            return None
    except OSError:  # gone meanwhile, or another user's
        return None
    return Found(name, pid)


def _has_mark(pid: int, argv: list[bytes], wanted: bytes) -> bool:
    """True if this mark is in the environment of the process. Raises OSError.

    A service does not let other processes of its user read its memory, which includes its environment. It is then
    recognised by its command line, which names the run directory twice (`launch`), and by its user.
    """
    try:
        return wanted in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except PermissionError:
        if _user_of(pid) != os.getuid():
            raise
        with contextlib.suppress(ValueError, IndexError):
            run_dir = Path(os.fsdecode(argv[argv.index(b"--run-dir") + 1]))
            resolved = Path(os.fsdecode(argv[argv.index(b"--resolved") + 1]))
            return os.fsencode(f"{MARK}={mark(run_dir)}") == wanted and resolved.parent == run_dir
        return False


def _parent(pid: int) -> int:
    """The parent process id; 0 if the process is gone."""
    try:
        # The name of the program is in parentheses and may contain anything, parentheses included.
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0


def _role(argv: list[bytes]) -> str | None:
    """The short name of `services.NAME`, `services.sam.keeper` or `rondo.node.supervision.supervisord` after -m."""
    with contextlib.suppress(ValueError, IndexError):
        package, _, name = argv[argv.index(b"-m") + 1].decode(errors="replace").rpartition(".")
        if package == "services" or (package, name) in OTHERS:
            return name
    return None


class Grip:
    """A pidfd: signals reach this process, and never a later one with the same pid (pidfd_open(2))."""

    def __init__(self, run_dir: Path, found: Found) -> None:
        """Raises ProcessLookupError if the process has ended."""
        self.found = found
        self._descriptor = os.pidfd_open(found.pid)
        # Only after pidfd_open is it certain that the pid still means the process that was found.
        if _look_at(found.pid, os.fsencode(f"{MARK}={mark(run_dir)}")) != found:
            os.close(self._descriptor)
            raise ProcessLookupError(f"process {found.pid} has gone")

    def send(self, number: int) -> None:
        """Send a signal; nothing happens if the process has ended."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._descriptor, number)

    def wait(self, seconds: float) -> bool:
        """Wait for its end. False if it still runs after this time."""
        return bool(select.select([self._descriptor], [], [], max(0.0, seconds))[0])

    def fileno(self) -> int:
        """The pidfd, which is readable when the process has ended."""
        return self._descriptor

    def close(self) -> None:
        """Close the pidfd."""
        os.close(self._descriptor)


def grips(run_dir: Path, all_found: Iterable[Found]) -> list[Grip]:
    """A grip on each of these processes that still runs."""
    held = []
    for found in all_found:
        with contextlib.suppress(ProcessLookupError):
            held.append(Grip(run_dir, found))
    return held


def do_all_run(held: Iterable[Grip]) -> bool:
    """True if none of these processes has ended. It costs two calls of the kernel, however many they are."""
    poll = select.poll()  # select(2) takes no descriptor above 1023
    for grip in held:
        poll.register(grip, select.POLLIN)
    return not poll.poll(0)


def end(held: Iterable[Grip], seconds: float) -> list[str]:
    """Ask these processes to end, and kill them after `seconds`. Returns the names of those that were killed."""
    held = list(held)
    for grip in held:
        grip.send(signal.SIGTERM)
        grip.send(signal.SIGCONT)  # a stopped process would not handle SIGTERM
    deadline = time.monotonic() + seconds
    killed = []
    for grip in held:
        if not grip.wait(deadline - time.monotonic()):
            grip.send(signal.SIGKILL)
            grip.wait(seconds)
            killed.append(grip.found.name)
        grip.close()
    return killed
