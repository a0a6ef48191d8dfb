"""One managed application: its request, its present state, its history. Data, and decisions that depend only on time.

phase        present state                      state that a user sees
IDLE         no process, and none is wanted     stopped, failed
STARTING     SAM has told the keeper to start   waiting
RUNNING      a process                          registered, started, failed (marked, and about to be killed)
WAITING      none until `restart_at_s`,         waiting,
             or until there is quorum           waiting for quorum

An application that registers itself under a quorum policy waits for quorum as a running process (RUNNING, waiting for
quorum).

Health checks begin (`is_watched`) once the application says so. Then it has to send one in every `interval_ms`. After
an interval of silence it gets the warn signal, and after one more the kill. If it has a check (an executable), the
check is run every interval instead, and has one interval to answer.
"""

import os
import signal
from collections import deque
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any, NamedTuple

HISTORY_MAX = 32
"""How many ends of each application are remembered."""
QUICK_MS = 1000
"""An instance that lived shorter counts as a quick end."""
QUICK_ENDS_MAX = 7
"""After so many quick ends in a row it is not started again."""
BACK_OFF_MS = 100
BACK_OFF_MS_MAX = 10_000
STOP_GRACE_MS = 5000
"""Time between the warn signal and the kill when an application without an interval is stopped."""
ENTRY_BYTES = 48
"""What an argument or a variable takes in memory besides its characters."""
LISTED_BYTES_MAX = 2048
"""How much of a command line is shown in the list of all applications."""
TOLD_BYTES_MAX = 256
"""How much of a path is shown in a message."""
WAITING_MAX = 16
"""Requests that wait for an application to start or to end. At more, the oldest is told to ask again."""
QUORUM_LOST = "quorum was lost"
"""The reason of an end after which the next instance starts once there is quorum."""
CANNOT = {"directory": "cannot enter the directory", "user": "cannot become", "start": "cannot start"}
STOP_GRACE_MS_MAX = 4000
"""The most of such a time when the node stops: supervisord gives SAM five seconds."""


class Phase(IntEnum):
    """The present state of an application."""

    IDLE = 0
    STARTING = 1
    RUNNING = 2
    WAITING = 3


class State(StrEnum):
    """The state that `rondo sam status` shows."""

    REGISTERED = "registered"
    STARTED = "started"
    STOPPED = "stopped"
    FAILED = "failed"
    WAITING = "waiting"
    WAITING_FOR_QUORUM = "waiting for quorum"


class Policy(StrEnum):
    """What follows the end of an instance, and whether it may run without quorum."""

    RESTART = "restart"
    QUIT = "quit"
    QUORUM_RESTART = "quorum-restart"
    QUORUM_QUIT = "quorum-quit"

    @property
    def needs_quorum(self) -> bool:
        """True if it starts only with quorum, and its process is ended when quorum is lost."""
        return self in (Policy.QUORUM_RESTART, Policy.QUORUM_QUIT)

    @property
    def restarts(self) -> bool:
        """True if an end is followed by the next instance."""
        return self in (Policy.RESTART, Policy.QUORUM_RESTART)


class Due(IntEnum):
    """What is to be done now."""

    NOTHING = 0
    RESTART = 1
    WARN = 2
    KILL = 3
    CHECK = 4
    CHECK_LATE = 5


class Owner(NamedTuple):
    """The user and groups that it runs as."""

    uid: int
    gid: int
    groups: tuple[int, ...]


@dataclass(slots=True)
class Command:
    """What is executed. All bytes: file names and values in environments need not be text."""

    program: bytes
    """Searched in PATH of the environment unless it has a slash."""
    arguments: list[bytes]
    directory: bytes
    environment: list[bytes]
    """`NAME=VALUE`"""
    umask: int = 0o022

    @property
    def memory_bytes(self) -> int:
        """About what it takes in memory."""
        parts = (self.program, self.directory, *self.arguments, *self.environment)
        return sum(map(len, parts)) + len(parts) * ENTRY_BYTES


@dataclass(slots=True)
class End:
    """How an instance ended."""

    instance: int
    pid: int
    status: int | None
    """Exit code, or minus a signal; None: unknown, because SAM did not start it."""
    why: str
    """Why SAM ended it; empty if it ended by itself."""
    text: str
    lived_ms: int
    unix_time: float

    def as_json(self) -> dict[str, Any]:
        """For `rondo sam status --json`."""
        code = self.status if self.status is not None and self.status >= 0 else None
        number = -self.status if self.status is not None and self.status < 0 else None
        return {
            "instance": self.instance,
            "pid": self.pid,
            "exit_code": code,
            "signal": number,
            "why": self.why,
            "text": self.text,
            "lived_ms": self.lived_ms,
            "started": self.unix_time - self.lived_ms / 1000,
            "time": self.unix_time,
        }


