"""The cpg process: one loop around one poll, between totem's socket and the gateways'. Each of them may come and go.

The loop waits for none of them. It says hello to totem until totem answers, and learns of totem's death from its
process. The gateways say hello themselves.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import time
from typing import Final

from rondo.ipc import endpoints
from rondo.ipc.local_dealer import LocalDealer
from rondo.ipc.local_router import LocalRouter
from rondo.node.chassis import Chassis
from rondo.node.instance import InstanceLock
from rondo.node.logs import notice
from rondo.node.placement import stay_off_the_ring
from rondo.node.process_watch import ProcessWatch
from rondo.node.service import Start
from rondo.node.spare_memory import SpareMemory
from rondo.node.tuning import tune_memory
from rondo.paths import socket_endpoint
from rondo.protocol.envelope import BusError
from services.cpg.clients import Options
from services.cpg.machine import Machine, State

HELLO_AGAIN_S: Final = 1.0
"""A hello that was not answered is said again after this time."""

RETRY_S: Final = 0.005
"""How long an envelope waits for which the gateway had no room."""

ALIVE_CHECK_S: Final = 1.0
"""How often totem's life is checked where the kernel does not tell of its death."""

_log = logging.getLogger("CPG")


class Process:
    """Everything of one running cpg service. `run` returns the exit code."""

    def __init__(self, start: Start) -> None:
        """Raises `rondo.node.instance.InstanceError`."""
        config = start.config
        self._lock = InstanceLock(start.run_dir, "cpg")
        self._config = config
        self._run_dir = start.run_dir
        self._chassis = Chassis("cpg", start)
        self._poll = self._chassis.poll
        self._machine = Machine(
            Options(config.message_size_max, config.client_bytes_max, config.log_bytes_max), os.getpid()
        )
        self._watch: ProcessWatch | None = None
        self._hello_at_s: float | None = None
        self._retry_at_s: float | None = None
        self._bad_told = False
        self._state: State | None = None
        self._spare_memory = SpareMemory(time.monotonic())

    def run(self) -> int:
        """Run until SIGTERM or SIGINT. Raises `rondo.ipc.endpoints.SocketError`, `rondo.paths.PathError`."""
        self._chassis.catch_signals()
        tune_memory()
        stay_off_the_ring(self._config, _log)
        try:
            self._totem_endpoint = socket_endpoint(self._run_dir, "totem.sock")
            own = socket_endpoint(self._run_dir, "cpg.sock")
            endpoints.remove_stale(own)
            self._gateway = LocalRouter(own)
            self._machine.clients.gateways.unsent_bytes = self._gateway.unsent_bytes
            self._chassis.open_control(self._machine.status)
            self._poll.register(self._gateway.fileno(), select.EPOLLIN)
            self._totem: LocalDealer | None = None
            self._connect()
            while not self._chassis.stopping:
                self._turn()
        finally:
            self._drop_watch()
            self._lock.close()
        return 0

    # Totem.

    def _connect(self) -> None:
        """A new connection to totem: what was queued for its predecessor must not reach it."""
        if self._totem is not None:
            self._totem.close()
        self._totem = LocalDealer(self._totem_endpoint)
        self._poll.register(self._totem.fileno(), select.EPOLLIN)
        self._drop_watch()
        self._machine.hello()
        self._hello_at_s = time.monotonic() + HELLO_AGAIN_S

    def _drop_watch(self) -> None:
        if self._watch is not None:
            if self._watch.fileno() >= 0:
                with contextlib.suppress(OSError):
                    self._poll.unregister(self._watch.fileno())
            self._watch.close()
            self._watch = None

    def _tend_totem(self, now_s: float, ready: set[int]) -> None:
        """Watch the totem that welcomed us; begin anew when it is dead or does not answer."""
        machine = self._machine
        if self._has_totem_died(ready):
            _log.error("The ring process (%d) died: its members and their groups are lost here", machine.totem_pid)
            machine.totem_lost("the ring process of this node died")
            self._connect()
            return
        if self._totem is not None and self._totem.is_broken:
            # It lives, as far as is known yet. What was said on that connection is lost.
            self._totem.is_broken = False
            machine.hello()
        if machine.state == State.WAITING:
            if self._hello_at_s is None:
                # The machine said hello of its own accord.
                self._hello_at_s = now_s + HELLO_AGAIN_S
            elif now_s >= self._hello_at_s:
                self._connect()
            return
        self._hello_at_s = None
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

    # The loop.

    def _turn(self) -> None:
        ready = {descriptor for descriptor, _ in self._poll.poll(self._wait_s())}
        machine = self._machine
        assert self._totem is not None
        if self._totem.fileno() in ready:
            for frame in self._totem.receive():
                self._take(frame, None)
        if self._gateway.fileno() in ready or self._gateway.has_pending:
            for identity, envelope in self._gateway.receive():
                if envelope is not None:
                    self._take(envelope, identity)
            self._gateway.take_gone()
        now_s = time.monotonic()
        self._totem.tend(now_s)
        self._tend_totem(now_s, ready)
        machine.flush(now_s)
        self._send(now_s)
        self._spare_memory.tick(now_s)
        self._chassis.serve(ready)
        if machine.state != self._state:
            self._state = machine.state
            self._log_state()

    def _take(self, frame: bytes, identity: bytes | None) -> None:
        try:
            if identity is None:
                self._machine.receive_totem(frame)
            else:
                self._machine.clients.receive(identity, frame)
        except BusError as error:
            self._machine.clients.counters["bus_errors"] += 1
            if not self._bad_told:
                self._bad_told = True
                sender = "totem" if identity is None else "the gateway"
                _log.error("An envelope from %s was refused: %s; others like it are only counted", sender, error)

    def _send(self, now_s: float) -> None:
        machine = self._machine
        assert self._totem is not None
        self._retry_at_s = None
        while machine.to_totem:
            if not self._totem.send(machine.to_totem[0]):
                self._retry_at_s = now_s + RETRY_S
                break
            machine.to_totem.popleft()
        if machine.clients.gateways.send(self._send_to_gateway):
            self._retry_at_s = now_s + RETRY_S

    def _send_to_gateway(self, identity: bytes, frame: bytes, more: bool) -> bool:
        """False where there is no room. To nobody is well: its successor says hello, and gets what is not
        acknowledged."""
        return self._gateway.send(identity, frame, more=more) is not False

    def _wait_s(self) -> float:
        """How long the poll may sleep."""
        if self._gateway.has_pending or self._chassis.has_more:
            return 0.0
        assert self._totem is not None
        whens = (self._machine.due_s(), self._hello_at_s, self._retry_at_s, self._totem.retry_at_s)
        due = [at for at in whens if at is not None]
        due.append(self._spare_memory.due_s)
        if self._watch is not None and self._watch.fileno() < 0:
            due.append(time.monotonic() + ALIVE_CHECK_S)
        return max(0.0, min(due) - time.monotonic())

    def _log_state(self) -> None:
        machine = self._machine
        if machine.state == State.WAITING:
            notice(_log, "Waiting for the ring process.")
        elif machine.state == State.OPERATIONAL and machine.core.ring is not None:
            representative, sequence, members = machine.core.ring
            notice(
                _log, "Groups are in step on ring (%d.%x), members: %s",
                representative, sequence, " ".join(map(str, members)),
            )  # fmt: skip
