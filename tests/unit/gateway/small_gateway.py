"""A gateway in small, for the tests of its own client: one session, groups, a log, and time that the test says."""

from __future__ import annotations

import select
import time
from pathlib import Path
from typing import Any, NamedTuple

from rondo.ipc.endpoints import remove_stale
from rondo.ipc.local_router import LocalRouter
from rondo.protocol import events
from rondo.protocol.client_gateway import FROM_CLIENT, VERSION, Kind, decode, encode
from rondo.protocol.codes import Code
from rondo.protocol.envelope import pack
from rondo.protocol.requests import Op, decode_requests
from services.ipc_gateway.keep_warm import NEVER_S, KeepWarm

NODE, PID = 3, 4711
MOMENT_S = 1e-6
"""More than the rounding of any time here."""


class Heard(NamedTuple):
    """An envelope of its session."""

    at_s: float
    kind: int
    epoch: int
    fields: list[Any]


class Asked(NamedTuple):
    """A request of it."""

    at_s: float
    epoch: int
    number: int
    op: int
    group: bytes
    arguments: list[Any]


class Node:
    """A gateway in small, its loop and its clients: one session, groups of which one is watched, a log.

    It answers at once by docs/PROTOCOL-CLIENT.md, unless the test says otherwise. No time passes but in `after`.
    """

    def __init__(self, run_dir: Path) -> None:
        self._endpoint = f"ipc://{run_dir / 'gateway.sock'}"
        self._router = LocalRouter(self._endpoint)
        self.keep_warm = KeepWarm(self._endpoint)
        self.now_s = time.monotonic() + 10_000
        """Ahead of the clock, by which a socket says when it wants to connect again."""
        self.begun_s = self.now_s
        self.heard: list[Heard] = []
        self.passed_on = 0
        """Requests, those of its own client included."""
        self.is_silent = False
        """Answers nothing."""
        self.is_reading = True
        self.fails_next: int | None = None
        """The next message is ordered, and has no effect for this reason."""
        self.epoch, self.head = 7, 100
        self.is_member = False
        self.taken = 0
        self.session: bytes | None = None
        """The connection that has it."""
        self._connection = b""

    def close(self) -> None:
        self.keep_warm.close()
        self._router.close()

    # -- time ----------------------------------------------------------------------------------------------------

    def client_sends(self, requests: int = 1) -> None:
        """Another client does."""
        self.passed_on += requests
        self.settle()

    def after(self, seconds: float, client_sends_every_s: float = NEVER_S) -> None:
        """Let time pass, and whatever is due be done in it; the last moment included."""
        end_s, next_s = self.now_s + seconds, self.now_s + client_sends_every_s
        self.settle()
        while min(self.keep_warm.due_s, next_s) <= end_s + MOMENT_S:
            self.now_s = max(self.now_s, min(self.keep_warm.due_s, next_s))
            if self.now_s >= next_s:
                self.passed_on += 1
                next_s += client_sends_every_s
            self.settle()
        self.now_s = max(self.now_s, end_s)

    def settle(self) -> None:
        """Turns of the loop, as services/ipc_gateway/process.py has them, until there is nothing to be done."""
        for _ in range(1000):
            if self.is_reading:
                for connection, envelope in self._router.receive():
                    assert envelope is not None
                    self._hear(connection, envelope)
            self.keep_warm.note(self.passed_on, self.now_s)
            if self.now_s >= self.keep_warm.due_s or _is_readable(self.keep_warm):
                self.keep_warm.turn(self.now_s)
            has_input = self._router.has_pending or _is_readable(self._router)
            if (
                not _is_readable(self.keep_warm)
                and not (self.is_reading and has_input)
                and self.keep_warm.due_s > self.now_s
            ):
                return
        raise AssertionError("it never comes to rest")

    # -- the gateway ---------------------------------------------------------------------------------------------

    def say(self, kind: Kind, *fields: object) -> None:
        """An envelope, by hand."""
        self.say_bytes(encode(kind, self.epoch, *fields))

    def say_bytes(self, envelope: bytes) -> None:
        """Anything."""
        assert self._router.send(self._connection, envelope)

    def welcome(self, **changes: int) -> None:
        """Also where it goes on with a session."""
        self.epoch, self.taken = changes.get("epoch", self.epoch), changes.get("taken", self.taken)
        limits = [3 << 20, 16384, 1 << 26, 10_000]
        self.say(Kind.WELCOME, VERSION, NODE, PID, 99, b"s" * 16, self.head, self.taken, None, limits)

    def lose(self) -> None:
        """The log is over."""
        self.say(Kind.LOST, "totem died", [])
        self.epoch += 1
        self.is_member = False

    def die_and_come_back(self) -> None:
        """The socket of a new process is at the place of the old one's."""
        self._router.close()
        remove_stale(self._endpoint)
        self._router = LocalRouter(self._endpoint)
        self.session = None
        self.is_member = False

    def _hear(self, connection: bytes, envelope: bytes) -> None:
        kind, epoch, fields = decode(envelope, FROM_CLIENT)
        self.heard.append(Heard(self.now_s, kind, epoch, fields))
        self._connection = connection
        has_session = self.session == connection
        if self.is_silent:
            if kind == Kind.REQUEST:
                self.passed_on += 1
        elif kind == Kind.HELLO and has_session:
            self.say(Kind.ERROR, Code.BAD_OPERATION, "this connection has a session already")
        elif kind == Kind.HELLO:
            self.session, self.taken, self.is_member = connection, 0, False
            self.welcome()
        elif not has_session:
            self.say(Kind.ERROR, Code.BAD_HANDLE, "this connection has no session; say HELLO first")
        elif kind == Kind.BYE:
            self.session = None
            self.say(Kind.BYE, Code.OK, "")
        elif kind == Kind.REQUEST and epoch == self.epoch:
            self._request(*fields)

    def _request(self, first: int, last: int, blob: bytes) -> None:
        if first != self.taken + 1 or last != first:
            self.session = None
            self.say(Kind.BYE, Code.MESSAGE_ERROR, f"request {first} where {self.taken + 1} was due")
            return
        ((number, op, group, *arguments),) = decode_requests(blob)
        self.taken = number
        self.passed_on += 1
        if (op == Op.JOIN) == self.is_member:
            code = Code.EXIST if op == Op.JOIN else Code.NOT_EXIST
            self.say(Kind.REPLY, pack([[number, code, None]]))
            self.say(Kind.SETTLED, number)
            return
        self.say(Kind.SETTLED, number)
        self.head += 1
        me = [NODE, PID]
        if op == Op.JOIN:
            self.is_member = True
            event = [self.head, events.MEMBERSHIP, group, [me], [[*me, events.Reason.JOIN]], [], number]
        elif self.fails_next is None:
            event = [self.head, events.MESSAGE, group, *me, False, arguments[1], number]
        else:
            event = [self.head, events.FAILED, number, self.fails_next]
            self.fails_next, self.is_member = None, False
        self.say(Kind.EVENTS, self.head, self.head, events.encode_events([event]))

    # -- what was heard ------------------------------------------------------------------------------------------

    def asked(self) -> list[Asked]:
        """The requests so far."""
        found = []
        for at_s, kind, epoch, fields in self.heard:
            if kind == Kind.REQUEST:
                ((number, op, group, *arguments),) = decode_requests(fields[2])
                found.append(Asked(at_s, epoch, number, op, group, arguments))
        return found

    def times_of(self, *kinds: Kind) -> list[float]:
        """When envelopes of these kinds came, from the beginning of the test on."""
        return [each.at_s - self.begun_s for each in self.heard if each.kind in kinds]

    def warm(self) -> None:
        """Laps go round, the last of them just now and no client's request on its way; what was heard is forgotten."""
        self.client_sends()
        self.after(0.1)
        assert self.keep_warm.warm_ups > 10
        assert self.is_member
        self.begun_s = self.now_s
        self.heard.clear()


def _is_readable(polled: KeepWarm | LocalRouter) -> bool:
    poll = select.poll()
    poll.register(polled.fileno(), select.POLLIN)
    return bool(poll.poll(0))
