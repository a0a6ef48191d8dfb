"""The process: reads the time line, and runs one command after another."""

from __future__ import annotations

import logging
import select
import time
from typing import Any

from rondo.node.chassis import Chassis
from rondo.node.instance import InstanceLock
from rondo.node.logs import notice as log_notice
from rondo.node.placement import stay_off_the_ring
from rondo.node.service import Start
from rondo.node.supervision import RESOLVED_CONFIGURATION, SERVICES
from rondo.node.supervision.logfiles import MergedLog, configured_files, log_files
from rondo.timeline.events import event_of
from services.notify.child import Child
from services.notify.position import Position
from services.notify.queue import Notice, Queue, kind_of

SERVICE = "notify"
LOOK_S = 0.5
"""How often the logs are looked at."""
LAST_S = 2.0
"""How long the service goes on telling when it is stopped. The services that are stopped after it wait for it, the ring
among them."""

log = logging.getLogger("NOTIFY")


class Process:
    """Everything of one running service. `run` returns when a signal asked it to stop."""

    def __init__(self, start: Start) -> None:
        """Raises InstanceError, SocketError, OSError."""
        self._config, self._settings = start.config, start.config.notify
        self._lock = InstanceLock(start.run_dir, SERVICE)
        self._chassis = Chassis(SERVICE, start)
        self._chassis.open_control(self._status)
        self._log = MergedLog(log_files(start.run_dir), configured_files(start.run_dir, SERVICES))
        self._position = Position(start.run_dir, _started_s(start))
        self._queue = Queue()
        self._child: Child | None = None
        self._child_until_s = 0.0
        self._last_failure = ""

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        self._chassis.catch_signals()
        stay_off_the_ring(self._config, log)
        what = f"the command {self._settings.command}" if self._settings.command else "the webhook"
        log_notice(log, "Telling %s of changes: %s.", what, ", ".join(self._settings.kinds))
        next_look_s = 0.0
        try:
            while not self._chassis.stopping:
                now_s = time.monotonic()
                if now_s >= next_look_s:
                    self._read()
                    next_look_s = now_s + LOOK_S
                self._tend(now_s)
                self._wait(next_look_s)
            self._tell_the_rest()
        finally:
            self._close()
        log_notice(log, "Stopped.")

    def _wait(self, until_s: float) -> None:
        """Until something is to be done, or until then."""
        timeout_s = 0.0 if self._chassis.has_more else max(0.0, until_s - time.monotonic())
        self._chassis.serve({descriptor for descriptor, _ in self._chassis.poll.poll(timeout_s)})

    def _tell_the_rest(self) -> None:
        """Tell what was logged last, such as that the node is being stopped. Nothing that fails is tried again."""
        self._read()
        until_s = time.monotonic() + LAST_S
        while (now_s := time.monotonic()) < until_s:
            self._tend(now_s)
            if self._child is None:
                return
            self._wait(until_s)

    def _read(self) -> None:
        """What has happened since the last time."""
        for line in self._log.read():
            event = event_of(line)
            if event is None or (kind := kind_of(event.name)) not in self._settings.kinds or kind is None:
                continue
            if self._position.is_new(event.seconds):
                self._queue.add(Notice(event.seconds, kind, event.as_json()))

    def _tend(self, now_s: float) -> None:
        """See whether the command has ended, or has had its time; and start the next one."""
        if self._child is not None:
            status = self._child.end()
            if status is None and now_s < self._child_until_s:
                return
            if status is None:
                self._child.kill()
                self._end(now_s, f"had not ended after {self._settings.timeout_ms} ms and was killed")
            else:
                self._end(now_s, f"ended with {status}" if status else "")
        waiting = self._queue.next(now_s)
        if waiting is not None:
            self._start(waiting, now_s)

    def _start(self, waiting: Notice, now_s: float) -> None:
        try:
            self._child = Child(self._settings.command, self._settings.webhook, waiting, self._config.node_id)
        except OSError as error:
            self._settle(now_s, f"cannot be started: {error.strerror}")
            return
        self._child_until_s = now_s + self._settings.timeout_ms / 1000
        self._chassis.poll.register(self._child.descriptor, select.EPOLLIN)

    def _end(self, now_s: float, failure: str) -> None:
        child, self._child = self._child, None
        if child is not None:
            self._chassis.poll.unregister(child.descriptor)
            child.close()
        self._settle(now_s, failure)

    def _settle(self, now_s: float, failure: str) -> None:
        settled = self._queue.settle(now_s, is_told=not failure)
        if failure and failure != self._last_failure:
            log.warning("What is told of changes %s; it is tried again some times.", failure)
        self._last_failure = failure
        if settled is not None:
            self._position.settle(settled.seconds)
            if failure:
                log.error("Nobody could be told of %s.", settled.event["event"])

    def _status(self) -> dict[str, Any]:
        return {
            "state": "operational",
            "why": f"what is told of changes {self._last_failure}" if self._last_failure else "",
            "waiting": len(self._queue),
            "counters": dict(self._queue.counters),
        }

    def _close(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.close()
        self._chassis.close()
        self._lock.close()


def _started_s(start: Start) -> float:
    """When the node was started, in seconds since 1970: what was before is of a former life."""
    try:
        return (start.run_dir / RESOLVED_CONFIGURATION).stat().st_mtime
    except OSError:
        return time.time()
