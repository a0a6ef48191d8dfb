"""What clients may ask, and who may: each request is judged by whom the kernel says that it comes from.

Everybody who may connect may start applications (as himself) and see which there are. An application runs as its owner:
the user, group and groups of who asked for it; where SAM is not root it cannot become anybody else and refuses. Only
its owner and root may stop it, and see its output and its environment.
"""

import logging
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rondo.protocol.codes import Code
from rondo.protocol.sam_gateway import Op
from services.sam import procs
from services.sam.application import Application, Command, Owner, Phase, Policy, State
from services.sam.manager import Manager

APPLICATIONS_MAX = 1024
APPLICATIONS_PER_USER_MAX = 512
"""Of a user who is neither root nor the node's own: so that there is room for the others."""
DATA_BYTES_MAX = 1024 * 1024
COMMAND_BYTES_MAX = 1024 * 1024
INTERVAL_MS_MAX = 24 * 3600 * 1000
LOG_BYTES = 256 * 1024
HISTORY_LISTED = 4
NAME_CHARACTERS_MAX = 32

log = logging.getLogger("SAM")
Reply = Callable[[Code, Any], object]
Arguments = dict[str, Any]


class RefusedError(Exception):
    """A request that is not granted; `code` says why."""

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(text)
        self.code = code


class Asker:
    """Who asks, as the kernel vouches for it."""

    __slots__ = ("owner", "pid", "start_time")

    def __init__(self, pid: int, start_time: int, owner: Owner) -> None:
        self.pid = pid
        self.start_time = start_time
        self.owner = owner


