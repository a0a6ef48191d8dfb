"""What clients may ask of SAM. Each request is judged by the identity of the asking process, as the kernel reports it.

Every client may start applications (as himself) and list all of them. An application runs as its owner: with the user,
group and groups of the asking process. If SAM is not root it cannot become another user, and refuses. Only the owner
and root may stop an application, and see its output and its environment. A process that is confined (`confinement`), in
a container or a sandbox, may request nothing of that, and is not adopted: SAM must not do for it what it may not do
itself.
"""

import logging
import os
from collections.abc import Callable
from typing import Any

from rondo.protocol.codes import Code
from rondo.protocol.sam_gateway import Op
from services.sam import procs
from services.sam.application import Application, Owner, Phase, Policy, State
from services.sam.arguments import (
    DATA_BYTES_MAX,
    Arguments,
    RefusedError,
    check_of,
    check_size,
    command_of,
    interval_ms_of,
    key_of,
    name_of,
    place_of,
    policy_of,
    signal_of,
    value_of,
)
from services.sam.confinement import confinement_of
from services.sam.manager import Manager
from services.sam.outputs import read_output

HISTORY_LISTED_MIN = 4
HISTORY_LISTED_ALL = 64
"""So many ends the list of all applications has in all, or `HISTORY_LISTED_MIN` of each: it is asked for often."""

log = logging.getLogger("SAM")
Reply = Callable[[Code, Any], object]


