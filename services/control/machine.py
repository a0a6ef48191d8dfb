"""The control service without I/O: between totem's log on one side and the gateway's clients on the other.

The state (`core`) follows from the log and from clients' requests. Each change goes to totem as a commit with the whole
state. Answers and events for clients wait until totem has confirmed that commit. So this process may be killed at any
moment: nobody was told anything that a restarted process does not know.

The caller hands in what sockets and clock provide, then calls `flush`, and sends `to_totem` and `answers`.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from rondo.protocol import control_gateway as gateway
from rondo.protocol import totem_control as log
from rondo.protocol.codes import Code
from rondo.protocol.control_gateway import Op
from rondo.protocol.envelope import PROTOCOL_VERSION, BusError, pack
from services.control import shutdown_requests
from services.control.cfg.shutdown import Shutdowns
from services.control.core import Core
from services.control.history import History
from services.control.quorum.status import status as quorum_status
from services.control.requests import evaluate, needed
from services.control.samples import Samples
from services.control.setup import Setup
from services.control.statistics import Statuses
from services.control.watches import KEYS, QUORUM, Place, Watches

COMMITS_MAX = 8
"""Most unconfirmed commits. Later changes go into the next one."""
QUEUED_BYTES_MAX = 256 * 1024
"""If more of this node's messages wait for the ring, clients are asked to try again."""
ANSWERS_MAX = 4096
"""Most answers that wait for a commit."""


_Asked = tuple[Place, int, dict[str, Any]]
"""(where to answer, operation, arguments)"""


class State(StrEnum):
    """The state of the service."""

    WAITING = "waiting"
    """Waiting for totem."""
    OPERATIONAL = "operational"


