"""The SAM process: puts its parts together and runs the loop."""

import logging
import os
import time
from pathlib import Path
from typing import Any

import zmq

from rondo.bus.control import ControlServer
from rondo.bus.instance import InstanceLock
from rondo.config.node import NodeConfig
from rondo.logs import Logs, notice
from services.sam.loop import Loop

SERVICE = "sam"
TICK_S = 1.0

log = logging.getLogger("SAM")


class Process:
    """Everything of one running SAM. `run` returns when a signal asked it to stop."""

    def __init__(self, config: NodeConfig, run_dir: Path, state_dir: Path, logs: Logs) -> None:
        """Raises InstanceError, SocketError, PathError."""
        self._lock = InstanceLock(run_dir, SERVICE)
        self._state_lock = InstanceLock(state_dir, SERVICE, "--state-dir")
        self._config = config
        self._logs = logs
        self._started_s = time.monotonic()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        handlers = {"status": self._on_status, "log_level": self._on_log_level}
        self._control = ControlServer(self._context, run_dir, SERVICE, handlers)
        self._loop = Loop()

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        loop = self._loop
        loop.catch_signals()
        loop.serve(self._control.socket, self._control.serve)
        notice(log, "Watching applications; process %d.", os.getpid())
        try:
            while not loop.stopping:
                loop.turn(time.monotonic() + TICK_S)
        finally:
            self._close()
        notice(log, "Stopped.")

    def _on_status(self, _request: dict[str, Any]) -> dict[str, Any]:
        return {
            "service": SERVICE,
            "pid": os.getpid(),
            "state": "operational",
            "node_id": self._config.node_id,
            "uptime_seconds": time.monotonic() - self._started_s,
            "cpu_seconds": time.process_time(),
            "counters": {"log_lines_dropped": self._logs.dropped},
        }

    def _on_log_level(self, request: dict[str, Any]) -> dict[str, Any]:
        level = str(request.get("level"))
        self._logs.set_level(level)
        return {"level": level}

    def _close(self) -> None:
        self._loop.close()
        self._control.close()
        self._context.destroy(linger=0)
        self._state_lock.close()
        self._lock.close()
