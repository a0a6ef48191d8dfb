"""Start processes and see them end. A process is told to have ended when nothing of it lives any more.

*Start.* The child of the fork sets itself up - session, standard files, user, directory - and executes the program; why
it could not, it writes into a pipe that a successful exec closes. Nobody waits for that.

*End.* A dead leader is a zombie until it is reaped: as long as it is one, no other process can get its number, and the
kill of its process group reaches nobody else. Then the group dies, member by member; the keeper is their subreaper
(prctl(2)), so they become its children and are reaped too. What has left the group (a daemon, setsid(2)) becomes its
child as well and is known by the mark in its environment, which counts for processes of the application's owner alone.

*Whose rights.* Signals are sent with those of the owner (`services.sam.signals`), but for the end of the keeper itself.
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
"""How often it is looked whether all of an ended application is gone (each death among them is a reason too)."""
CLEARING_S_MAX = 5.0
"""After this time its end is told although something of it is still there: it cannot be killed (state D)."""
CANNOT_RUN = 127

Ending = list[Any]
"""`[status, left_behind, stage, errno, unix_time]` (services.sam.keeper.wire)"""


def complain(text: str) -> None:
    """Say it in the keeper's log, if that can be written: a full disk must not end the keeper."""
    with contextlib.suppress(OSError):
        print(f"keeper: {text}", file=sys.stderr)


