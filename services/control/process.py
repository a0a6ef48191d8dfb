"""The control process: one loop around one poll, between totem's socket and the gateways'. Both may come and go.

The loop waits for neither. It says hello to totem until totem answers, and notices totem's death by its process. A
gateway connects when it has a request.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import time

from rondo.config import NodeConfig, NodeConfigError
from rondo.ipc import endpoints as sockets
from rondo.ipc.local_dealer import LocalDealer
from rondo.ipc.local_router import LocalRouter
from rondo.node.chassis import Chassis
from rondo.node.exit_codes import EXIT_OK, EXIT_SHUT_DOWN
from rondo.node.instance import InstanceLock
from rondo.node.logs import LogError, notice
from rondo.node.placement import stay_off_the_ring
from rondo.node.process_watch import ProcessWatch
from rondo.node.service import Start
from rondo.node.spare_memory import SpareMemory
from rondo.node.supervision import RESOLVED_CONFIGURATION
from rondo.node.tuning import tune_memory
from rondo.paths import socket_endpoint
from rondo.protocol import control_gateway, totem_control
from rondo.protocol.envelope import BusError
from services.control.barrier_file import BarrierFile
from services.control.cfg.reload import Candidate
from services.control.file_check import FileCheck
from services.control.machine import Machine, State
from services.control.setup import setup_of
from services.control.siblings import Siblings

HELLO_AGAIN_NS = 1_000_000_000
"""An unanswered hello is repeated after this time."""
RETRY_NS = 5_000_000
"""How long an envelope waits that a socket had no room for."""
ALIVE_CHECK_NS = 1_000_000_000
"""How often to check whether totem lives, if the kernel cannot report its death."""
STATUS_S_MAX = 2.0
"""How long another service may take to answer with its status."""

GOODBYE_NS_MAX = 1_000_000_000
"""How long to wait for the delivery of this node's leave announcement. The ring may be forming just now."""

_log = logging.getLogger("CONTROL")


