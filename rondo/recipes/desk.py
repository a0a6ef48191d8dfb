"""What both shells share: a replica, the calls that wait for it, and the notices for the application.

Only one thread at a time may use it: the shell for threads has a lock, that for asyncio has a loop.
"""

from __future__ import annotations

import logging
import os
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from rondo import Error, Event, FailedOperation, Member, NoQuorum, Timeout
from rondo.quorum import Quorate, QuorumStatus
from rondo.recipes.core.formation import ABANDON_MS
from rondo.recipes.core.machine import (
    Conflict,
    Look,
    Lost,
    Machine,
    Members,
    Notice,
    NotReady,
    Outcome,
    Progress,
    Ready,
)
from rondo.recipes.core.replica import Replica
from rondo.recipes.errors import Refused, StoreError
from rondo.recipes.keeper import Keeper, Written
from rondo.recipes.machines import CLOCK_BITS
from rondo.recipes.steps import Do

AUTHOR_BYTES = 12
TIMEOUT_S = 30.0
"""How long a call waits unless it is told otherwise."""
TICK_S = 0.1
AWAITED_MS = 5000
"""A group that waits for disks longer than this is logged."""
MS_TO_NS = 1_000_000

CLOCK_BEGINS_MS = 1_767_225_600_000
"""2026-01-01. 40 bits of milliseconds are 34 years."""

log = logging.getLogger("rondo.recipes")
_told_of_votes: weakref.WeakSet[Any] = weakref.WeakSet()
"""Connections whose missing votes have been logged."""


class Hooks(Protocol):
    """The functions of the application that are called with notices."""

    def progress(self, pieces: int, bytes_come: int) -> None:
        """Pieces of the state were received."""

    def lost_commands(self, commands: list[bytes]) -> None:
        """This replica's history was thrown away; these commands are not in the one that goes on."""

    def merge(self, command: bytes) -> bytes | None:
        """A lost command as it is to be done on the history that goes on; None: not at all."""

    def state_changed(self, state: str) -> None:
        """`ready`, or why not."""

    def members_changed(self, members: tuple[Member, ...]) -> None:
        """The members of the group have changed."""


@dataclass(eq=False)
class Call:
    """A command or read with a caller."""

    number: int
    wake: Callable[[], None]
    look: Callable[[], Any] | None = None
    is_over: bool = False
    has_looked: bool = False
    error: BaseException | None = None
    value: Any = None


