"""The SAM process: puts its parts together and runs the loop."""

import logging
import os
import time
from collections import deque
from typing import Any

from rondo.ipc import endpoints
from rondo.ipc.local_router import LocalRouter
from rondo.node.chassis import Chassis
from rondo.node.control_link import ControlLink
from rondo.node.instance import InstanceLock
from rondo.node.logs import notice
from rondo.node.service import Start
from rondo.paths import socket_endpoint
from rondo.protocol import sam_gateway as bus
from rondo.protocol.codes import Code
from rondo.protocol.envelope import BusError, pack
from services.sam.application import STOP_GRACE_MS_MAX, Owner
from services.sam.clock import AwakeClock
from services.sam.health import HealthPipes
from services.sam.keeper_link import RETRY_S, KeeperLink
from services.sam.last_words import LastWords
from services.sam.loop import Loop
from services.sam.manager import Manager
from services.sam.process_keys import ProcessKeys
from services.sam.quorum_watch import QuorumWatch
from services.sam.quotas import Quotas
from services.sam.requests import Asker, Requests
from services.sam.spec import Places
from services.sam.table import Table

SERVICE = "sam"
TICK_S = 1.0
STOP_S_MAX = STOP_GRACE_MS_MAX / 1000 + 0.5
"""How long SAM waits for its applications when the node stops. The keeper then kills the rest."""

log = logging.getLogger("SAM")