class Process:
    """One running control service. `run` returns the exit code."""

    def __init__(self, start: Start) -> None:
        """Raises `rondo.node.instance.InstanceError`, `SettingsError`."""
        config, run_dir, state_dir = start.config, start.run_dir, start.state_dir
        self._locks = [InstanceLock(run_dir, "control"), InstanceLock(state_dir, "control", "--state-dir")]
        self._config = config
        self._run_dir = run_dir
        self._chassis = Chassis("control", start)
        self._poll = self._chassis.poll
        self._barrier_file = BarrierFile(state_dir)
        self._machine = Machine(setup_of(config), os.getpid(), self._barrier_file.read())
        self._watch: ProcessWatch | None = None
        self._hello_at_ns: int | None = None
        self._retry_at_ns: int | None = None
        self._asking: Siblings | None = None
        """The status request in progress to other services."""
        self._telling: Siblings | None = None
        """The other request in progress to other services."""
        self._told: bytes | None = None
        """The configuration in that request; None: it is about something else."""
        self._in_force: bytes | None = None
        """The configuration of the last reload, once this process uses it."""
        self._check: FileCheck | None = None
        self._bad_told = False
        self._state: State | None = None
        self._spare_memory = SpareMemory(time.monotonic())

    def run(self) -> int:
        """Run until SIGTERM or SIGINT. Raises `rondo.ipc.endpoints.SocketError`, `rondo.paths.PathError`."""
        self._chassis.catch_signals()
        tune_memory()
        stay_off_the_ring(self._config, _log)
        try:
            self._totem_endpoint = socket_endpoint(self._run_dir, totem_control.SOCKET)
            own = socket_endpoint(self._run_dir, control_gateway.SOCKET)
            sockets.remove_stale(own)
            self._gateway = LocalRouter(own)
            self._chassis.open_control(self._machine.status)
            self._poll.register(self._gateway.fileno(), select.EPOLLIN)
            self._totem: LocalDealer | None = None
            self._connect()
            while not (self._chassis.stopping or self._machine.is_at_end):
                self._turn()
            self._say_goodbye()
        finally:
            self._drop_telling()
            if self._asking is not None:
                self._asking.close()
            self._drop_check()
            self._drop_watch()
            for lock in self._locks:
                lock.close()
        return EXIT_OK if self._chassis.stopping else EXIT_SHUT_DOWN

    def _say_goodbye(self) -> None:
        """With allow_downscale: announce to the others that the node leaves. It leaves only after this process has
        ended."""
        machine = self._machine
        if machine.state != State.OPERATIONAL or not machine.core.leave():
            return
        until_ns = time.monotonic_ns() + GOODBYE_NS_MAX
        while not machine.core.has_left and (left_ns := until_ns - time.monotonic_ns()) > 0:
            self._turn(left_ns)

    # Totem.

    def _connect(self) -> None:
        """Make a new connection to totem. Envelopes for the previous totem must not reach it."""
        if self._totem is not None:
            self._totem.close()
        self._totem = LocalDealer(self._totem_endpoint)
        self._poll.register(self._totem.fileno(), select.EPOLLIN)
        self._drop_watch()
        self._machine.hello()
        self._hello_at_ns = time.monotonic_ns() + HELLO_AGAIN_NS

    def _drop_watch(self) -> None:
        if self._watch is not None:
            if self._watch.fileno() >= 0:
                with contextlib.suppress(OSError):
                    self._poll.unregister(self._watch.fileno())
            self._watch.close()
            self._watch = None

    def _tend_totem(self, now_ns: int, ready: set[int]) -> None:
        """Watch the totem that welcomed this process. Start again if it is dead or does not answer."""
        machine = self._machine
        if self._has_totem_died(ready):
            _log.error("The ring process (%d) died: votes begin anew", machine.totem_pid)
            machine.totem_lost()
            self._connect()
            return
        if self._totem is not None and self._totem.is_broken:
            # As far as is known, totem lives. Envelopes on that connection are lost.
            self._totem.is_broken = False
            machine.hello()
        if machine.state == State.WAITING:
            if self._hello_at_ns is None:
                self._hello_at_ns = now_ns + HELLO_AGAIN_NS
            elif now_ns >= self._hello_at_ns:
                self._connect()
            return
        self._hello_at_ns = None
        if self._watch is None or self._watch.pid != machine.totem_pid:
            self._drop_watch()
            self._watch = ProcessWatch(machine.totem_pid)
            if self._watch.fileno() >= 0:
                self._poll.register(self._watch.fileno(), select.EPOLLIN)

    def _has_totem_died(self, ready: set[int]) -> bool:
        watch = self._watch
        if watch is None:
            return False
        return (watch.fileno() < 0 or watch.fileno() in ready) and not watch.is_alive()

    # The other services.

    def _survey(self, now_ns: int) -> None:
        """Ask services for their status if a client waits for it. A service that does not answer is left out."""
        now_s = now_ns / 1e9
        if self._asking is not None:
            self._asking.tend(now_s)
            if not self._asking.is_done:
                return
            self._machine.answer_with(self._asking.answers, now_ns)
            self._asking.close()
            self._asking = None
        if names := self._machine.take_sources(now_ns):
            self._asking = Siblings(self._run_dir, self._poll, {"op": "status"}, now_s, names, STATUS_S_MAX)

    def _tell_siblings(self, now_s: float) -> None:
        """Send requests to the other services, one after the other."""
        machine, telling = self._machine, self._telling
        if telling is not None:
            telling.tend(now_s)
            if not telling.is_done:
                return
            for name, why in telling.failed.items():
                _log.error("%s: %s", name, why)
            if self._told is not None:
                machine.core.all_told(self._told)
            self._drop_telling()
        request: dict[str, object] | None = None
        self._told = machine.core.adopted if machine.core.adopted == self._in_force else None
        if self._told is not None:
            request = {"op": "reload", "config": self._told}
        elif machine.reopen_logs:
            machine.reopen_logs = False
            self._chassis.reopen_logs()
            request = {"op": "reopen_logs"}
        if request is not None:
            self._telling = Siblings(self._run_dir, self._poll, request, now_s)

    def _drop_telling(self) -> None:
        if self._telling is not None:
            self._telling.close()
            self._telling = None

    # The configuration.

    def _read_file(self, now_s: float) -> None:
        """Start reading the file if a reload wants it, and hand in the result."""
        reload = self._machine.core.reload
        check = self._check
        if check is not None:
            candidate = check.look(now_s)
            if candidate is None and check.number == reload.check_number:
                return
            self._drop_check()
            if candidate is not None:
                self._machine.core.checked(check.number, candidate)
        if reload.check_wanted and self._machine.state == State.OPERATIONAL:
            running = self._machine.core.setup.packed
            try:
                self._check = FileCheck(reload.check_number, running, self._poll, now_s)
            except OSError as error:
                why = f"no process can be started to read the configuration: {error.strerror}"
                self._machine.core.checked(reload.check_number, Candidate(None, [why]))

    def _drop_check(self) -> None:
        if self._check is not None:
            self._check.close()
            self._check = None

    def _come_into_force(self) -> None:
        """A reload has changed the configuration. Store it for services that start later, and apply it here."""
        adopted = self._machine.core.adopted
        if adopted is None or adopted == self._in_force:
            return
        self._in_force = adopted
        try:
            config = NodeConfig.from_msgpack(adopted)
            config.save(self._run_dir / RESOLVED_CONFIGURATION)
            self._chassis.reconfigure(config)
        except OSError as error:
            _log.error(
                "The new configuration cannot be kept for services that are started again: %s: %s",
                error.filename, error.strerror,
            )  # fmt: skip
        except (NodeConfigError, LogError) as error:
            _log.error("%s", error)

    # The loop.

    def _turn(self, at_most_ns: int | None = None) -> None:
        wait_ns = self._wait_ns()
        if at_most_ns is not None:
            self._machine.flush(time.monotonic_ns())
            self._send(time.monotonic_ns())
            wait_ns = min(wait_ns, at_most_ns)
        ready = {descriptor for descriptor, _ in self._poll.poll(wait_ns / 1e9)}
        now_ns = time.monotonic_ns()
        machine = self._machine
        assert self._totem is not None
        if self._totem.fileno() in ready:
            for frame in self._totem.receive():
                self._take(frame, None, now_ns)
        if self._gateway.fileno() in ready or self._gateway.has_pending:
            for identity, envelope in self._gateway.receive():
                if envelope is not None:
                    self._take(envelope, identity, now_ns)
            for identity in self._gateway.take_gone():
                machine.gateway_gone(identity, now_ns)
        self._totem.tend(now_ns / 1e9)
        self._tend_totem(now_ns, ready)
        self._survey(now_ns)
        self._read_file(now_ns / 1e9)
        machine.flush(now_ns)
        self._come_into_force()
        self._tell_siblings(now_ns / 1e9)
        self._store_barrier()
        self._send(now_ns)
        self._write_notices()
        self._spare_memory.tick(now_ns / 1e9)
        self._chassis.serve(ready)

    def _take(self, frame: bytes, identity: bytes | None, now_ns: int) -> None:
        try:
            if identity is None:
                self._machine.receive_totem(frame, now_ns)
            else:
                self._machine.receive_gateway(identity, frame, now_ns)
        except BusError as error:
            self._machine.counters["bus_errors"] += 1
            if not self._bad_told:
                self._bad_told = True
                sender = "totem" if identity is None else "the gateway"
                _log.error("An envelope from %s was refused: %s; others like it are only counted", sender, error)

    def _send(self, now_ns: int) -> None:
        machine = self._machine
        assert self._totem is not None
        self._retry_at_ns = None
        while machine.to_totem:
            if not self._totem.send(machine.to_totem[0]):
                self._retry_at_ns = now_ns + RETRY_NS
                break
            machine.to_totem.popleft()
        while machine.answers:
            identity, frame = machine.answers[0]
            if self._gateway.send(identity, frame) is False:
                self._retry_at_ns = now_ns + RETRY_NS
                break
            # Sent, or its gateway is gone: clients repeat their requests through the next gateway.
            machine.answers.popleft()

    def _wait_ns(self) -> int:
        """How long the poll may sleep."""
        if self._gateway.has_pending or self._chassis.has_more:
            return 0
        assert self._totem is not None
        now_ns = time.monotonic_ns()
        whens = [self._machine.next_deadline_ns(), self._hello_at_ns, self._retry_at_ns]
        due = [at for at in whens if at is not None]
        retries = (self._totem.retry_at_s, self._spare_memory.due_s)
        due += [int(at_s * 1e9) for at_s in retries if at_s is not None]
        due += [int(each.due_s * 1e9) for each in (self._telling, self._asking) if each is not None]
        if self._check is not None:
            due.append(int(self._check.due_s * 1e9))
        if self._watch is not None and self._watch.fileno() < 0:
            due.append(now_ns + ALIVE_CHECK_NS)
        return max(0, min(due) - now_ns)

    def _store_barrier(self) -> None:
        core = self._machine.core
        if core.barrier is not None:
            try:
                self._barrier_file.store(core.barrier)
            except OSError as error:
                _log.error("The highest expected votes cannot be stored: %s", error.strerror)
            core.barrier = None

    def _write_notices(self) -> None:
        machine = self._machine
        for line in machine.core.notices:
            notice(_log, "%s", line)
        machine.core.notices.clear()
        if machine.state != self._state:
            self._state = machine.state
            if machine.state == State.WAITING:
                notice(_log, "Waiting for the ring process.")