@dataclass(slots=True, eq=False)
class Application:
    """One application."""

    id: str
    owner: Owner
    command: Command
    policy: Policy = Policy.RESTART
    interval_ms: int = 0
    """0: no time limit for its health."""
    warn_signal: int = signal.SIGTERM
    check: bytes = b""
    key: bytes = b""
    """The client's key of the request that made it, so that a repeated request makes no second application."""

    phase: Phase = Phase.IDLE
    state: State = State.STARTED
    instance: int = 0
    pid: int = 0
    start_time: int = 0
    boot: str = ""
    started_unix_time: float = 0.0
    is_adopted: bool = False
    """Its process is not a child of the keeper."""
    is_foreign: bool = False
    """Its process was not started by SAM."""
    is_let_go: bool = False
    """SAM is to watch it no longer."""
    leads_group: bool = True
    """True if its process group is its own, and so may be killed."""
    registers: bool = False
    """It is written for SAM: an instance begins as registered."""
    is_watched: bool = False
    message: str = ""
    history: deque[End] = field(default_factory=lambda: deque(maxlen=HISTORY_MAX))
    ends: int = 0
    quick_ends: int = 0
    stopped_by: str = ""
    """Who has asked to stop it."""
    stored_bytes: int = 0
    """Bytes that it has stored for its next instance."""

    # These are not kept over a restart of SAM:
    verdict: str = ""
    """Why SAM ends this instance."""
    heard_at_s: float = 0.0
    kill_at_s: float | None = None
    restart_at_s: float = 0.0
    check_number: int = 0
    check_at_s: float = 0.0
    check_is_running: bool = False
    saved_at_s: float = float("-inf")
    """When a change of its health was last saved (awake clock)."""
    command_bytes: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.command_bytes = self.command.memory_bytes + len(self.check)

    @property
    def table_bytes(self) -> int:
        """What it takes of the table, in memory and on the disk."""
        return self.command_bytes + self.stored_bytes

    @property
    def interval_s(self) -> float:
        """The interval in seconds."""
        return self.interval_ms / 1000

    @property
    def is_over(self) -> bool:
        """True if there is no process, and none will be started."""
        return self.phase is Phase.IDLE

    @property
    def has_process(self) -> bool:
        """True if there is a process, or the keeper was told to start one."""
        return self.phase in (Phase.STARTING, Phase.RUNNING)

    def due_at_s(self) -> float:
        """When something will be due if nothing happens before (awake clock)."""
        if self.phase is Phase.WAITING:
            return float("inf") if self.state is State.WAITING_FOR_QUORUM else self.restart_at_s
        if self.phase is not Phase.RUNNING:
            return float("inf")
        if self.kill_at_s is not None:
            return self.kill_at_s
        due_s = float("inf")
        if self.is_watched and self.interval_ms:
            due_s = self.heard_at_s + self.interval_s
        if self.check:
            due_s = min(due_s, self.check_at_s + self.interval_s)
        return due_s

    def due(self, now_s: float) -> Due:
        """What is to be done now."""
        if self.phase is Phase.WAITING:
            return Due.RESTART if now_s >= self.due_at_s() else Due.NOTHING
        if self.phase is not Phase.RUNNING:
            return Due.NOTHING
        if self.kill_at_s is not None:
            return Due.KILL if now_s >= self.kill_at_s else Due.NOTHING
        if self.is_watched and self.interval_ms and now_s > self.heard_at_s + self.interval_s:
            return Due.WARN
        if self.check and now_s >= self.check_at_s + self.interval_s:
            return Due.CHECK_LATE if self.check_is_running else Due.CHECK
        return Due.NOTHING

    def runs(self, pid: int, start_time: int, now_s: float) -> None:
        """Record that an instance runs as this process."""
        self.phase = Phase.RUNNING
        self.pid, self.start_time = pid, start_time
        self.state = State.REGISTERED if self.registers else State.STARTED
        self.message = ""
        self.attend(now_s)

    def attend(self, now_s: float) -> None:
        """Restart its health interval from now."""
        self.heard_at_s = self.check_at_s = now_s
        self.check_is_running = False

    def ended(self, end: End) -> None:
        """Record the end of the instance."""
        self.history.append(end)
        self.ends += 1
        self.pid = self.start_time = 0
        self.is_watched = self.is_adopted = self.is_foreign = self.check_is_running = False
        self.leads_group = True
        self.kill_at_s = None
        self.verdict = ""

    def decide(self, told: str, end: End, *, was_refused: bool, was_failed: bool, now_s: float) -> None:
        """Decide what follows that end: the next instance now (STARTING) or later (WAITING), or nothing (IDLE).

        told: the end in words. was_refused: the first instance could not be executed. was_failed: it had marked itself
        failed.
        """
        self.phase = Phase.IDLE
        self.message = told
        if self.stopped_by or self.is_let_go:
            self.state = State.STOPPED
        elif was_refused:
            self.state = State.FAILED
        elif not self.policy.restarts:
            is_good = end.status in (0, None) and not end.why and not was_failed
            self.state = State.STOPPED if is_good else State.FAILED
        else:
            # A loss of quorum is no fault of the instance, however short its life was.
            is_quick = end.lived_ms < QUICK_MS and end.why != QUORUM_LOST
            self.quick_ends = self.quick_ends + 1 if is_quick else 0
            if self.quick_ends >= QUICK_ENDS_MAX:
                self.state = State.FAILED
                self.message = (
                    f"not started again: it ended {QUICK_ENDS_MAX} times in a row within {QUICK_MS} ms of its start; "
                    f"the last one {told}; see `rondo sam logs {self.id}`"
                )
            else:
                self._next_instance(told, now_s)

    def _next_instance(self, told: str, now_s: float) -> None:
        self.instance += 1
        back_off_s = self.back_off_s()
        if not back_off_s:
            self.phase = Phase.STARTING
            return
        self.start_later(f"{told}; it is started again in {round(back_off_s * 1000)} ms", now_s + back_off_s)

    def start_later(self, message: str, at_s: float) -> None:
        """Schedule its next instance for that time."""
        self.phase = Phase.WAITING
        self.state = State.WAITING
        self.restart_at_s = at_s
        self.message = message

    def wait_for_quorum(self, message: str) -> None:
        """Schedule its next instance for when there is quorum."""
        self.phase = Phase.WAITING
        self.state = State.WAITING_FOR_QUORUM
        self.message = message

    def postpone(self, until_s: float) -> None:
        """Postpone what is due, the next instance or a check."""
        if self.phase is Phase.WAITING:
            self.restart_at_s = until_s
        else:
            self.check_at_s = until_s - self.interval_s

    def back_off_s(self) -> float:
        """How long to wait after that many quick ends in a row."""
        if self.quick_ends == 0:
            return 0.0
        return min(BACK_OFF_MS << (self.quick_ends - 1), BACK_OFF_MS_MAX) / 1000

    def grace_s(self, limit_s: float = float("inf")) -> float:
        """The time between the warn signal and the kill when it is stopped."""
        return min((self.interval_ms or STOP_GRACE_MS) / 1000, limit_s)

    def as_json(self, *, is_whole: bool = True) -> dict[str, Any]:
        """The entry in `rondo sam status --json`. Not whole: a long command line is cut off."""
        room = None if is_whole else LISTED_BYTES_MAX
        return {
            "id": self.id,
            "pid": self.pid or None,
            "state": self.state.value,
            "instance": self.instance,
            "policy": self.policy.value,
            "interval_ms": self.interval_ms,
            "warn_signal": self.warn_signal,
            "health": "check" if self.check else ("application" if self.is_watched else "exit"),
            "check": _text(self.check[:room]) or None,
            "command": [_text(each) for each in _beginning(self.command.arguments, room)],
            "directory": _text(self.command.directory[:room]),
            "uid": self.owner.uid,
            "gid": self.owner.gid,
            "adopted": self.is_adopted,
            "started": self.started_unix_time if self.pid else None,
            "restarts": self.instance,
            "ends": self.ends,
            "message": self.message,
            "history": [end.as_json() for end in self.history],
        }


