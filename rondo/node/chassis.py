"""The common base of every service: its poll, the signals that end it, its control socket and status, its heartbeat.

A service registers its descriptors with `poll`, calls `serve` in each turn of its loop with those that are readable,
and ends when `stopping` is true. The rest of a turn is the service's own.

The heartbeat: supervisord writes a byte into the standard input of a service at intervals
(rondo.node.supervision.watchdog). The service's loop reads it, which shows that the loop runs. A service that is
started by hand has a terminal there, and no heartbeat.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from rondo.config import NodeConfig, NodeConfigError
from rondo.ipc.control import ControlServer, Handler
from rondo.node import compiled
from rondo.node.logs import LogError
from rondo.node.service import Start

STATUS_SCHEMA: Final = 1
"""Version of the services' answers to `status`, and of `rondo status --json`. It grows when a key changes its meaning
or is removed; new keys may be added at any time."""

STANDARD_INPUT: Final = 0


class Chassis:
    """Part of each service's process. Only the thread of the loop uses it."""

    def __init__(self, service: str, start: Start) -> None:
        self.stopping = False
        """A signal has asked the service to end."""
        self.poll = select.epoll()
        self.has_more = True
        """A request waits that the poll does not report: the loop must not sleep."""
        self._service = service
        self._start = start
        self._started_s = time.monotonic()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._own = {self._wake_read}
        if start.heartbeat:
            self._own.add(STANDARD_INPUT)
        for each in self._own:
            self.poll.register(each, select.EPOLLIN)
        self.on_reload: Callable[[NodeConfig], None] = lambda _config: None
        """Called with the new configuration after a reload. Only options that can change at runtime differ
        (rondo.config.changes)."""
        self._control: ControlServer | None = None
        self._must_reopen_logs = False

    def catch_signals(self) -> None:
        """From now on SIGTERM and SIGINT set `stopping` and wake the poll."""
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, self._stop)
        if self._start.heartbeat:
            # SIGHUP reopens log files, as is usual. Without supervisord the terminal may be gone, and the service ends.
            signal.signal(signal.SIGHUP, self._hang_up)

    def _stop(self, _number: int, _frame: object) -> None:
        self.stopping = True

    def _hang_up(self, _number: int, _frame: object) -> None:
        self._must_reopen_logs = True

    def open_control(
        self, status: Callable[[], Mapping[str, Any]], handlers: Mapping[str, Handler] | None = None
    ) -> ControlServer:
        """Serve the control socket from now on. `status` answers the service's `state`, `counters` and other items.
        There is also `log_level`, and the service's own operations. Raises `rondo.ipc.endpoints.SocketError`."""
        common = {"status": lambda _request: {**self._head(), **status()}, "log_level": self._on_log_level}
        common["reopen_logs"] = self._on_reopen_logs
        common["reload"] = self._on_reload
        self._control = ControlServer(self._start.run_dir, self._service, {**common, **(handlers or {})})
        self._own.add(self._control.fileno())
        self.poll.register(self._control.fileno(), select.EPOLLIN)
        return self._control

    def _head(self) -> dict[str, Any]:
        """The status items that all services have."""
        return {
            "schema": STATUS_SCHEMA,
            "service": self._service,
            "pid": os.getpid(),
            "node_id": self._start.config.node_id,
            "code": compiled.state(),
            "uptime_seconds": time.monotonic() - self._started_s,
            "cpu_seconds": time.process_time(),
            "log_level": logging.getLevelName(logging.getLogger().level).lower(),
            "log_lines_dropped": self._start.logs.dropped,
        }

    def _on_log_level(self, request: dict[str, Any]) -> dict[str, Any]:
        level = str(request.get("level"))
        self._start.logs.set_level(level)
        return {"level": level}

    def _on_reopen_logs(self, _request: dict[str, Any]) -> dict[str, Any]:
        self.reopen_logs()
        return {}

    def _on_reload(self, request: dict[str, Any]) -> dict[str, Any]:
        """control asks for this once the nodes have agreed on a new configuration."""
        packed = request.get("config")
        try:
            config = NodeConfig.from_msgpack(packed if isinstance(packed, bytes) else b"")
            self.reconfigure(config)
        except (NodeConfigError, LogError) as error:
            raise ValueError(str(error)) from None
        self.on_reload(config)
        return {}

    def reconfigure(self, config: NodeConfig) -> None:
        """Apply the logging options of this configuration. Raises LogError."""
        self._start.logs.change(config.log_settings(self._service))

    def reopen_logs(self) -> None:
        """Reopen this service's log file."""
        self._start.logs.reopen()

    def serve(self, ready: set[int]) -> None:
        """Call it once a turn with the readable descriptors that the poll has found."""
        if not self.has_more and self._own.isdisjoint(ready):
            return
        if self._wake_read in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_read, 512)
        if self._must_reopen_logs:
            self._must_reopen_logs = False
            self.reopen_logs()
        if STANDARD_INPUT in self._own and STANDARD_INPUT in ready:
            self._beat()
        self.has_more = False
        if self._control is not None:
            self._control.serve()
            self.has_more = self._control.has_pending

    def _beat(self) -> None:
        try:
            data = os.read(STANDARD_INPUT, 512)
        except OSError:
            data = b""
        if not data:
            # supervisord is dead, so nobody watches any more. The service goes on.
            self._own.discard(STANDARD_INPUT)
            self.poll.unregister(STANDARD_INPUT)

    def close(self) -> None:
        """Close everything that was opened here."""
        signal.set_wakeup_fd(-1)
        if self._control is not None:
            self._control.close()
        self.poll.close()
        os.close(self._wake_read)
        os.close(self._wake_write)