class Desk:
    """A replica and its callers."""

    def __init__(
        self,
        cluster: Any,
        name: str,
        machine: Machine,
        status: QuorumStatus,
        hooks: Hooks | None,
        keeper: Keeper | None = None,
        nodes_min: int = 1,
    ) -> None:
        self.name = name
        self.machine = machine
        self.author = keeper.author if keeper is not None else os.urandom(AUTHOR_BYTES)
        self.has_votes = status.provider is not None
        if not self.has_votes and cluster not in _told_of_votes:
            _told_of_votes.add(cluster)
            log.warning(
                "%s: this cluster counts no votes: every side of a split goes on, with a history of its own", name
            )
        me = (cluster.node_id, cluster.pid)
        abandon_ms = ABANDON_MS if keeper is None or keeper.may_abandon else None
        self.replica = Replica(
            me, self.author, machine, has_votes=self.has_votes, abandon_ms=abandon_ms, nodes_min=nodes_min
        )
        self.ended: Error | None = None
        self._why_not_ready = "it has not joined yet"
        self._awaits_since_ns: int | None = None
        self.tickets = 0
        self._hooks = hooks
        self._calls: dict[int, Call] = {}
        self._told: deque[Callable[[], None]] = deque()

    @property
    def is_ready(self) -> bool:
        """True if commands are carried out here."""
        return self.ended is None and self.replica.is_ready

    @property
    def why_not_ready(self) -> str:
        """Why commands are not carried out here."""
        awaited = self.replica.awaited_nodes
        if awaited and not self.replica.is_without_quorum:
            return f"it waits for the disk of node {' and '.join(map(str, awaited))}"
        lacking = self.replica.nodes_lacking
        if lacking and not self.replica.is_without_quorum:
            nodes = "node has" if lacking == 1 else "nodes have"
            return f"it begins once {lacking} more {nodes} a process of the group"
        return self._why_not_ready

    def next_ticket(self) -> tuple[bytes, int]:
        """A name for a request. No other request has it."""
        self.tickets += 1
        return self.author, self.tickets

    @staticmethod
    def clock_ms() -> int:
        """The time for fencing tokens."""
        return max(0, time.time_ns() // MS_TO_NS - CLOCK_BEGINS_MS) % (1 << CLOCK_BITS)

    # -- calls ---------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raise why nothing can be done here: NoQuorum, or what has ended the connection."""
        if self.ended is not None:
            raise self.ended
        if self.replica.is_without_quorum and not self.replica.is_ready:
            raise NoQuorum(f"{self.name}: this side has no quorum")

    def do(self, command: bytes, wake: Callable[[], None]) -> Call:
        """Send a command."""
        self.check()
        call = Call(self.replica.do(command), wake)
        self._calls[call.number] = call
        return call

    def must_do(self, step: Do) -> None:
        """Send a command that nobody waits for, with or without quorum."""
        if self.ended is None:
            self.replica.do(step.packed())

    def read(self, look: Callable[[], Any], wake: Callable[[], None]) -> Call:
        """Begin a linearizable read."""
        self.check()
        call = Call(self.replica.read(), wake, look)
        self._calls[call.number] = call
        return call

    def give_up(self, call: Call) -> Error:
        """The call has no time left. Returns the error to raise."""
        self._calls.pop(call.number, None)
        self.replica.forget(call.number)
        return self.late()

    def late(self) -> Error:
        """The error for a call that has no time left."""
        if self.ended is not None:
            return self.ended
        if self.replica.is_without_quorum:
            return NoQuorum(f"{self.name}: this side has no quorum")
        why = " (it is not on enough disks)" if self.replica.storage is not None else ""
        why = why if self.replica.is_ready else f" ({self.why_not_ready})"
        return Timeout(f"{self.name}: it was not done in time, and may be done still{why}")

    def end(self, error: Error) -> None:
        """End all calls: nothing more will happen."""
        if self.ended is not None:
            return
        self.ended = error
        for call in self._calls.values():
            call.error, call.is_over = error, True
            call.wake()
        self._calls.clear()

    def fail(self, error: BaseException) -> None:
        """End all calls because of an exception that is no result of a command. The replica cannot go on after it."""
        log.error("%s: this replica has failed, and leaves the group", self.name, exc_info=error)
        self.end(FailedOperation(f"{self.name}: this replica has failed: {error!r}"))

    # -- events and time -----------------------------------------------------------------------------------------

    def event(self, event: Event, now_ns: int) -> None:
        """Process an event of the group."""
        self.replica.handle(event, now_ns)
        self._take_notices()

    def quorate(self, change: Quorate, now_ns: int) -> None:
        """Note what the node says about quorum."""
        ring = (change.ring.representative, change.ring.sequence)
        self.replica.quorum(ring, change.members, change.quorate, now_ns)
        self._take_notices()

    def tick(self, now_ns: int) -> None:
        """Do what the time has made due."""
        self.replica.tick(now_ns)
        self._take_notices()
        if self.replica.storage is not None:
            self._tell_of_awaited(now_ns)

    def _tell_of_awaited(self, now_ns: int) -> None:
        if not self.replica.awaited_nodes or self.replica.is_without_quorum:
            self._awaits_since_ns = None
        elif self._awaits_since_ns is None:
            self._awaits_since_ns = now_ns
        elif 0 < self._awaits_since_ns <= now_ns - AWAITED_MS * MS_TO_NS:
            self._awaits_since_ns = 0  # logged once
            log.warning(
                "%s: it does not go on: %s. Start the application there; if its disk is lost, start all processes with "
                "Store(..., abandon=True)", self.name, self.why_not_ready
            )  # fmt: skip

    def written(self, written: Written, now_ns: int) -> None:
        """Note how much is on disk."""
        self.replica.written(*written, now_ns)
        self._take_notices()

    def take_told(self) -> Iterable[Callable[[], None]]:
        """The notices for the application, as calls to be made without a lock."""
        told, self._told = self._told, deque()
        return told

    def tell(self, call: Callable[[], None]) -> None:
        """Add a notice for the application."""
        self._told.append(call)

    def _take_notices(self) -> None:
        notices = self.replica.notices
        while notices:
            self._take(notices.popleft())

    def _take(self, notice: Notice) -> None:
        hooks = self._hooks
        match notice:
            case Outcome():
                self._outcome(notice)
            case Look(number=number):
                self._look(number)
            case Conflict(why=why):
                self.end(
                    StoreError(
                        f"{self.name}: {why}. This process has left the group. Give all of them a Store, or none; if "
                        "this disk is the wrong one, move its directory away; if it is the right one, stop the others "
                        "and move theirs"
                    )
                )
            case Ready():
                self._why_not_ready = ""
                if hooks is not None:
                    self.tell(lambda: hooks.state_changed("ready"))
            case NotReady(why=why):
                self._why_not_ready = why
                if hooks is not None:
                    self.tell(lambda: hooks.state_changed(why))
            case Progress(pieces=pieces, bytes=bytes_come):
                if hooks is not None:
                    self.tell(lambda: hooks.progress(pieces, bytes_come))
            case Members(members=members):
                if hooks is not None:
                    there = tuple(Member(*each) for each in members)
                    self.tell(lambda: hooks.members_changed(there))
            case Lost(commands=commands):
                log.warning(
                    "%s: a history was thrown away with %d commands that nobody else has", self.name, len(commands)
                )
                if hooks is not None:
                    self._lost(hooks, commands)

    def _lost(self, hooks: Hooks, commands: tuple[tuple[bytes, int, bytes], ...]) -> None:
        merged = [(author, number, hooks.merge(command)) for author, number, command in commands]
        again = [(author, number, command) for author, number, command in merged if command is not None]
        if again:
            self.replica.merge(again)
        left = [command for (_, _, command), each in zip(commands, merged, strict=True) if each[2] is None]
        self.tell(lambda: hooks.lost_commands(left))

    def _look(self, number: int) -> None:
        call = self._calls.get(number)
        if call is None or call.look is None:
            return
        try:
            call.error, call.value = None, call.look()
        except Exception as error:  # what the caller's look has raised is the caller's
            call.error = error
        call.has_looked = True

    def _outcome(self, outcome: Outcome) -> None:
        call = self._calls.pop(outcome.number, None)
        if call is None:
            return
        call.is_over = True
        try:
            if not outcome.is_done:
                call.error = Refused(outcome.value.decode())
            elif not call.has_looked:
                call.value = call.look() if call.look is not None else outcome.value
        except Exception as error:  # what the caller's look has raised is the caller's
            call.error = error
        call.wake()
