"""Runs inside supervisord: counts restarts, kills hung services, and stops the node when a service fails for good.

supervisord loads it as an RPC interface ([rpcinterface:rondo] in supervisord.conf), its extension mechanism, and calls
`make` once. A service fails for good

- when it exits with 8: its configuration is invalid, and the next start would read the same;
- when it cannot be started at all (supervisord calls that FATAL);
- when it exits by itself (an exit code other than 0, not a signal) QUICK_EXITS_MAX times in a row, each time within
  QUICK_SECONDS of its start: a port that is taken, a directory that is not writable.

The plugin also stops the node when totem or control asks for it: exit code 5, another node has killed this one, or 6,
it was asked to shut down.

A service that was *killed*, by whomever and however often, is simply restarted. sam, qb_gateway, web and notify are
never a reason to stop: the node works without them.

A service that hangs for system.service_timeout is killed, and so restarted (watchdog).
"""

import contextlib
import json
import logging
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from supervisor import events
from supervisor.medusa import asyncore_25 as asyncore
from supervisor.states import SupervisorStates

from rondo.config.node import LogSettings, NodeConfig, NodeConfigError
from rondo.node.exit_codes import EXIT_CONFIGURATION, EXIT_KILLED, EXIT_SHUT_DOWN
from rondo.node.log_formats import iso_time
from rondo.node.logs import LogError, outputs_beside_stderr
from rondo.node.process_name import set_process_name
from rondo.node.supervision import C_PROGRAMS, DISPENSABLE, RESOLVED_CONFIGURATION
from rondo.node.supervision.heartbeats import Heartbeats
from rondo.node.supervision.logfiles import last_words
from rondo.node.supervision.processes import SUPERVISORD
from rondo.node.supervision.record import Record
from rondo.node.supervision.watchdog import Watchdog

QUICK_SECONDS = 10
QUICK_EXITS_MAX = 3
AT_ONCE_AFTER_SECONDS = 1.0
"""A service that lived shorter than this is restarted at supervisord's own pace, once a second, because it may be dying
in a loop, ..."""
AT_ONCE_MAX = 3
"""... unless it was killed, and at most this many times in a row: who kills a service twice still wants it back."""


