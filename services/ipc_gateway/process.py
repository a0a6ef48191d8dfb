"""The gateway process: one loop around one poll."""

import logging
import os
import select
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rondo.config import NodeConfig
from rondo.node.chassis import Chassis
from rondo.node.cpg_link import CpgLink
from rondo.node.instance import InstanceLock
from rondo.node.logs import notice
from rondo.node.placement import stay_off_the_ring
from rondo.node.service import Start
from rondo.node.spare_memory import SpareMemory, give_back_memory
from rondo.node.tuning import tune_memory
from rondo.paths import socket_endpoint
from services.ipc_gateway.control_upstream import ControlUpstream
from services.ipc_gateway.credentials import Access, Doorkeeper, Peer
from services.ipc_gateway.gateway import Gateway
from services.ipc_gateway.hits import HitLog
from services.ipc_gateway.keep_warm import KeepWarm
from services.ipc_gateway.limits import bounds_of, raise_descriptor_limit
from services.ipc_gateway.listeners import Listeners
from services.ipc_gateway.remote import endpoint_of as remote_endpoint
from services.ipc_gateway.sam_upstream import SamUpstream
from services.ipc_gateway.session_registry import Session
from services.ipc_gateway.tcp_relay import DESCRIPTORS as REMOTE_DESCRIPTORS
from services.ipc_gateway.tcp_relay import TcpRelay
from services.ipc_gateway.unix_listener import UnixListener

if TYPE_CHECKING:
    from services.ipc_gateway.zap import ZapHandler

SERVICE: Final = "ipc_gateway"
HOUSEKEEPING_S: Final = 1.0
RETRY_S: Final = 0.01
RETRY_CONNECT_S: Final = 0.02
DEATH_GRACE_S: Final = 0.1
"""The connection of a dead process normally ends by itself, after all that it sent. If a child inherited the socket, it
does not, and the session ends after this time."""
DENIED_LOG_INTERVAL_S: Final = 1.0
SESSIONS_TO_TRIM: Final = 64
"""Memory is returned to the system after this many sessions have ended. A libzmq connection has some 40 KiB."""
DRAINS_BEFORE_DETACH_MAX: Final = 1000

log = logging.getLogger("IPC_GATEWAY")


