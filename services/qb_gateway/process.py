"""The process that serves C programs: one loop around one poll.

It is a separate process because it maps memory that others can change at will. A program that spoils its own rings
loses its connection (`rings`, `truncation`). Should this process die all the same, only the C programs of this node
notice: their connections end, and they connect again.
"""

from __future__ import annotations

import errno
import logging
import os
import select
import time
from typing import Any

from rondo.config import NodeConfig
from rondo.ipc.endpoints import SocketError
from rondo.node.chassis import Chassis
from rondo.node.control_link import ControlLink
from rondo.node.cpg_link import CpgLink
from rondo.node.instance import InstanceLock
from rondo.node.logs import notice
from rondo.node.placement import stay_off_the_ring
from rondo.node.service import Start
from rondo.node.tuning import tune_memory
from services.qb_gateway.access import Access
from services.qb_gateway.cfg import CfgService
from services.qb_gateway.cmap import CmapService
from services.qb_gateway.connection import Service
from services.qb_gateway.cpg.service import CpgService
from services.qb_gateway.cpg.sessions import Sessions
from services.qb_gateway.hub import Hub
from services.qb_gateway.limits import raise_descriptor_limit
from services.qb_gateway.listeners import Listeners
from services.qb_gateway.quorum import QuorumService, VotequorumService
from services.qb_gateway.shared_memory import prefix_of, sweep
from services.qb_gateway.truncation import TruncationGuard

SERVICE = "qb_gateway"
HOUSEKEEPING_S = 1.0
RETRY_CONNECT_S = 0.02
ABSENCE_MAX_S = 20.0
"""After this time without cpg, C programs are disconnected: so they learn that their node is out of order."""

log = logging.getLogger("QB_GATEWAY")


