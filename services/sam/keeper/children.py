"""Starts processes and notices their end. The end of a process is reported only when all its descendants have ended.

*Start.* The child of the fork sets itself up - session, standard files, user, directory - and executes the program. If
that fails, the child writes the reason into a pipe. A successful exec closes the pipe. The keeper does not wait for
either.

*End.* The leader of a process group that dies is a zombie until the keeper reaps it. Until then no other process can
get its pid, so the keeper can kill its group and hits nobody else. The keeper is the subreaper (prctl(2)) of these
processes, so they become its children, and it reaps them, too. A process that has left the group (a daemon, setsid(2))
also becomes a child of the keeper. The keeper recognises it by the mark in its environment. The mark counts only for
processes of the application's owner.

*Rights.* Signals are sent with the rights of the owner (`services.sam.signals`), except when the keeper itself ends.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import resource
import select
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from services.sam.keeper.privileges import lose_capabilities, lose_protection
from services.sam.keeper.wire import HEALTH_DESCRIPTOR
from services.sam.signals import rights_of, start_time_of, user_of

PR_SET_CHILD_SUBREAPER = 36
CLEARING_S = 0.02
"""The interval of checks whether all processes of an ended application are gone. Each death triggers a check, too."""
CLEARING_S_MAX = 5.0
"""After this time the end is reported even if a process is left that cannot be killed (state D)."""
CANNOT_RUN = 127

Ending = list[Any]
"""`[status, left_behind, stage, errno, unix_time]` (services.sam.keeper.wire)"""


def complain(text: str) -> None:
    """Write a line to the keeper's log. Errors are ignored, because a full disk must not end the keeper."""
    with contextlib.suppress(OSError):
        print(f"keeper: {text}", file=sys.stderr)


def become_subreaper() -> None:
    """From now on descendants of this process that lose their parent become its children. Raises OSError."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


@dataclass(slots=True)
class Child:
    """One started process, and its outcome."""

    key: str
    instance: int
    pid: int
    start_time: int
    uid: int
    """The user who owns the application."""
    mark: bytes
    """`NAME=VALUE` in the environment of the process and its descendants. Empty: descendants that leave its group are
    left alone."""
    report: int
    """The pipe for the reason why the program could not be executed; -1 once the result is known."""
    refusal: tuple[str, int] = ("", 0)
    status: int | None = None
    """How the leader ended: its exit code, or a signal's number with a minus sign. None: it has not been reaped."""
    died_at_s: float = 0.0
    left_behind: bool = False
    ending: Ending | None = None
    """Set when the process and all its descendants have ended."""