class Process:
    """The running gateway. `run` returns after a signal has asked it to stop."""

    def __init__(self, start: Start) -> None:
        """Raises InstanceError, SocketError, PathError, KeyFileError."""
        config, run_dir = start.config, start.run_dir
        self._lock = InstanceLock(run_dir, SERVICE)
        self._config = config
        self._chassis = Chassis(SERVICE, start)
        self._poll = self._chassis.poll
        remote_descriptors = REMOTE_DESCRIPTORS if config.remote.enabled else 0
        sessions_max, self._connections_max = raise_descriptor_limit(remote_descriptors)
        self._access = access = Access(config.allowed_uids, config.allowed_gids)
        self._doorkeeper = Doorkeeper(access)
        self._chassis.open_control(self._status)
        endpoint = socket_endpoint(run_dir, "gateway.sock")
        self._tcp_relay: TcpRelay | None = None
        self._zap: ZapHandler | None = None
        self._listeners = self._open_listeners(run_dir, endpoint, access)
        self._chassis.on_reload = self._reconfigure
        self._keep_warm = KeepWarm(endpoint) if config.low_latency else None
        self._upstream = CpgLink(run_dir)
        self._gateway = Gateway(self._listeners, self._upstream, config.message_size_max)
        self._gateway.registry.sessions_max = sessions_max
        self._sam = SamUpstream(run_dir, self._gateway.on_sam)
        self._gateway.sam = self._sam
        self._control_plane = ControlUpstream(run_dir, self._gateway.on_control)
        self._gateway.control = self._control_plane
        self._look_at_all = True
        self._clients_polled = int(select.EPOLLIN)
        self._clients_waited = False
        """Input was left over when clients were read last."""
        self._deaths = select.epoll()
        self._watched: dict[int, Session] = {}
        self._dying: dict[Session, float] = {}
        self._spare_memory = SpareMemory(time.monotonic())
        self._sessions_max = 0
        """The most sessions since memory was last returned."""
        self._denied = 0
        self._denied_logged_at = 0.0
        self._hit_log = HitLog()

    def _open_listeners(self, run_dir: Path, endpoint: str, access: Access) -> Listeners:
        bytes_max, settings = self._config.message_size_max, self._config.remote
        bounds = bounds_of(self._connections_max)
        local = UnixListener(endpoint, bytes_max, self._doorkeeper, bounds, open_to_others=access.is_open_to_others)
        if not settings.enabled:
            return Listeners(local, None)
        # It loads libzmq, which nothing else here needs.
        from services.ipc_gateway.curve_listener import CurveListener

        try:
            remote = CurveListener(run_dir, bytes_max, settings, self._doorkeeper)
        except BaseException:
            local.close()
            raise
        self._tcp_relay, self._zap = remote.relay, remote.zap
        notice(log, "Remote clients connect at %s.", remote_endpoint(settings))
        return Listeners(local, remote)

    def _reconfigure(self, config: NodeConfig) -> None:
        self._access.change(config.allowed_uids, config.allowed_gids)
        self._listeners.open_to_others(is_open=self._access.is_open_to_others)

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        self._chassis.catch_signals()
        tune_memory()
        stay_off_the_ring(self._config, log)
        notice(log, "Waiting for clients; process %d.", os.getpid())
        self._register()
        self._gateway.hello()
        next_housekeeping = time.monotonic() + HOUSEKEEPING_S
        try:
            while not self._chassis.stopping:
                self._turn(next_housekeeping)
                now = time.monotonic()
                if now >= next_housekeeping:
                    self._keep_house(now)
                    next_housekeeping = now + HOUSEKEEPING_S
            self._gateway.say_stopping()
        finally:
            self._close()
        notice(log, "Stopped.")

    def _register(self) -> None:
        """Register all descriptors."""
        self._listener_fds = set(self._listeners.filenos())
        self._monitor_fds = set(self._listeners.monitor_filenos())
        self._upstream_fd, self._sam_fd = self._upstream.socket.fileno(), self._sam.socket.fileno()
        self._control_plane_fd = self._control_plane.socket.fileno()
        self._zap_fds = {self._zap.fileno()} if self._zap is not None else set()
        for each in (
            *self._listener_fds,
            *self._monitor_fds,
            self._upstream_fd,
            self._sam_fd,
            self._control_plane_fd,
            *self._zap_fds,
            self._deaths.fileno(),
        ):
            self._poll.register(each, select.EPOLLIN)
        for also in (self._keep_warm, self._tcp_relay):
            if also is not None:
                self._poll.register(also.fileno(), select.EPOLLIN)

    def _poll_clients(self, events: int) -> None:
        """Poll the clients for these events; for none while there is no room for what they send."""
        self._clients_polled = events
        for each in self._listener_fds:
            self._poll.modify(each, events)

    def _turn(self, next_housekeeping: float) -> None:
        ready = {descriptor for descriptor, _ in self._poll.poll(self._timeout_s(next_housekeeping))}
        if self._look_at_all:
            # A ZeroMQ descriptor signals only after a look that found nothing.
            ready |= self._zap_fds | self._monitor_fds
            self._look_at_all = False
        gateway, upstream, listeners = self._gateway, self._upstream, self._listeners
        if self._zap is not None and not self._zap_fds.isdisjoint(ready):
            while self._zap.serve():
                pass
        if self._tcp_relay is not None and self._tcp_relay.fileno() in ready:
            self._tcp_relay.serve(time.monotonic())
        if self._upstream_fd in ready:
            for envelope in upstream.receive():
                gateway.on_cpg(envelope)
            if upstream.has_broken():
                log.warning("the connection to cpg broke; waiting for it to come back")
                gateway.hello()
        upstream.flush()
        if self._sam_fd in ready:
            self._sam.receive()
        if self._control_plane_fd in ready:
            self._control_plane.receive()
        gone = listeners.gone() if listeners.has_gone or not self._monitor_fds.isdisjoint(ready) else []
        # While cpg accepts nothing more, no client is read: this is the flow control that clients feel.
        if gone or (not upstream.outbox and (self._clients_waited or not self._listener_fds.isdisjoint(ready))):
            self._receive(until_empty=bool(gone))
        if self._doorkeeper.denied:
            self._log_denied()
        for connection in gone:
            gateway.detach(connection)
        if self._deaths.fileno() in ready or gateway.sessions.watched_anew or self._dying:
            self._look_after_processes()
        gateway.flush()
        if self._keep_warm is not None:
            self._keep_warm.note(gateway.counters["requests"], now_s := time.monotonic())
            if now_s >= self._keep_warm.due_s or self._keep_warm.fileno() in ready:
                self._keep_warm.turn(now_s)
        self._chassis.serve(ready)

    def _timeout_s(self, next_housekeeping: float) -> float:
        """How long the poll may sleep. A ZeroMQ descriptor signals input only once, so sockets with leftovers must be
        asked."""
        self._clients_waited = self._listeners.has_input()
        full = bool(self._upstream.outbox)
        if full == bool(self._clients_polled):
            self._poll_clients(0 if full else select.EPOLLIN)
        now_s = time.monotonic()
        timeout_s = max(0.0, next_housekeeping - now_s)
        for each in (self._upstream.socket, self._sam.socket, self._control_plane.socket):
            each.tend(now_s)
            if each.retry_at_s is not None:
                timeout_s = min(timeout_s, RETRY_CONNECT_S)
        if self._keep_warm is not None:
            timeout_s = min(timeout_s, max(0.0, self._keep_warm.due_s - now_s))
        clients_wait = self._listeners.has_gone or (self._clients_waited and not full)
        if clients_wait or self._look_at_all or self._chassis.has_more:
            return 0.0
        return min(timeout_s, RETRY_S) if self._gateway.outboxes.has_blocked or self._dying else timeout_s

    def _receive(self, *, until_empty: bool) -> None:
        """Process envelopes of clients. What an ended connection had sent still counts, so it is read before the
        detach."""
        for _ in range(DRAINS_BEFORE_DETACH_MAX if until_empty else 1):
            count = 0
            for received in self._listeners.receive():
                self._gateway.on_client(received)
                count += 1
            if count == 0:
                return

    def _look_after_processes(self) -> None:
        """Watch the processes of new sessions; close the sessions of dead ones."""
        gateway = self._gateway
        for session in gateway.sessions.watched_anew:
            if session.watch is not None and session.watch.fileno() >= 0 and gateway.registry.get(session.number):
                self._watched[session.watch.fileno()] = session
                self._deaths.register(session.watch.fileno(), select.EPOLLIN | select.EPOLLONESHOT)
        gateway.sessions.watched_anew.clear()
        now = time.monotonic()
        for descriptor, _ in self._deaths.poll(0):
            session = self._watched.pop(descriptor)
            self._dying[session] = now + DEATH_GRACE_S
        for session, deadline in list(self._dying.items()):
            if gateway.registry.get(session.number) is not session:
                del self._dying[session]
            elif session.connection is None or now >= deadline:
                del self._dying[session]
                gateway.sessions.died(session)

    def _keep_house(self, now: float) -> None:
        self._gateway.sessions.give_up_absent(now)
        self._listeners.tend(now)
        self._hit_log.note(self._listeners.take_hits(), now)
        for session in self._gateway.registry:
            if session.watch is not None and session.watch.fileno() < 0 and not session.is_process_alive():
                self._gateway.sessions.died(session)
        sessions = len(self._gateway.registry)
        if self._sessions_max - sessions >= SESSIONS_TO_TRIM:
            give_back_memory()
            self._sessions_max = sessions
        self._sessions_max = max(self._sessions_max, sessions)
        self._spare_memory.tick(now)
        # The ends of this turn are sent at once, not after the next sleep.
        self._gateway.flush()

    def _log_denied(self) -> None:
        """Log refusals, at most one line a second however many strangers try."""
        denied: list[Peer] = self._doorkeeper.denied
        if not denied:
            return
        self._denied += len(denied)
        now = time.monotonic()
        if now - self._denied_logged_at >= DENIED_LOG_INTERVAL_S:
            self._denied_logged_at = now
            last = denied[-1]
            mend = "remote.clients" if last.is_remote else "uidgid{}"
            log.warning(
                "access denied to a client (%s, group %d; %d so far); %s in corosync.conf says who is let in",
                last, last.gid, self._denied, mend,
            )  # fmt: skip
        denied.clear()

    def _status(self) -> dict[str, Any]:
        gateway = self._gateway
        return {
            "state": "operational" if gateway.is_welcomed else "waiting",
            "counters": {
                **gateway.counters,
                **self._listeners.totals(),
                "outbox_bytes": gateway.outboxes.total_bytes,
                "denied": self._denied,
                "bus_errors": self._upstream.errors + self._sam.errors + self._control_plane.errors,
                "laps": self._keep_warm.warm_ups if self._keep_warm is not None else 0,
            },
            "sessions": [
                {
                    "session": f"{session.number:016x}",
                    "pid": session.peer.pid,
                    "uid": session.peer.uid,
                    "remote_key": f"{session.peer.key:016x}" if session.peer.is_remote else None,
                    "name": session.name,
                    "connected": session.connection is not None,
                    "open": session.is_open,
                    "in_flight_bytes": session.in_flight_bytes,
                    "requests": session.next_request - 1,
                    "settled": session.settled,
                    "event_blobs": session.event_blobs,
                }
                for session in gateway.registry
            ],
        }

    def _close(self) -> None:
        if self._keep_warm is not None:
            self._keep_warm.close()
        self._listeners.close()
        self._upstream.close()
        self._sam.close()
        self._control_plane.close()
        self._deaths.close()
        self._chassis.close()
        self._lock.close()