def become_subreaper() -> None:
    """Orphans among the descendants of this process become its children. Raises OSError."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


@dataclass(slots=True)
class Child:
    """One process that was started, and what became of it."""

    key: str
    instance: int
    pid: int
    start_time: int
    uid: int
    """Its owner."""
    mark: bytes
    """`NAME=VALUE` in the environment of everything that it starts; empty: what leaves its group is left alone."""
    report: int
    """The pipe that says why it could not be executed; -1 once that is known."""
    refusal: tuple[str, int] = ("", 0)
    status: int | None = None
    """How the leader ended."""
    died_at_s: float = 0.0
    left_behind: bool = False
    ending: Ending | None = None
    """Set when nothing of it lives any more."""


class Children:
    """All processes that were started and not forgotten."""

    def __init__(self, poll: select.epoll) -> None:
        self._poll = poll
        self._by_key: dict[str, Child] = {}
        self._by_pid: dict[int, Child] = {}
        self._by_report: dict[int, Child] = {}
        self._clearing: list[Child] = []
        self._orphans: dict[int, int] = {}
        """Who started each process that has become a child of this one."""
        self._limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (self._limits[1], self._limits[1]))
        self.started: list[Child] = []
        """Those that were executed since somebody last looked."""
        self.ended: list[Child] = []
        """Those whose `ending` was set since somebody last looked."""

    def __iter__(self) -> Any:
        return iter(list(self._by_key.values()))

    def find(self, key: str, instance: int) -> Child | None:
        """That process, if it is known."""
        child = self._by_key.get(key)
        return child if child is not None and child.instance == instance else None

    # -- start

    def spawn(self, key: str, instance: int, spec: dict[str, Any]) -> Child | None:
        """Start a process; None if one of this key is there (alive, or its end not forgotten). Raises OSError."""
        if key in self._by_key:
            return None
        output = os.open(spec["output"], os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        files = [os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC), output, output]
        try:
            if spec["health"]:
                # Not blocking: who is not listened to for long must not hang for it.
                flags = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW
                files.append(os.open(spec["health"], flags))
            report, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                pid = os.fork()
                if pid == 0:
                    self._become(spec, files, write)
            except OSError:  # no more processes: there is nobody to read from
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
        """In the child: become that program, or say why not."""
        stage = "start"
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            for each_signal in set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}:
                with contextlib.suppress(OSError, ValueError):
                    signal.signal(each_signal, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            # Above the numbers that they are to get, so that none is overwritten before it has moved.
            high = [_above(each) for each in files]
            write = _above(write)
            for number, each in enumerate(high):
                os.dup2(each, number)
            resource.setrlimit(resource.RLIMIT_NOFILE, self._limits)
            os.umask(spec["umask"])
            lose_protection()
            if spec["groups"] is not None:
                stage = "user"
                # In a user namespace of its own nobody may set groups, and they are the right ones there.
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
        """A start has succeeded or failed."""
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
        """Send a signal to the process group. It is not reaped, so its number is nobody else's."""
        child = self.find(key, instance)
        if child is not None and child.status is None:
            _signal(child, number)

    def kill_all(self) -> None:
        """kill -9 of everything, by whatever right the keeper has."""
        for child in self:
            if child.status is None:
                _signal_group(child.pid, signal.SIGKILL)

    # -- end

    def reap(self, now_s: float) -> None:
        """Processes have died, maybe."""
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
            self._orphans.pop(dead.si_pid, None)
            _, status = os.waitpid(dead.si_pid, 0)
            if child is not None:
                child.status = os.waitstatus_to_exitcode(status)
                child.died_at_s = now_s
                self._clearing.append(child)
        self.clear(now_s)

    def clear(self, now_s: float) -> float | None:
        """See whether all of those that have died is gone; returns when to look again."""
        for child in list(self._clearing):
            if self._is_anything_left(child) and now_s - child.died_at_s < CLEARING_S_MAX:
                continue
            self._clearing.remove(child)
            stage, number = child.refusal
            child.ending = [child.status, child.left_behind, stage, number, time.time()]
            self.ended.append(child)
        return now_s + CLEARING_S if self._clearing else None

    def _is_anything_left(self, child: Child) -> bool:
        """Whether something of it is there, or may be; what is known to be is killed."""
        left = _is_group(child.pid)
        child.left_behind = child.left_behind or left
        for pid in self._orphans_of(child.uid) if child.mark else ():
            environment = _environment_of(pid)
            # Once more: it may have become somebody else's since.
            if child.mark in environment and user_of(pid) == child.uid:
                # A child of this process that is not reaped: the number is not used again.
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
                child.left_behind = True
                left = True
            elif not environment and (_is_in_passing(pid) or _environment_of(pid)):
                left = True  # it is in the middle of something: look again
        return left

    def _orphans_of(self, uid: int) -> list[int]:
        """Children of this process that it did not start itself, as far as this user did. They are not reaped, so the
        number of each means the same process until then, and each has to be looked at only once."""
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
        """SAM has written down how it ended."""
        child = self.find(key, instance)
        if child is not None and child.ending is not None:
            del self._by_key[key]

    @property
    def are_running(self) -> bool:
        """Whether anything has not ended yet."""
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
    """`NAME=VALUE`; empty if it has none, or shows none now, or it may not be read."""
    try:
        return [each for each in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") if each]
    except OSError:
        return []


def _is_in_passing(pid: int) -> bool:
    """Whether a process shows no environment now, whatever it has: it is dead or dying, or in the middle of execve(2).

    So its mark cannot be read, and it may be one that was killed a moment ago. It is reaped, or its mark is there,
    within moments. (proc(5): field 3 of stat is the state, 23 the size of its memory, 51 the end of its environment.
    Everybody may read the first two; the environment of the dead belongs to root, and since Linux 6.16 to nobody. Who
    may not read the environment of the living is not told where it ends either, and sees 0: that one is none of ours.)
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
    """Signal its process group, with the rights of its owner."""
    if child.report >= 0:
        # It may not be what it is to become, nor its owner's, but it is a child of this process, and no other program.
        _signal_group(child.pid, number)
        return
    with contextlib.suppress(ProcessLookupError, PermissionError), rights_of(child.uid):
        os.killpg(child.pid, number)


def _signal_group(pid: int, number: int) -> None:
    """Signal a process group with this process's own rights."""
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        # It has not come to its setsid(2) yet.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
    except PermissionError:
        complain(f"signal {number} to the processes of {pid} is not permitted")


def _above(descriptor: int) -> int:
    """A duplicate of it beyond the standard ones."""
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, HEALTH_DESCRIPTOR + 1)