class Machine:
    """The control service from the start of its process."""

    def __init__(self, setup: Setup, pid: int, stored_barrier: int) -> None:
        """Raises `SettingsError`."""
        self.core = Core(setup, stored_barrier)
        self.pid = pid
        self.to_totem: deque[bytes] = deque()
        self.answers: deque[tuple[bytes, bytes]] = deque()
        """(gateway, envelope)"""
        self._asked: list[_Asked] = []
        """Requests that need the status of other services. The caller asks the services of `take_sources`, then calls
        `answer_with`."""
        self._being_answered: list[_Asked] = []
        self.totem_pid = 0
        """Process id of totem; 0 = unknown. The caller watches it, and calls `totem_lost` when it dies."""
        self.epoch = 0
        self.counters: Counter[str] = Counter()
        self.watches = Watches(self._answer)
        self.samples = Samples()
        self.shutdowns = Shutdowns(self._answer)
        self.reopen_logs = False
        """A client wants log files to be reopened. The caller does so and resets this."""
        self._setup = setup
        self._stored_barrier = stored_barrier
        self._welcomed = False
        self._commit = 0
        """Number of the last commit."""
        self._committed = 0
        self._queued_bytes = 0
        self._waiting: deque[tuple[int, Place, Code, Any]] = deque()
        """Answers, each with the commit that it waits for."""
        self._releases: deque[tuple[int, dict[str, int]]] = deque()
        """Event numbers, each with the commit that makes them safe to tell."""
        self._evicted = False
        self._reloads: dict[int, list[Place]] = {}
        """Clients that wait for the end of a reload from this node, by its number."""

    @property
    def state(self) -> State:
        """The state of the service."""
        return State.OPERATIONAL if self._welcomed else State.WAITING

    # totem.

    def hello(self) -> None:
        """Start, or restart, the exchange with totem."""
        self._welcomed = False
        self.to_totem.clear()
        self.to_totem.append(log.encode(log.Hello(self.epoch, PROTOCOL_VERSION, self.pid)))

    def totem_lost(self) -> None:
        """Totem died, and its epoch has ended."""
        if self.epoch:
            self._begin_epoch()
        self.totem_pid = 0
        self.hello()

    def _begin_epoch(self) -> None:
        self.epoch = 0
        self.core = self.core.reborn(self.core.barrier or self._stored_barrier)
        self._fail_waiting("the ring process died; it is not known whether the request was carried out")
        self._commit = self._committed = self._queued_bytes = 0
        self._releases.clear()

    def receive_totem(self, frame: bytes, now_ns: int) -> None:
        """One envelope from totem. Raises `BusError`."""
        envelope = log.decode(frame)
        if isinstance(envelope, log.Welcome):
            self._welcome(envelope)
            self.shutdowns.begin(now_ns)
        elif isinstance(envelope, log.Again):
            if self._welcomed:
                self.hello()
        elif not self._welcomed or envelope.epoch != self.epoch:
            return
        elif isinstance(envelope, log.Log):
            self.core.apply(envelope.entries, now_ns)
        elif isinstance(envelope, log.Committed):
            self._confirmed(envelope)
        else:
            raise BusError(f"{type(envelope).__name__} is not for control")

    def _welcome(self, welcome: log.Welcome) -> None:
        if welcome.version != PROTOCOL_VERSION:
            raise BusError(f"totem speaks version {welcome.version} of the bus, control version {PROTOCOL_VERSION}")
        if self.epoch and welcome.epoch != self.epoch:
            self._begin_epoch()
        is_known = self.epoch == welcome.epoch
        self.epoch, self.totem_pid = welcome.epoch, welcome.pid
        if welcome.state is not None:
            self.core.restore(welcome.state, welcome.position)
            self.core.stay()
        elif is_known:
            # The connection broke before the first commit, so there is no state to restore.
            self.core = Core(self._setup, self._stored_barrier)
        self.core.n = welcome.position
        self._fail_waiting(
            "the connection to the ring process broke; it is not known whether the request was carried out"
        )
        self._commit = self._committed = welcome.commit
        self._releases.clear()
        if welcome.state is not None:
            self.watches.release(self._numbers(), self._histories())
        self._welcomed = True

    def _confirmed(self, envelope: log.Committed) -> None:
        self._committed = max(self._committed, envelope.number)
        self._queued_bytes = envelope.queued_bytes
        while self._waiting and self._waiting[0][0] <= self._committed:
            _, place, code, result = self._waiting.popleft()
            self._answer(place, code, result)
        numbers = None
        while self._releases and self._releases[0][0] <= self._committed:
            _, numbers = self._releases.popleft()
        if numbers is not None:
            self.watches.release(numbers, self._histories())

    # Clients.

    def receive_gateway(self, identity: bytes, frame: bytes, now_ns: int) -> None:
        """One envelope from a gateway. Raises `BusError`."""
        ask = gateway.decode(frame)
        if isinstance(ask, gateway.Forget):
            self.watches.forget(identity, ask.connection)
            self.samples.forget(identity, ask.connection)
            self.shutdowns.forget(identity, ask.connection)
            return
        if not isinstance(ask, gateway.Ask):
            raise BusError(f"{type(ask).__name__} is not for control")
        place = (identity, ask.connection, ask.number)
        self.counters["requests"] += 1
        try:
            op, arguments = gateway.decode_request(ask.blob)
        except BusError as error:
            self._answer(place, Code.MESSAGE_ERROR, str(error))
            return
        if not self._welcomed:
            self._answer(place, Code.TRY_AGAIN, "the ring process is not there")
        elif op == Op.WATCH:
            self.watches.ask(place, arguments, self._histories(), now_ns)
        elif op in shutdown_requests.OPS:
            shutdown_requests.ask(self.shutdowns, self.core.keys, place, op, arguments, self._answer, now_ns)
            self._shut_down()
        elif op == Op.REOPEN_LOGS:
            self.reopen_logs = True
            self._answer(place, Code.OK, None)
        elif len(self._waiting) + len(self._asked) + len(self.samples) >= ANSWERS_MAX:
            self._answer(place, Code.TRY_AGAIN, f"{ANSWERS_MAX} requests wait already")
        elif self._queued_bytes > QUEUED_BYTES_MAX:
            self._answer(place, Code.TRY_AGAIN, "too much waits for the ring")
        elif op == Op.SAMPLE:
            self.samples.ask(place, op, arguments)
        elif needed(op, arguments):
            self._asked.append((place, op, arguments))
        else:
            self._evaluate(place, op, arguments, {})

    def _evaluate(self, place: Place, op: int, arguments: dict[str, Any], statuses: Statuses) -> None:
        outcome = evaluate(self.core, op, arguments, statuses)
        if outcome.is_change:
            self._waiting.append((self._commit + 1, place, outcome.code, outcome.result))
        else:
            self._answer(place, outcome.code, outcome.result)

    def take_sources(self, now_ns: int) -> set[str]:
        """The services to ask for their status now, for waiting clients and samples. `answer_with` must follow."""
        self._being_answered += self._asked + self.samples.take_due(now_ns)
        self._asked.clear()
        return {name for _, op, arguments in self._being_answered for name in needed(op, arguments)}

    def answer_with(self, statuses: Statuses, now_ns: int) -> None:
        """Answer the clients of the last `take_sources`. `statuses`: of the services that have answered."""
        asked, self._being_answered = self._being_answered, []
        for place, op, arguments in asked:
            if "totem" in needed(op, arguments) and "totem" not in statuses:
                self._answer(place, Code.TRY_AGAIN, "the ring process does not answer")
            elif not self._welcomed:
                self._answer(place, Code.TRY_AGAIN, "the ring process is not there")
            elif op == Op.RELOAD:
                self._reload(place, statuses["totem"], now_ns)
            else:
                self._evaluate(place, op, arguments, statuses)

    def _reload(self, place: Place, totem: Mapping[str, Any], now_ns: int) -> None:
        """A client wants a reload on all nodes. It is answered when the reload has ended."""
        reload = self.core.reload
        number = reload.own_number
        if number is None and reload.is_pending:
            self._answer(place, Code.TRY_AGAIN, "a reload by another node is in progress; try again")
            return
        if number is None:
            voters = [node for node in totem.get("rondo_members", []) if node in self.core.members]
            number = self.core.propose_reload(voters, now_ns)
        self._reloads.setdefault(number, []).append(place)

    def _tell_outcomes(self) -> None:
        outcomes, self.core.reload.outcomes = self.core.reload.outcomes, []
        for outcome in outcomes:
            names = self.core.setup.names
            faults = [{"node": node, "name": names.get(node, ""), "fault": text} for node, text in outcome.faults]
            result = {"changed": list(outcome.changed), "faults": faults}
            for place in self._reloads.pop(outcome.number, []):
                self._waiting.append((self._commit + 1, place, Code.OK, result))

    def gateway_gone(self, identity: bytes, now_ns: int) -> None:
        """A gateway's connection has ended."""
        self.watches.forget(identity)
        self.samples.forget(identity)
        self.shutdowns.gateway_gone(identity, now_ns)

    def _shut_down(self) -> None:
        """Carry out shutdown requests without objections."""
        granted, self.shutdowns.granted = self.shutdowns.granted, []
        for place in granted:
            self.core.shut_down()
            self._waiting.append((self._commit + 1, place, Code.OK, None))

    @property
    def is_at_end(self) -> bool:
        """Whether this node is shut down, and all answers are sent."""
        return self.core.is_shut_down and self._committed == self._commit and not (self._waiting or self.answers)

    def _answer(self, place: Place, code: Code, result: Any) -> None:
        identity, connection, number = place
        self.answers.append((identity, gateway.encode(gateway.Answer(0, connection, number, code, pack(result)))))

    def _fail_waiting(self, why: str) -> None:
        for places in self._reloads.values():
            for place in places:
                self._answer(place, Code.LIBRARY, why)
        self._reloads.clear()
        while self._waiting:
            self._answer(self._waiting.popleft()[1], Code.LIBRARY, why)

    # What is due.

    def flush(self, now_ns: int) -> None:
        """Make the envelopes that are due now. Call this after input, and when `next_deadline_ns` has come."""
        self.watches.expire(now_ns)
        self.shutdowns.expire(now_ns)
        if not self._welcomed:
            return
        self._shut_down()
        core = self.core
        core.advance(now_ns)
        self._tell_outcomes()
        if core.changed and self._commit - self._committed < COMMITS_MAX:
            self._make_commit()
        if core.evict is not None and not self._evicted:
            self._evicted = True
            self.to_totem.append(log.encode(log.Evict(self.epoch, *core.evict)))

    def _make_commit(self) -> None:
        core = self.core
        self._commit += 1
        messages, core.outbox = core.outbox, []
        replies = [[n, data] for n, data in core.replies]
        core.replies.clear()
        reform, core.reform_wanted = core.reform_wanted, False
        self.to_totem.append(
            log.encode(log.Commit(self.epoch, self._commit, core.n, core.snapshot(), messages, replies, reform))
        )
        self._releases.append((self._commit, self._numbers()))

    def next_deadline_ns(self) -> int | None:
        """When to call `flush` at the latest; None: no need."""
        dues = [self.watches.next_deadline_ns(), self.shutdowns.next_deadline_ns()]
        dues += [self.core.next_deadline_ns() if self._welcomed else None]
        if not self._being_answered:  # the next sample is taken after this one
            dues.append(self.samples.next_deadline_ns())
        return min((due for due in dues if due is not None), default=None)

    def _numbers(self) -> dict[str, int]:
        return {of: history.number for of, history in self._histories().items()}

    def _histories(self) -> dict[str, History]:
        return {QUORUM: self.core.quorum_history, KEYS: self.core.key_history}

    def status(self) -> dict[str, Any]:
        """For the control socket."""
        core = self.core
        return {
            "state": str(self.state),
            "epoch": self.epoch,
            "node_id": core.setup.node,
            "position": core.n,
            "commits": self._committed,
            "watches": len(self.watches),
            "samples_waiting": len(self.samples),
            "is_reloading": core.reload.is_pending,
            "shutdown_trackers": len(self.shutdowns),
            "keys": len(core.keys),
            "ring": {"representative": core.ring.representative, "sequence": core.ring.sequence},
            "members": list(core.members),
            "config_versions": {str(node): version for node, version in sorted(core.versions.told.items())},
            "differing": {str(node): names for node, names in sorted(core.introductions.differing.items())},
            "quorate": core.votes.quorate if core.votes is not None else True,
            "quorum": quorum_status(core.votes) if core.votes is not None else None,
            "counters": {
                **self.counters,
                **{f"ignored: {why}": count for why, count in core.ignored.items()},
                **{f"refused: {why}": count for why, count in (core.votes.refused if core.votes else {}).items()},
            },
        }