class Process:
    """The running gateway. `run` returns after a signal has asked it to stop."""

    def __init__(self, start: Start) -> None:
        """Raises InstanceError, SocketError, PathError."""
        config, run_dir = start.config, start.run_dir
        self._lock = InstanceLock(run_dir, SERVICE)
        self._config = config
        self._chassis = Chassis(SERVICE, start)
        self._poll = self._chassis.poll
        raise_descriptor_limit()
        self._prefix = prefix_of(run_dir)
        if left := sweep(self._prefix):
            log.info("removed the shared memory of %d connections that a predecessor left", left)
        self._guard = TruncationGuard()
        self._upstream = CpgLink(run_dir)
        self._sessions = Sessions(self._upstream.send)
        self._cpg = CpgService(self._sessions, config.message_size_max, config.client_bytes_max)
        self._hub = Hub(self._poll, self._guard)
        self._access = Access(config.allowed_uids, config.allowed_gids)
        self._control_link = ControlLink(run_dir)
        self._cfg = CfgService(config, self._control_link)
        self._services: list[Service] = [
            self._cpg,
            self._cfg,
            CmapService(self._control_link, self._access.on_key),
            QuorumService(self._control_link),
            VotequorumService(self._control_link),
        ]
        self._listeners: Listeners | None = None
        self._why_not_listening = ""
        self._absent_since_s: float | None = time.monotonic()
        self._is_out_of_order = False
        """cpg has been away for too long."""
        self._chassis.on_reload = self._reconfigure
        self._chassis.open_control(self._status)
        self._listen()

    def _reconfigure(self, config: NodeConfig) -> None:
        self._access.change(config.allowed_uids, config.allowed_gids)
        self._cfg.reconfigure(config)

    def _listen(self) -> None:
        """Bind the sockets. With `qb_ipc: auto` the gateway waits while another process has the names; with `yes` that
        is an error."""
        try:
            self._listeners = Listeners(
                self._services, self._guard, self._prefix, self._access.allows, self._hub.attention
            )  # fmt: skip
        except SocketError as error:
            if self._config.qb_ipc == "yes" or error.errno != errno.EADDRINUSE:
                raise
            if not self._why_not_listening:
                log.warning("C programs are not served: %s", error)
            self._why_not_listening = str(error)
            return
        self._why_not_listening = ""
        self._hub.serve(self._listeners)
        notice(log, "Waiting for C programs; process %d.", os.getpid())

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        self._chassis.catch_signals()
        tune_memory()
        stay_off_the_ring(self._config, log)
        self._guard.install()
        self._upstream_fd = self._upstream.socket.fileno()
        self._control_link_fd = self._control_link.socket.fileno()
        for descriptor in (self._upstream_fd, self._control_link_fd):
            self._poll.register(descriptor, select.EPOLLIN)
        self._sessions.hello()
        next_housekeeping_s = time.monotonic() + HOUSEKEEPING_S
        try:
            while not self._chassis.stopping:
                now_s = self._turn(next_housekeeping_s)
                if now_s >= next_housekeeping_s:
                    self._keep_house(now_s)
                    next_housekeeping_s = now_s + HOUSEKEEPING_S
        finally:
            self._close()
        notice(log, "Stopped.")

    def _turn(self, next_housekeeping_s: float) -> float:
        """Wait, and do what is due. Returns the present time."""
        ready = self._poll.poll(self._timeout_s(next_housekeeping_s))
        now_s = time.monotonic()
        hub, upstream = self._hub, self._upstream
        for descriptor, events in ready:
            if hub.on_event(descriptor, events, now_s):
                continue
            if descriptor == self._upstream_fd:
                for envelope in upstream.receive():
                    self._sessions.receive(envelope)
            elif descriptor == self._control_link_fd:
                self._control_link.receive(now_s)
        self._chassis.serve({descriptor for descriptor, _ in ready})
        if upstream.has_broken():
            log.warning("the connection to cpg broke; waiting for it to come back")
            self._sessions.hello()
        upstream.flush()
        self._control_link.tend(now_s)
        # While cpg accepts nothing more, requests stay in the rings: this is the flow control that programs feel.
        if not upstream.is_full:
            hub.read()
        self._sessions.flush()
        hub.write()
        self._sessions.flush()
        if self._listeners is not None:
            # While cpg is restarted, programs may still connect: their requests wait.
            self._listeners.is_ready = self._cpg.is_ready and not self._is_out_of_order
        return now_s

    def _timeout_s(self, next_housekeeping_s: float) -> float:
        now_s = time.monotonic()
        self._upstream.socket.tend(now_s)
        if self._chassis.has_more or (not self._upstream.is_full and self._hub.has_waiting):
            return 0.0
        timeout_s = max(0.0, next_housekeeping_s - now_s)
        if self._upstream.socket.retry_at_s is not None or self._control_link.socket.retry_at_s is not None:
            timeout_s = min(timeout_s, RETRY_CONNECT_S)
        if self._control_link.due_s is not None:
            timeout_s = min(timeout_s, max(0.0, self._control_link.due_s - now_s))
        return timeout_s if self._hub.retry_s is None else min(timeout_s, self._hub.retry_s)

    def _keep_house(self, now_s: float) -> None:
        self._hub.keep_house(now_s)
        # The ends of this turn are sent at once, not after the next sleep.
        self._sessions.flush()
        if self._listeners is None:
            self._listen()
        if self._sessions.is_welcomed:
            self._absent_since_s = None
            self._is_out_of_order = False
        elif self._absent_since_s is None:
            self._absent_since_s = now_s
        elif now_s >= self._absent_since_s + ABSENCE_MAX_S:
            self._is_out_of_order = True
            self._hub.hang_up_all(f"cpg has been away for {ABSENCE_MAX_S:g} s")

    def _status(self) -> dict[str, Any]:
        listeners = self._listeners
        return {
            "state": "operational" if listeners is not None and listeners.is_ready else "waiting",
            "why": self._why_not_listening,
            "node_id": self._sessions.node_id,
            "counters": {
                **self._hub.totals(),
                **(listeners.counters if listeners is not None else {}),
                **{f"cpg_{name}": value for name, value in self._cpg.counters.items()},
                **self._sessions.totals(),
                "upstream_errors": self._upstream.errors + self._control_link.errors,
            },
            "connections": [
                {
                    "service": each.service.name,
                    "pid": each.peer.pid,
                    "uid": each.peer.uid,
                    "number": each.number,
                    "program": each.program,
                    "requests": each.requests_taken,
                    "responses": each.replies_made,
                    "flow_control": not each.may_multicast,
                    "flow_stops": each.flow_stops,
                    "requests_invalid": each.requests_invalid,
                    "writes_deferred": each.writes_deferred,
                    "events": each.events_written,
                    "events_waiting": each.events_queued - each.events_written,
                }
                for each in self._hub.connections.values()
            ],
        }

    def _close(self) -> None:
        self._hub.close()
        self._sessions.flush()
        self._upstream.close()
        self._control_link.close()
        self._chassis.close()
        self._lock.close()