def _text(value: bytes) -> str:
    return value.decode(errors="replace")


def _beginning(arguments: list[bytes], room: int | None) -> list[bytes]:
    """As many arguments as there is room for. If some are left out, or a part of one, `...` comes last."""
    if room is None or sum(map(len, arguments)) + len(arguments) <= room:
        return arguments
    taken = []
    for each in arguments:
        taken.append(each[:room])
        room -= len(each) + 1
        if room <= 0:
            break
    return [*taken, b"..."]


def refusal_text(application: Application, stage: str, error: int) -> str:
    """Why it could not be executed, in words."""
    what = {
        "directory": application.command.directory,
        "user": f"user {application.owner.uid}".encode(),
    }.get(stage, application.command.program)
    return f"{CANNOT.get(stage, 'cannot run')} {_text(what[:TOLD_BYTES_MAX])}: {os.strerror(error)}"


def signal_name(number: int) -> str:
    """The name of a signal: SIGKILL for 9."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def ending_text(status: int | None, left_behind: bool) -> str:
    """How it ended, in words."""
    if status is None:
        return "ended"
    if status < 0:
        return f"was ended by {signal_name(-status)}"
    if status == 0 and left_behind:
        return (
            "exited with 0 and left processes behind, which were killed: a program that goes into the background "
            "cannot be watched, so keep it in the foreground"
        )
    return f"exited with {status}"