class Alarm:
    """Wakes supervisord's loop: when a child dies, again when its death was noticed, and when a watchdog check is due.

    The loop sleeps a second in poll(2), which Python resumes after a signal. The signals' wake-up descriptor is
    therefore polled here like any other input. supervisord notices a death at the end of a turn, and starts the next
    process at the end of the following turn, so `ring` asks for that turn.
    """

    def __init__(self) -> None:
        for former in [each for each in asyncore.socket_map.values() if isinstance(each, Alarm)]:
            former.close()  # supervisord restarts itself (SIGHUP)
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        asyncore.socket_map[self._read] = self
        self.on_ring: Callable[[], None] = lambda: None
        """Called in every turn that the alarm has caused."""

    def ring(self) -> None:
        """Make the next turn come at once."""
        with contextlib.suppress(BlockingIOError):  # full: the next turn comes at once anyway
            os.write(self._write, b"!")

    def close(self) -> None:
        """Stop waking the loop."""
        signal.set_wakeup_fd(-1)
        del asyncore.socket_map[self._read]
        os.close(self._read)
        os.close(self._write)

    # The interface of everything that supervisord polls.

    def readable(self) -> bool:
        """Always to be polled."""
        return True

    def writable(self) -> bool:
        """Never written to by the loop."""
        return False

    def handle_read_event(self) -> None:
        """Empty the pipe. The turn itself is nearly all that was wanted."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._read, 512)
        self.on_ring()

    def handle_error(self) -> None:
        """Ignore errors: the pipe needs no repair."""


class ConfiguredLog:
    """The file and the syslog of logging{}. Readers of these alone learn there what ended a service or the node."""

    def __init__(self, run_dir: Path) -> None:
        logging.raiseExceptions = False  # a log that cannot be written must not write about itself
        self._settings = LogSettings()
        # Without a configuration only supervisord's own log has the lines.
        with contextlib.suppress(NodeConfigError):
            self._settings = NodeConfig.read(run_dir / RESOLVED_CONFIGURATION).logging[""]

    def tell(self, level: int, text: str) -> None:
        """Write a line at once. There are so few that nothing is kept open for them."""
        try:
            outputs = outputs_beside_stderr(self._settings, SUPERVISORD)
        except LogError:
            return
        record = logging.LogRecord("SUPERV", level, __file__, 0, "%s", (text,), None)
        for each in outputs:
            if level >= each.level:
                each.handle(record)
            each.close()


class Watch:
    """Handles every change of state of a service. It offers no remote procedure of its own."""

    def __init__(self, supervisord: Any, run_dir: Path, alarm: Alarm) -> None:
        self._supervisord = supervisord
        self._alarm = alarm
        self._run_dir = run_dir
        self._starts: Counter[str] = Counter()
        self._quick_exits: Counter[str] = Counter()
        self._short_lives: Counter[str] = Counter()
        self._record = Record(off=json.loads(os.environ.get("RONDO_OFF", "{}")))
        self._log = ConfiguredLog(run_dir)
        self._wait_status = 0

    def remembering(self, waitpid: Callable[[], tuple[int, int]]) -> Callable[[], tuple[int, int]]:
        """Wrap supervisord's waitpid to remember the exit status: its events do not name the signal."""

        def wait() -> tuple[int, int]:
            pid, status = waitpid()
            self._wait_status = status or 0
            return pid, status

        return wait

    def on_event(self, event: Any) -> None:
        process = event.process
        if isinstance(event, events.ProcessStateStartingEvent):
            self._starts[process.config.name] += 1
            self._record.restarts[process.config.name] = self._starts[process.config.name] - 1
            with contextlib.suppress(ValueError):
                self._record.given_up.remove(process.config.name)
            self._save()
        elif isinstance(event, events.ProcessStateExitedEvent):
            if self._may_start_at_once(process):
                self._alarm.ring()
            self._exited(process)
        elif isinstance(event, events.ProcessStateFatalEvent):
            self._give_up(process, f"cannot be started: {process.spawnerr}")

    def _may_start_at_once(self, process: Any) -> bool:
        """True if the service may be restarted before the next second."""
        name = process.config.name
        if time.time() - process.laststart >= AT_ONCE_AFTER_SECONDS:
            self._short_lives[name] = 0
            return True
        self._short_lives[name] += 1
        return bool(process.exitstatus < 0 and self._short_lives[name] <= AT_ONCE_MAX)

    def _exited(self, process: Any) -> None:
        """exitstatus is negative if a signal ended the process."""
        name, code = process.config.name, process.exitstatus
        words = last_words(Path(process.config.stdout_logfile), name) if code > 0 else ""
        end = f"was killed by {_signal_name(self._wait_status)}" if code < 0 else f"exited with {code}"
        self._record.ends[name] = f"{iso_time(time.time())} {end}" + (f": {words}" if words else "")
        self._save()
        self._log.tell(logging.ERROR, f"{name} {end}" + (f": {words}" if words else ""))
        if code == EXIT_SHUT_DOWN:
            self._stop_node()
        elif code in (EXIT_CONFIGURATION, EXIT_KILLED):
            self._give_up(process, f"exited with {code}")
        elif code > 0 and time.time() - process.laststart < QUICK_SECONDS:
            self._quick_exits[name] += 1
            if self._quick_exits[name] >= QUICK_EXITS_MAX:
                self._give_up(process, f"exited {QUICK_EXITS_MAX} times in a row, last with {code}")
        else:
            self._quick_exits[name] = 0

    def _give_up(self, process: Any, what: str) -> None:
        """Stop the node: supervisord stops all services in their order, and ends."""
        name = process.config.name
        if name in DISPENSABLE:
            # supervisord does not restart after this exit code, but after any other it does, again and again.
            if name == C_PROGRAMS and process.exitstatus == EXIT_CONFIGURATION:
                self._supervisord.options.release_c_sockets()
            if process.exitstatus == EXIT_CONFIGURATION:
                self._record.given_up.append(name)
                self._save()
            return
        if self._record.failure:
            return
        words = last_words(Path(process.config.stdout_logfile), name)
        self._record.failure = f"{name} {what}" + (f": {words}" if words else "")
        self._supervisord.options.logger.critical(f"{self._record.failure}; the node stops")
        self._log.tell(logging.CRITICAL, f"{self._record.failure}; the node stops")
        self._save()
        self._stop_node()

    def _stop_node(self) -> None:
        if self._supervisord.options.mood > SupervisorStates.SHUTDOWN:
            self._supervisord.options.mood = SupervisorStates.SHUTDOWN

    def _save(self) -> None:
        try:
            self._record.save(self._run_dir)
        except OSError as error:
            # A full disk must not end supervision.
            self._supervisord.options.logger.error(f"{self._run_dir}: {error.strerror}")


def _signal_name(wait_status: int) -> str:
    if not os.WIFSIGNALED(wait_status):
        return "a signal"
    number = os.WTERMSIG(wait_status)
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal has no name
        return f"signal {number}"


def make(supervisord: Any, **_options: str) -> Watch:
    """The factory that supervisord calls (`supervisor.rpcinterface_factory`)."""
    for descriptor in filter(None, os.environ.get("RONDO_LOCKS", "").split(",")):
        # The locks are supervisord's. A service that outlives it must not keep the next node from starting.
        os.set_inheritable(int(descriptor), False)
    set_process_name("supervis")
    alarm = Alarm()
    watch = Watch(supervisord, Path(os.environ["RONDO_RUN_DIR"]), alarm)
    heartbeats = Heartbeats(supervisord, Watchdog(int(os.environ["RONDO_SERVICE_TIMEOUT_MS"]) / 1000))
    alarm.on_ring = heartbeats.look
    heartbeats.start_clock()
    events.subscribe(events.ProcessStateEvent, watch.on_event)
    supervisord.options.waitpid = watch.remembering(supervisord.options.waitpid)
    return watch