class Children:
    """All processes that were started and not forgotten."""

    def __init__(self, poll: select.epoll) -> None:
        self._poll = poll
        self._by_key: dict[str, Child] = {}
        self._by_pid: dict[int, Child] = {}
        self._by_report: dict[int, Child] = {}
        self._clearing: list[Child] = []
        self._orphans: dict[int, int] = {}
        """By pid: the user of a process that has become a child of this one, when it was first seen."""
        self._limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (self._limits[1], self._limits[1]))
        self.started: list[Child] = []
        """Processes that were executed since the keeper's loop last cleared this."""
        self.ended: list[Child] = []
        """Processes whose `ending` was set since the keeper's loop last cleared this."""

    def __iter__(self) -> Any:
        return iter(list(self._by_key.values()))

    def find(self, key: str, instance: int) -> Child | None:
        """The process of this key and instance, if it is known."""
        child = self._by_key.get(key)
        return child if child is not None and child.instance == instance else None

    # -- start

    def spawn(self, key: str, instance: int, spec: dict[str, Any]) -> Child | None:
        """Start a process. None if one of this key lives, or has ended and is not forgotten. Raises OSError."""
        if key in self._by_key:
            return None
        output = os.open(spec["output"], os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        files = [os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC), output, output]
        try:
            if spec["health"]:
                # Non-blocking: an application must not hang while nobody reads its health FIFO.
                flags = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW
                files.append(os.open(spec["health"], flags))
            report, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                pid = os.fork()
                if pid == 0:
                    self._become(spec, files, write)
            except OSError:  # no more processes: nothing will write to the pipe
                os.close(report)
                raise
            finally:
                os.close(write)
        finally:
            for each in set(files):
                os.close(each)
        child = Child(key, instance, pid, start_time_of(pid), spec["uid"], spec["mark"], report)
        self._by_key[key] = self._by_pid[pid] = self._by_report[report] = child
        self._poll.register(report, select.EPOLLIN)
        return child

    def _become(self, spec: dict[str, Any], files: list[int], write: int) -> NoReturn:
        """In the child: execute the program, or report why that failed."""
        stage = "start"
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            for each_signal in set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}:
                with contextlib.suppress(OSError, ValueError):
                    signal.signal(each_signal, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            # First move all descriptors above their final numbers. Otherwise dup2 could overwrite one of them.
            high = [_above(each) for each in files]
            write = _above(write)
            for number, each in enumerate(high):
                os.dup2(each, number)
            resource.setrlimit(resource.RLIMIT_NOFILE, self._limits)
            os.umask(spec["umask"])
            lose_protection()
            if spec["groups"] is not None:
                stage = "user"
                # In a user namespace setting the groups may be forbidden, and they are already right.
                if sorted(spec["groups"]) != sorted(os.getgroups()):
                    os.setgroups(spec["groups"])
                os.setresgid(spec["gid"], spec["gid"], spec["gid"])
                os.setresuid(spec["uid"], spec["uid"], spec["uid"])
            lose_capabilities(os.geteuid())
            stage = "directory"
            os.chdir(spec["directory"])
            stage = "program"
            environment = dict(each.split(b"=", 1) for each in spec["environment"])
            os.execvpe(spec["program"], spec["arguments"], environment)
        except OSError as error:
            os.write(write, f"{stage} {error.errno or errno.EINVAL}".encode())
        except BaseException:
            os.write(write, f"{stage} {errno.EINVAL}".encode())
        finally:
            os._exit(CANNOT_RUN)

    def reported(self, descriptor: int) -> None:
        """The report pipe tells that a start has succeeded or failed."""
        child = self._by_report.get(descriptor)
        if child is not None:
            self._read_report(child)

    def _read_report(self, child: Child) -> None:
        if child.report < 0:
            return
        try:
            said = os.read(child.report, 64).decode()
        except BlockingIOError:
            return
        if said:
            stage, _, number = said.partition(" ")
            child.refusal = (stage, int(number))
        else:
            self.started.append(child)
        del self._by_report[child.report]
        os.close(child.report)  # epoll forgets it
        child.report = -1

    # -- signals

    def signal(self, key: str, instance: int, number: int) -> None:
        """Send a signal to the process group, unless its leader was reaped: the pid could be another process's then."""
        child = self.find(key, instance)
        if child is not None and child.status is None:
            _signal(child, number)

    def kill_all(self) -> None:
        """Kill the process groups of all applications, with the keeper's own rights."""
        for child in self:
            if child.status is None:
                _signal_group(child.pid, signal.SIGKILL)

    # -- end

    def reap(self, now_s: float) -> None:
        """Reap all processes that have died, and kill what is left of the groups of leaders among them."""
        while True:
            try:
                dead = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                break
            if dead is None:
                break
            child = self._by_pid.pop(dead.si_pid, None)
            if child is not None:
                self._read_report(child)
                _signal(child, signal.SIGKILL)
            elif dead.si_status == signal.SIGKILL and dead.si_code == os.CLD_KILLED:
                self._note_left_behind(dead.si_pid)
            self._orphans.pop(dead.si_pid, None)
            _, status = os.waitpid(dead.si_pid, 0)
            if child is not None:
                child.status = os.waitstatus_to_exitcode(status)
                child.died_at_s = now_s
                self._clearing.append(child)
        self.clear(now_s)

    def _note_left_behind(self, pid: int) -> None:
        """An orphan was killed, and is not reaped yet. If its group is that of an application that has ended, it had
        outlived the leader and was killed with the group."""
        with contextlib.suppress(OSError):
            group = os.getpgid(pid)
            for child in self._clearing:
                child.left_behind = child.left_behind or child.pid == group

    def clear(self, now_s: float) -> float | None:
        """Set the ending of each application that has no process left. Returns when to check again; None: no need."""
        for child in list(self._clearing):
            if self._is_anything_left(child) and now_s - child.died_at_s < CLEARING_S_MAX:
                continue
            self._clearing.remove(child)
            stage, number = child.refusal
            child.ending = [child.status, child.left_behind, stage, number, time.time()]
            self.ended.append(child)
        return now_s + CLEARING_S if self._clearing else None

    def _is_anything_left(self, child: Child) -> bool:
        """True if a process of this application exists, or may exist. Kills those that certainly belong to it."""
        left = _is_group(child.pid)
        child.left_behind = child.left_behind or left
        for pid in self._orphans_of(child.uid) if child.mark else ():
            environment = _environment_of(pid)
            # The user is checked again, because the process may have changed it since.
            if child.mark in environment and user_of(pid) == child.uid:
                # It is an unreaped child of this process, so no other process can have its pid.
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
                child.left_behind = True
                left = True
            elif not environment and (_is_in_passing(pid) or _environment_of(pid)):
                left = True  # the process is dying or in execve(2): check again later
        return left

    def _orphans_of(self, uid: int) -> list[int]:
        """Children that this process has adopted and that belonged to this user when first seen. A pid means the same
        process until that is reaped, so the user of each is read only once."""
        try:
            listed = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
        except OSError:
            return []
        pids = [pid for pid in map(int, listed.split()) if pid not in self._by_pid]
        for pid in pids:
            if pid not in self._orphans:
                self._orphans[pid] = user_of(pid)
        return [pid for pid in pids if self._orphans[pid] == uid]

    def forget(self, key: str, instance: int) -> None:
        """Forget an ended process, because SAM has recorded how it ended."""
        child = self.find(key, instance)
        if child is not None and child.ending is not None:
            del self._by_key[key]

    @property
    def are_running(self) -> bool:
        """True if any process has not ended yet."""
        return bool(self._by_pid or self._clearing)


def _is_group(pid: int) -> bool:
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _environment_of(pid: int) -> list[bytes]:
    """Each `NAME=VALUE` of a process's environment. Empty if it has none, shows none now, or may not be read."""
    try:
        return [each for each in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") if each]
    except OSError:
        return []


def _is_in_passing(pid: int) -> bool:
    """True if a process shows no environment at this moment: it is dead or dying, or in the middle of execve(2).

    The mark of such a process cannot be read. Soon the process is reaped, or its mark is readable. In proc(5), field 3
    of stat is the state, field 23 the size of the memory, and field 51 the end of the environment. Everybody may read
    the first two. Field 51 is 0 for a reader without permission, but such a process is none of ours, so access(2) is
    asked, too. The environment of a dead process belongs to root, and since Linux 6.16 to nobody.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
        fields = stat[stat.rindex(b")") + 2 :].split()
        if fields[0] in b"ZX" or int(fields[20]) == 0:
            return True
        return int(fields[48]) == 0 and os.access(f"/proc/{pid}/environ", os.R_OK)
    except (OSError, ValueError, IndexError):
        return False


def _signal(child: Child, number: int) -> None:
    """Signal the child's process group with the rights of the child's owner."""
    if child.report >= 0:
        # The child may not have executed its program or changed its user yet. But it certainly is a child of this
        # process, so the keeper may signal it with its own rights.
        _signal_group(child.pid, number)
        return
    with contextlib.suppress(ProcessLookupError, PermissionError), rights_of(child.uid):
        os.killpg(child.pid, number)


def _signal_group(pid: int, number: int) -> None:
    """Signal a process group with this process's own rights."""
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        # The process has not called setsid(2) yet, so its group does not exist.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
    except PermissionError:
        complain(f"signal {number} to the processes of {pid} is not permitted")


def _above(descriptor: int) -> int:
    """A duplicate of the descriptor, above the standard ones."""
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, HEALTH_DESCRIPTOR + 1)
