"""The gateway process: one loop around one poll."""

import logging
import math
import os
import select
import signal
import time
from pathlib import Path
from typing import Any

import zmq

from rondo.bus.control import ControlServer
from rondo.bus.instance import InstanceLock
from rondo.config.node import NodeConfig
from rondo.logs import Logs, notice
from rondo.paths import socket_endpoint
from services.ipc_gateway.credentials import Access, Doorkeeper, Peer
from services.ipc_gateway.front import Front
from services.ipc_gateway.gateway import Gateway
from services.ipc_gateway.table import Session
from services.ipc_gateway.upstream import Upstream

SERVICE = "ipc_gateway"
HOUSEKEEPING_S = 1.0
BLOCKED_RETRY_MS = 10
DEATH_GRACE_S = 0.1
"""A dead process's connection ends by itself, after all that it sent; where a child has inherited it, it does not."""
DENIED_LOG_INTERVAL_S = 1.0
DRAINS_BEFORE_DETACH_MAX = 1000

log = logging.getLogger("IPC_GATEWAY")


class Process:
    """Everything of one running gateway. `run` returns when a signal asked it to stop."""

    def __init__(self, config: NodeConfig, run_dir: Path, logs: Logs) -> None:
        """Raises InstanceError, SocketError, PathError."""
        self._lock = InstanceLock(run_dir, SERVICE)
        self._logs = logs
        self._config = config
        self._started = time.monotonic()
        self._stopping = False
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        access = Access(config.allowed_uids, config.allowed_gids)
        self._doorkeeper = Doorkeeper(self._context, access)
        handlers = {"status": self._on_status, "log_level": self._on_log_level}
        self._control = ControlServer(self._context, run_dir, SERVICE, handlers)
        endpoint = socket_endpoint(run_dir, "gateway.sock")
        self._front = Front(
            self._context, endpoint, config.message_size_max, open_to_others=access.is_open_to_others
        )  # fmt: skip
        self._upstream = Upstream(self._context, run_dir)
        self._gateway = Gateway(self._front, self._upstream, config.message_size_max)
        self._deaths = select.epoll()
        self._watched: dict[int, Session] = {}
        self._dying: dict[Session, float] = {}
        self._denied = 0
        self._denied_logged_at = 0.0
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, lambda _number, _frame: setattr(self, "_stopping", True))
        notice(log, "Waiting for clients; process %d.", os.getpid())
        self._gateway.hello()
        next_housekeeping = time.monotonic() + HOUSEKEEPING_S
        try:
            while not self._stopping:
                self._turn(next_housekeeping)
                now = time.monotonic()
                if now >= next_housekeeping:
                    self._keep_house(now)
                    next_housekeeping = now + HOUSEKEEPING_S
        finally:
            self._close()
        notice(log, "Stopped.")

    def _poller(self) -> zmq.Poller:
        """What to sleep on. While cpg takes nothing more nothing is read from clients: they feel the flow control."""
        poller = zmq.Poller()
        upstream = self._upstream
        poller.register(upstream.socket, zmq.POLLIN | (zmq.POLLOUT if upstream.outbox else 0))
        if not upstream.outbox:
            poller.register(self._front.socket, zmq.POLLIN)
        for source in (
            upstream.monitor,
            self._front.monitor,
            self._doorkeeper.socket,
            self._control.socket,
            self._deaths.fileno(),
            self._wake_read,
        ):
            poller.register(source, zmq.POLLIN)
        return poller

    def _turn(self, next_housekeeping: float) -> None:
        timeout_ms = max(0, math.ceil((next_housekeeping - time.monotonic()) * 1000))
        if self._gateway.has_blocked or self._dying:
            timeout_ms = min(timeout_ms, BLOCKED_RETRY_MS)
        ready = dict(self._poller().poll(timeout_ms))
        gateway, upstream, front = self._gateway, self._upstream, self._front
        if self._doorkeeper.socket in ready:
            self._doorkeeper.serve()
            self._log_denied()
        if upstream.monitor in ready and upstream.is_broken():
            log.warning("the connection to cpg broke; waiting for it to come back")
            upstream.connect()
            gateway.hello()
        elif upstream.socket in ready:
            upstream.flush()
            for envelope in upstream.receive():
                gateway.on_cpg(envelope)
        gone = front.gone() if front.monitor in ready else []
        if front.socket in ready or gone:
            self._receive(until_empty=bool(gone))
        for connection in gone:
            gateway.detach(connection)
        gateway.flush()
        if self._deaths.fileno() in ready or gateway.watched_anew or self._dying:
            self._look_after_processes()
        if self._control.socket in ready:
            self._control.serve()
        if self._wake_read in ready:
            os.read(self._wake_read, 512)

    def _receive(self, *, until_empty: bool) -> None:
        """Take what clients sent. What a connection that is gone had sent counts, so it is read before."""
        for _ in range(DRAINS_BEFORE_DETACH_MAX if until_empty else 1):
            count = 0
            for received in self._front.receive():
                self._gateway.on_client(received)
                count += 1
            if count == 0:
                return

    def _look_after_processes(self) -> None:
        """Watch new processes; close the sessions of dead ones."""
        gateway = self._gateway
        for session in gateway.watched_anew:
            if session.watch is not None and session.watch.fileno() >= 0 and gateway.table.get(session.number):
                self._watched[session.watch.fileno()] = session
                self._deaths.register(session.watch.fileno(), select.EPOLLIN | select.EPOLLONESHOT)
        gateway.watched_anew.clear()
        now = time.monotonic()
        for descriptor, _ in self._deaths.poll(0):
            session = self._watched.pop(descriptor)
            self._dying[session] = now + DEATH_GRACE_S
        for session, deadline in list(self._dying.items()):
            if gateway.table.get(session.number) is not session:
                del self._dying[session]
            elif session.connection is None or now >= deadline:
                del self._dying[session]
                gateway.died(session)

    def _keep_house(self, now: float) -> None:
        self._gateway.give_up_absent(now)
        for session in self._gateway.table:
            if session.watch is not None and session.watch.fileno() < 0 and not session.is_process_alive():
                self._gateway.died(session)

    def _log_denied(self) -> None:
        """One line a second at most, however many strangers knock."""
        denied: list[Peer] = self._doorkeeper.denied
        if not denied:
            return
        self._denied += len(denied)
        now = time.monotonic()
        if now - self._denied_logged_at >= DENIED_LOG_INTERVAL_S:
            self._denied_logged_at = now
            last = denied[-1]
            log.warning(
                "access denied to process %d of user %d, group %d (%d so far); uidgid{} in corosync.conf admits users",
                last.pid, last.uid, last.gid, self._denied,
            )  # fmt: skip
        denied.clear()

    def _on_status(self, _request: dict[str, Any]) -> dict[str, Any]:
        gateway = self._gateway
        return {
            "service": SERVICE,
            "pid": os.getpid(),
            "state": "operational" if gateway.is_welcomed else "waiting",
            "node_id": gateway.node_id,
            "uptime_seconds": time.monotonic() - self._started,
            "cpu_seconds": time.process_time(),
            "counters": {
                **gateway.counters,
                "denied": self._denied,
                "bus_errors": self._upstream.errors,
                "log_lines_dropped": self._logs.dropped,
            },
            "sessions": [
                {
                    "session": f"{session.number:016x}",
                    "pid": session.peer.pid,
                    "uid": session.peer.uid,
                    "name": session.name,
                    "connected": session.connection is not None,
                    "open": session.is_open,
                    "in_flight_bytes": session.in_flight_bytes,
                }
                for session in gateway.table
            ],
        }

    def _on_log_level(self, request: dict[str, Any]) -> dict[str, Any]:
        level = str(request.get("level"))
        self._logs.set_level(level)
        return {"level": level}

    def _close(self) -> None:
        signal.set_wakeup_fd(-1)
        self._front.close()
        self._upstream.close()
        self._control.close()
        self._context.destroy(linger=0)
        self._deaths.close()
        self._lock.close()