def history_listed(applications: int) -> int:
    """How many of the last ends the list has of each of so many applications."""
    return max(HISTORY_LISTED_MIN, HISTORY_LISTED_ALL // max(1, applications))


class Asker:
    """The asking process, as the kernel reports it."""

    __slots__ = ("owner", "pid", "start_time")

    def __init__(self, pid: int, start_time: int, owner: Owner) -> None:
        self.pid = pid
        self.start_time = start_time
        self.owner = owner


class Requests:
    """Answers requests, at once or later."""

    def __init__(self, manager: Manager, own: Owner) -> None:
        """`own`: the user and groups of SAM itself."""
        self._manager = manager
        self._own = own
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
        """Execute a request, or answer why not."""
        handler = self._handlers.get(op)
        try:
            if handler is None:
                raise RefusedError(Code.NOT_SUPPORTED, f"there is no request {op}")
            handler(asker, arguments, reply)
        except RefusedError as error:
            reply(error.code, str(error))
        except Exception as error:
            # A programming error: only this client is told of it, and other requests go on.
            self._manager.counters["requests_failed"] += 1
            log.error("Request %d of process %d failed: %r", op, asker.pid, error)
            reply(Code.FAILED_OPERATION, f"SAM failed to do this: {type(error).__name__}; see its log")

    # -- from the command line ----------------------------------------------------------------------------------

    def _hello(self, _asker: Asker, _arguments: Arguments, reply: Reply) -> None:
        reply(Code.OK, {"pid": os.getpid()})

    def _run(self, asker: Asker, arguments: Arguments, reply: Reply) -> None:
        key = key_of(arguments)
        existing = self._existing(key, asker.owner.uid)
        if existing is not None:
            # The same request again: its reply was lost.
            self._manager.when_runs(existing, lambda application: _reply_run(application, reply))
            return
        self._check_owner(asker.owner)
        command, check = command_of(arguments), check_of(arguments)
        application = Application(
            id="",
            owner=asker.owner,
            command=command,
            policy=self._policy_of(arguments),
            interval_ms=interval_ms_of(arguments),
            warn_signal=signal_of(arguments),
            check=check,
            key=key,
        )
        if check and not application.interval_ms:
            raise RefusedError(Code.INVALID_PARAM, "a check needs an interval")
        self._check_confinement(asker)
        self._check_room(application)
        if not self._manager.may_start(application):
            raise RefusedError(Code.TRY_AGAIN, f"too many processes are started for user {asker.owner.uid}; ask again")
        application.id = self._manager.table.new_id(name_of(command.arguments[0]))
        self._manager.add(application, lambda started: _reply_run(started, reply))

    def _existing(self, key: bytes, uid: int) -> Application | None:
        found = (each for each in self._manager.applications.values() if key and each.key == key)
        return next((each for each in found if each.owner.uid == uid), None)

    def _status(self, _asker: Asker, arguments: Arguments, reply: Reply) -> None:
        if "id" in arguments:
            reply(Code.OK, [self._find(arguments).as_json()])
            return
        listed = [each.as_json(is_whole=False) for each in self._manager.applications.values()]
        for each in listed:
            each["history"] = each["history"][-history_listed(len(listed)) :]
        reply(Code.OK, listed)

    def _stop(self, asker: Asker, arguments: Arguments, reply: Reply) -> None:
        application = self._find_own(asker, arguments, "stop it")
        by = f"user {asker.owner.uid}"
        self._manager.stop(application, by, lambda stopped: _reply_stop(stopped, reply))

    def _environment(self, asker: Asker, arguments: Arguments, reply: Reply) -> None:
        reply(Code.OK, self._find_own(asker, arguments, "see its environment").command.environment)

    def _logs(self, asker: Asker, arguments: Arguments, reply: Reply) -> None:
        application = self._find_own(asker, arguments, "see its output")
        inode, offset = place_of(arguments)
        try:
            found = read_output(self._manager.places.log_of(application.id), inode, offset)
        except OSError as error:
            raise RefusedError(Code.FAILED_OPERATION, f"its output cannot be read: {error.strerror}") from None
        reply(Code.OK, found)

    # -- from applications --------------------------------------------------------------------------------------

    def _register(self, asker: Asker, arguments: Arguments, reply: Reply) -> None:
        policy, interval_ms = self._policy_of(arguments), interval_ms_of(arguments)
        warn_signal = signal_of(arguments)
        application = self._of_process(asker)
        if application is None:
            self._check_owner(asker.owner)
            self._check_confinement(asker)
            application = self._adopted(asker)
        application.policy, application.interval_ms, application.warn_signal = policy, interval_ms, warn_signal
        application.check = b""
        application.registers = True
        self._manager.hearing.watch(application, watched=False)
        health = self._manager.places.health_of(application.id)
        reply(Code.OK, {"id": application.id, "instance": application.instance, "health": health})

    def _adopted(self, asker: Asker) -> Application:
        try:
            command = procs.command_of(asker.pid)
        except OSError as error:
            raise RefusedError(
                Code.ACCESS, f"SAM cannot see how process {asker.pid} was started: {error.strerror}"
            ) from None
        if procs.users_of(asker.pid) != {asker.owner.uid}:
            # It has become another program meanwhile. What was just read is not its owner's to see.
            raise RefusedError(Code.ACCESS, f"process {asker.pid} runs with other rights than its user's")
        check_size(command)
        application = Application(
            id="",
            owner=asker.owner,
            command=command,
            phase=Phase.RUNNING,
            pid=asker.pid,
            start_time=asker.start_time,
            is_foreign=True,
            leads_group=procs.leads_its_group(asker.pid),
        )
        self._check_room(application)
        application.id = self._manager.table.new_id(name_of(command.arguments[0]))
        application.started_unix_time = procs.started_unix_time(asker.start_time)
        if not self._manager.adopt_new(application):
            raise RefusedError(Code.NOT_EXIST, f"process {asker.pid} is gone")
        return application

    def _start(self, asker: Asker, _arguments: Arguments, reply: Reply) -> None:
        self._manager.quorum.start(self._registered(asker), lambda started: _reply_start(started, reply))

    def _stop_checks(self, asker: Asker, _arguments: Arguments, reply: Reply) -> None:
        application = self._registered(asker)
        self._manager.hearing.watch(application, watched=False)
        self._manager.quorum.forget(application)
        reply(Code.OK, None)

    def _finalize(self, asker: Asker, _arguments: Arguments, reply: Reply) -> None:
        self._manager.let_go(self._registered(asker))
        reply(Code.OK, None)

    def _warn_signal(self, asker: Asker, arguments: Arguments, reply: Reply) -> None:
        application = self._registered(asker)
        application.warn_signal = signal_of(arguments)
        self._manager.table.save(application)
        reply(Code.OK, None)

    def _store(self, asker: Asker, arguments: Arguments, reply: Reply) -> None:
        application = self._registered(asker)
        data = value_of(arguments, "data", bytes)
        if len(data) > DATA_BYTES_MAX:
            raise RefusedError(Code.TOO_BIG, f"an application may store {DATA_BYTES_MAX} bytes, not {len(data)}")
        self._check_bytes(application, len(data) - application.stored_bytes)
        try:
            self._manager.table.store(application.id, data)
            application.stored_bytes = len(data)
            self._manager.table.save(application)
        except OSError as error:
            raise RefusedError(Code.NO_SPACE, f"the data cannot be stored: {error.strerror}") from None
        reply(Code.OK, None)

    def _restore(self, asker: Asker, _arguments: Arguments, reply: Reply) -> None:
        reply(Code.OK, self._manager.table.restore(self._registered(asker).id))

    def _mark_failed(self, asker: Asker, _arguments: Arguments, reply: Reply) -> None:
        application = self._registered(asker)
        reply(Code.OK, None)
        self._manager.mark_failed(application)

    def _policy_of(self, arguments: Arguments) -> Policy:
        policy = policy_of(arguments)
        if policy.needs_quorum and (why := self._manager.quorum.why_refused(policy)):
            raise RefusedError(Code.NOT_EXIST, why)
        return policy

    # -- who ----------------------------------------------------------------------------------------------------

    def _find(self, arguments: Arguments) -> Application:
        name = value_of(arguments, "id", str)
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
        self._check_confinement(asker)
        return application

    def _of_process(self, asker: Asker) -> Application | None:
        """The application that asks: by its process, or by a process in its session."""
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
        """Check that SAM can make a process of this owner."""
        if self._own.uid == 0:
            return
        ours = {self._own.gid, *self._own.groups}
        if (owner.uid, owner.gid) != self._own[:2] or {owner.gid, *owner.groups} != ours:
            raise RefusedError(
                Code.ACCESS,
                f"this node's SAM runs as user {self._own.uid}, group {self._own.gid}, and cannot start anything as "
                f"user {owner.uid}, group {owner.gid} with other groups; a node that root has started can",
            )

    def _check_confinement(self, asker: Asker) -> None:
        """Check that the asking process would not escape a confinement."""
        if why := confinement_of(asker.pid, asker.start_time, asker.owner.uid):
            self._manager.counters["refused_for_confinement"] += 1
            raise RefusedError(
                Code.ACCESS,
                f"process {asker.pid} is confined, what SAM starts is not: {why}; "
                "ask from outside, or run a node inside",
            )

    def _check_room(self, application: Application) -> None:
        """Check that there is room for another application."""
        uid = application.owner.uid
        if why := self._manager.quotas.why_too_many(self._manager.applications.values(), uid):
            self._manager.counters["refused_for_quota"] += 1
            raise RefusedError(Code.NO_RESOURCES, why)
        self._check_bytes(application, application.table_bytes)

    def _check_bytes(self, application: Application, more_bytes: int) -> None:
        """Check that there is room for so many more bytes of its owner, after forgetting finished applications if
        necessary."""
        if why := self._manager.past.make_room(application.owner.uid, more_bytes, keep=application):
            self._manager.counters["refused_for_quota"] += 1
            raise RefusedError(Code.NO_RESOURCES, why)


def _reply_run(application: Application | None, reply: Reply) -> None:
    if application is None:
        reply(Code.TRY_AGAIN, "others wait for its start, too")
    elif application.state is State.FAILED and not application.pid and application.ends == 1:
        reply(Code.FAILED_OPERATION, f"{application.message} (SAM id {application.id})")
    else:
        reply(Code.OK, {"id": application.id, "pid": application.pid})


def _reply_start(application: Application | None, reply: Reply) -> None:
    if application is None:
        reply(Code.TRY_AGAIN, "it waits for quorum")
    else:
        reply(Code.OK, None)


def _reply_stop(application: Application | None, reply: Reply) -> None:
    if application is None:
        reply(Code.TRY_AGAIN, "others wait for its end, too")
    else:
        reply(Code.OK, application.as_json())