class Process:
    """The running SAM. `run` returns after a signal has asked it to stop."""

    def __init__(self, start: Start) -> None:
        """Raises InstanceError, SocketError, PathError, OSError."""
        config, run_dir, state_dir = start.config, start.run_dir, start.state_dir
        self._lock = InstanceLock(run_dir, SERVICE)
        self._state_lock = InstanceLock(state_dir, SERVICE, "--state-dir")
        self._chassis = Chassis(SERVICE, start)
        self._chassis.open_control(self._status)
        endpoint = socket_endpoint(run_dir, bus.SOCKET)
        endpoints.remove_stale(endpoint)
        self._bus = LocalRouter(endpoint)
        self._loop = Loop(self._chassis.poll)
        self._clock = AwakeClock(time.monotonic())
        self._pipes = HealthPipes()
        self._keeper = KeeperLink(run_dir, self._loop, config.sam)
        places = Places(run_dir, socket_endpoint(run_dir, "gateway.sock"))
        quotas = Quotas(config.sam, frozenset((0, os.geteuid())))
        has_provider = config.quorum.enabled
        self._manager = Manager(
            Table(state_dir), self._keeper, self._pipes, self._loop, self._clock, places, quotas,
            has_quorum_provider=has_provider,
        )  # fmt: skip
        self._keeper.listener = self._manager
        self._requests = Requests(self._manager, Owner(os.geteuid(), os.getegid(), tuple(sorted(os.getgroups()))))
        self._turn_began_s = time.monotonic()
        self._bus_errors = 0
        self._replies: deque[tuple[bytes, bytes]] = deque()
        self._replies_dropped = 0
        self._last_words = LastWords(run_dir, self._loop)
        self._control = ControlLink(run_dir)
        self._quorum_watch = QuorumWatch(self._control, self._manager.quorum.news) if has_provider else None
        self._keys = ProcessKeys(self._manager.applications, self._control, self._manager.counters)

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        self._chassis.catch_signals()
        self._loop.watch(self._bus.fileno(), self._serve_bus)
        self._loop.watch(self._control.socket.fileno(), lambda: self._control.receive(self._turn_began_s))
        self._manager.load()
        self._keeper.connect()
        notice(log, "Watching applications; process %d.", os.getpid())
        try:
            while not self._chassis.stopping:
                self._turn()
            self._stop_applications()
        finally:
            self._close()
        notice(log, "Stopped.")

    def _turn(self) -> None:
        """Wait until something happens or is due, process health messages, do what is due; in this order."""
        manager, clock = self._manager, self._clock
        due_in_s = max(0.0, manager.due_at_s() - clock.now_s)
        retry_s = RETRY_S if self._keeper.has_work or self._replies else TICK_S
        wait_s = min(TICK_S, manager.look_s, due_in_s, retry_s, self._last_words.wait_s)
        # Their descriptors do not tell of what was read and not fetched.
        if self._bus.has_pending or self._chassis.has_more:
            wait_s = 0.0
        clock.plan(wait_s)
        self._chassis.serve(self._loop.turn(self._turn_began_s + wait_s, self._begin_turn))
        manager.hearing.hear()
        manager.see_to_time()
        self._tend_control()
        self._keeper.tend(self._turn_began_s)
        if self._bus.has_pending:
            self._serve_bus()
        self._send_replies()
        self._last_words.tick()

    def _tend_control(self) -> None:
        """Ask control again after its death, and update what is shown in cmap."""
        self._control.tend(self._turn_began_s)
        if self._quorum_watch is not None:
            self._quorum_watch.tend()
        self._keys.tend(self._turn_began_s)

    def _begin_turn(self) -> None:
        """The loop has woken."""
        self._turn_began_s = time.monotonic()
        paused_s = self._clock.advance(self._turn_began_s)
        if paused_s > 1.0:
            log.warning("SAM was paused for %.1f s; its applications get that time, too", paused_s)

    def _stop_applications(self) -> None:
        """The node stops: stop its applications."""
        manager = self._manager
        manager.stop_all("the stop of the node")
        deadline_s = time.monotonic() + STOP_S_MAX
        while not manager.is_idle and time.monotonic() < deadline_s:
            self._turn()
        manager.end_keeper()
        self._keeper.flush()

    # -- the bus ------------------------------------------------------------------------------------------------

    def _serve_bus(self) -> None:
        for identity, envelope in self._bus.receive():
            try:
                ask = bus.decode(envelope or b"")
            except BusError as error:
                self._bus_errors += 1
                log.error("An envelope of the bus was refused: %s", error)
                continue
            if isinstance(ask, bus.Ask):
                self._on_ask(identity, ask)
        self._bus.take_gone()

    def _on_ask(self, identity: bytes, ask: bus.Ask) -> None:
        def reply(code: Code, result: Any) -> None:
            answer = bus.Answer(0, ask.connection, ask.number, code, pack(result))
            self._replies.append((identity, bus.encode(answer)))
            self._send_replies()

        try:
            op, arguments = bus.decode_request(ask.blob)
        except BusError as error:
            reply(Code.MESSAGE_ERROR, str(error))
            return
        owner = Owner(ask.uid, ask.gid, tuple(sorted(ask.groups)))
        self._requests.ask(op, Asker(ask.pid, ask.start_time, owner), arguments, reply)

    def _send_replies(self) -> None:
        """Send answers as far as there is room. The gateway bounds its open requests, and this queue is bounded,
        too."""
        while self._replies:
            identity, frame = self._replies[0]
            sent = self._bus.send(identity, frame)
            if sent is False:
                return
            self._replies.popleft()
            if sent is None:
                self._replies_dropped += 1  # its gateway is gone: the client asks again

    def _status(self) -> dict[str, Any]:
        """The content of `rondo status` and `rondo debug`, besides what all services report."""
        manager = self._manager
        phases: dict[str, int] = {}
        for each in manager.applications.values():
            phases[each.state.value] = phases.get(each.state.value, 0) + 1
        return {
            "state": "operational",
            "keeper_pid": self._keeper.pid or None,
            "applications": phases,
            "quorate": manager.quorum.quorate,
            "processes_not_shown": self._keys.left_out,
            "counters": {
                **manager.counters,
                "keeper_starts": self._keeper.starts,
                "pauses": self._clock.pauses,
                "paused_ms": round(self._clock.paused_s * 1000),
                "health_floods": self._pipes.floods,
                "table_errors": manager.table.errors,
                "bus_errors": self._bus_errors + self._control.errors,
                "replies_dropped": self._replies_dropped,
                "last_words_sent": self._last_words.sent,
                "last_words_refused": self._last_words.refused,
            },
            "watched_totem": self._last_words.watched,
            "held_ports": [list(port) for port in self._last_words.held.ports],
        }

    def _close(self) -> None:
        self._last_words.close()
        self._control.close()
        self._keeper.close()
        self._pipes.close_all()
        self._bus.close()
        self._chassis.close()
        self._state_lock.close()
        self._lock.close()