class Requests:
    """Answers requests, at once or later."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        self._own = Owner(os.geteuid(), os.getegid(), tuple(sorted(os.getgroups())))
        self._handlers: dict[int, Callable[[Asker, Arguments, Reply], None]] = {
            Op.HELLO: self._hello,
            Op.RUN: self._run,
            Op.STATUS: self._status,
            Op.STOP: self._stop,
            Op.LOGS: self._logs,
            Op.ENVIRONMENT: self._environment,
            Op.REGISTER: self._register,
            Op.START: self._start,
            Op.STOP_CHECKS: self._stop_checks,
            Op.FINALIZE: self._finalize,
            Op.WARN_SIGNAL: self._warn_signal,
            Op.STORE: self._store,
            Op.RESTORE: self._restore,
            Op.MARK_FAILED: self._mark_failed,
        }

    def ask(self, op: int, asker: Asker, arguments: Arguments, reply: Reply) -> None:
        """Do what is asked, or say why not."""
        handler = self._handlers.get(op)
        try:
            if handler is None:
                raise RefusedError(Code.NOT_SUPPORTED, f"there is no request {op}")
            handler(asker, arguments, reply)
        except RefusedError as error:
            reply(error.code, str(error))

    # -- from the command line ----------------------------------------------------------------------------------

    def _hello(self, _asker: Asker, _arguments: Arguments, reply: Reply) -> None:
        reply(Code.OK, {"pid": os.getpid()})

    def _run(self, asker: Asker, arguments: Arguments, reply: Reply) -> None:
        key = _value(arguments, "key", bytes)
        existing = next((each for each in self._manager.applications.values() if key and each.key == key), None)
        if existing is not None:
            # The same request again: its reply was lost.
            self._manager.when_runs(existing, lambda application: _reply_run(application, reply))
            return
        self._check_owner(asker.owner)
        self._check_room(asker.owner)
        command = Command(
            program=_value(arguments, "program", bytes),
            arguments=_list(arguments, "arguments"),
            directory=_value(arguments, "directory", bytes),
            environment=_list(arguments, "environment"),
            umask=_value(arguments, "umask", int) & 0o777,
        )
        _check_command(command)
        check = _value(arguments, "check", bytes, b"")
        if b"\0" in check:
            raise RefusedError(Code.INVALID_PARAM, "the path of the check has a NUL in it")
        application = Application(
            id=self._manager.table.new_id(_name(command.arguments[0])),
            owner=asker.owner,
            command=command,
            policy=_policy(arguments),
            interval_ms=_interval(arguments),
            warn_signal=_signal(arguments),
            check=check,
            key=key,
        )
        if check and not application.interval_ms:
            raise RefusedError(Code.INVALID_PARAM, "a check needs an interval")
        self._manager.add(application, lambda started: _reply_run(started, reply))

    def _status(self, _asker: Asker, arguments: Arguments, reply: Reply) -> None:
        if "id" in arguments:
            reply(Code.OK, [self._find(arguments).as_json()])
            return
        listed = [each.as_json() for each in self._manager.applications.values()]
        for each in listed:
            each["history"] = each["history"][-HISTORY_LISTED:]
        reply(Code.OK, listed)

    def _stop(self, asker: Asker, arguments: Arguments, reply: Reply) -> None:
        application = self._find_own(asker, arguments, "stop it")
        by = f"user {asker.owner.uid}"
        self._manager.stop(application, by, lambda stopped: reply(Code.OK, stopped.as_json()))

    def _environment(self, asker: Asker, arguments: Arguments, reply: Reply) -> None:
        reply(Code.OK, self._find_own(asker, arguments, "see its environment").command.environment)

    def _logs(self, asker: Asker, arguments: Arguments, reply: Reply) -> None:
        application = self._find_own(asker, arguments, "see its output")
        inode, offset = _value(arguments, "inode", int, 0), _value(arguments, "offset", int, 0)
        path = self._manager.places.log_of(application.id)
        reply(Code.OK, _read_log([Path(f"{path}.1"), Path(path)], inode, offset))

    # -- from applications --------------------------------------------------------------------------------------

    def _register(self, asker: Asker, arguments: Arguments, reply: Reply) -> None:
        policy, interval_ms, warn_signal = _policy(arguments), _interval(arguments), _signal(arguments)
        application = self._of_process(asker)
        if application is None:
            self._check_owner(asker.owner)
            self._check_room(asker.owner)
            application = self._adopted(asker)
        application.policy, application.interval_ms, application.warn_signal = policy, interval_ms, warn_signal
        application.check = b""
        application.registers = True
        self._manager.watch_health(application, watched=False)
        health = self._manager.places.health_of(application.id)
        reply(Code.OK, {"id": application.id, "instance": application.instance, "health": health})

    def _adopted(self, asker: Asker) -> Application:
        try:
            command = procs.command_of(asker.pid)
        except OSError as error:
            raise RefusedError(
                Code.ACCESS, f"SAM cannot see how process {asker.pid} was started: {error.strerror}"
            ) from None
        application = Application(
            id=self._manager.table.new_id(_name(command.arguments[0])),
            owner=asker.owner,
            command=command,
            phase=Phase.RUNNING,
            pid=asker.pid,
            start_time=asker.start_time,
            is_foreign=True,
            leads_group=procs.leads_its_group(asker.pid),
        )
        application.started_unix_time = procs.started_unix_time(asker.start_time)
        if not self._manager.adopt_new(application):
            raise RefusedError(Code.NOT_EXIST, f"process {asker.pid} is gone")
        return application

    def _start(self, asker: Asker, _arguments: Arguments, reply: Reply) -> None:
        self._manager.watch_health(self._registered(asker), watched=True)
        reply(Code.OK, None)

    def _stop_checks(self, asker: Asker, _arguments: Arguments, reply: Reply) -> None:
        self._manager.watch_health(self._registered(asker), watched=False)
        reply(Code.OK, None)

    def _finalize(self, asker: Asker, _arguments: Arguments, reply: Reply) -> None:
        self._manager.let_go(self._registered(asker))
        reply(Code.OK, None)

    def _warn_signal(self, asker: Asker, arguments: Arguments, reply: Reply) -> None:
        application = self._registered(asker)
        application.warn_signal = _signal(arguments)
        self._manager.table.save(application)
        reply(Code.OK, None)

    def _store(self, asker: Asker, arguments: Arguments, reply: Reply) -> None:
        application = self._registered(asker)
        data = _value(arguments, "data", bytes)
        if len(data) > DATA_BYTES_MAX:
            raise RefusedError(Code.TOO_BIG, f"an application may store {DATA_BYTES_MAX} bytes, not {len(data)}")
        try:
            self._manager.table.store(application.id, data)
        except OSError as error:
            raise RefusedError(Code.NO_SPACE, f"the data cannot be stored: {error.strerror}") from None
        reply(Code.OK, None)

    def _restore(self, asker: Asker, _arguments: Arguments, reply: Reply) -> None:
        reply(Code.OK, self._manager.table.restore(self._registered(asker).id))

    def _mark_failed(self, asker: Asker, _arguments: Arguments, reply: Reply) -> None:
        application = self._registered(asker)
        reply(Code.OK, None)
        self._manager.mark_failed(application)

    # -- who ----------------------------------------------------------------------------------------------------

    def _find(self, arguments: Arguments) -> Application:
        name = _value(arguments, "id", str)
        application = self._manager.applications.get(name)
        if application is None:
            raise RefusedError(Code.NOT_EXIST, f"there is no application {name!r:.80}; `rondo sam status` lists them")
        return application

    def _find_own(self, asker: Asker, arguments: Arguments, what: str) -> Application:
        application = self._find(arguments)
        if asker.owner.uid not in (0, application.owner.uid):
            raise RefusedError(
                Code.ACCESS,
                f"{application.id} belongs to user {application.owner.uid}: only that user and root may {what}",
            )
        return application

    def _of_process(self, asker: Asker) -> Application | None:
        """The application whose process, or a process in whose session, asks."""
        session = procs.session_of(asker.pid)
        for each in self._manager.applications.values():
            if each.phase is not Phase.RUNNING or each.owner.uid != asker.owner.uid:
                continue
            if each.pid == asker.pid and each.start_time == asker.start_time:
                return each
            if each.pid == session and not each.is_foreign:
                return each
        return None

    def _registered(self, asker: Asker) -> Application:
        application = self._of_process(asker)
        if application is None or not application.registers:
            raise RefusedError(Code.BAD_HANDLE, f"process {asker.pid} is not registered with SAM")
        return application

    def _check_owner(self, owner: Owner) -> None:
        """SAM can make a process of this owner."""
        if self._own.uid == 0:
            return
        ours = {self._own.gid, *self._own.groups}
        if (owner.uid, owner.gid) != self._own[:2] or {owner.gid, *owner.groups} != ours:
            raise RefusedError(
                Code.ACCESS,
                f"this node's SAM runs as user {self._own.uid}, group {self._own.gid}, and cannot start anything as "
                f"user {owner.uid}, group {owner.gid} with other groups; a node that root has started can",
            )

    def _check_room(self, owner: Owner) -> None:
        running = [each.owner.uid for each in self._manager.applications.values() if not each.is_over]
        if len(running) >= APPLICATIONS_MAX:
            raise RefusedError(Code.NO_RESOURCES, f"this node manages {APPLICATIONS_MAX} applications already")
        if owner.uid not in (0, self._own.uid) and running.count(owner.uid) >= APPLICATIONS_PER_USER_MAX:
            raise RefusedError(
                Code.NO_RESOURCES, f"user {owner.uid} has {APPLICATIONS_PER_USER_MAX} applications already"
            )


def _reply_run(application: Application, reply: Reply) -> None:
    if application.state is State.FAILED and not application.pid and application.ends == 1:
        reply(Code.FAILED_OPERATION, f"{application.message} (SAM id {application.id})")
    else:
        reply(Code.OK, {"id": application.id, "pid": application.pid})


def _read_log(paths: list[Path], inode: int, offset: int) -> dict[str, Any]:
    """What was written after that place; from the beginning of what is kept if that place is no more."""
    opened = []
    try:
        for path in paths:
            try:
                opened.append(path.open("rb"))
            except OSError:
                continue
        inodes = [os.fstat(each.fileno()).st_ino for each in opened]
        at = inodes.index(inode) if inode in inodes else 0
        for index in range(at, len(opened)):
            start = offset if inodes[index] == inode else 0
            opened[index].seek(start)
            data = opened[index].read(LOG_BYTES)
            if data or index == len(opened) - 1:
                is_last = index == len(opened) - 1 and len(data) < LOG_BYTES
                return {"data": data, "inode": inodes[index], "offset": start + len(data), "more": not is_last}
        return {"data": b"", "inode": 0, "offset": 0, "more": False}
    finally:
        for each in opened:
            each.close()


def _value(arguments: Arguments, name: str, kind: type[Any], default: Any = None) -> Any:
    value = arguments.get(name, default)
    if type(value) is not kind:
        raise RefusedError(Code.INVALID_PARAM, f"the request's {name!r} is not {kind.__name__}")
    return value


def _list(arguments: Arguments, name: str) -> list[bytes]:
    value = _value(arguments, name, list)
    if any(type(each) is not bytes or b"\0" in each for each in value):
        raise RefusedError(Code.INVALID_PARAM, f"the request's {name!r} is not a list of bytes without NUL")
    listed: list[bytes] = value
    return listed


def _check_command(command: Command) -> None:
    if not command.arguments or not command.program or b"\0" in command.program or b"\0" in command.directory:
        raise RefusedError(Code.INVALID_PARAM, "there is no command")
    if sum(map(len, (*command.arguments, *command.environment))) > COMMAND_BYTES_MAX:
        raise RefusedError(
            Code.TOO_BIG, f"a command line and its environment may have {COMMAND_BYTES_MAX} bytes together"
        )


def _policy(arguments: Arguments) -> Policy:
    name = _value(arguments, "policy", str, "restart")
    try:
        return Policy(name)
    except ValueError:
        raise RefusedError(Code.INVALID_PARAM, f"there is no policy {name!r:.40}; restart or quit") from None


def _interval(arguments: Arguments) -> int:
    interval_ms: int = _value(arguments, "interval_ms", int, 0)
    if not 0 <= interval_ms <= INTERVAL_MS_MAX:
        raise RefusedError(Code.INVALID_PARAM, f"an interval is 0 (no limit) to {INTERVAL_MS_MAX} ms")
    return interval_ms


def _signal(arguments: Arguments) -> int:
    number: int = _value(arguments, "signal", int, int(signal.SIGTERM))
    if number not in signal.valid_signals():
        raise RefusedError(Code.INVALID_PARAM, f"there is no signal {number}")
    return int(number)


def _name(program: bytes) -> str:
    """What its identifier begins with: the program's name, as far as it is fit for a file's name."""
    name = re.sub(r"[^\w.-]", "_", os.path.basename(program).decode("ascii", "replace"), flags=re.ASCII)
    return name.lstrip(".-")[:NAME_CHARACTERS_MAX] or "application"
