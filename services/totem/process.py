"""The totem process: one loop around one poll. Only the poll waits.

A turn: due timers, frames of this node to itself, datagrams (bounded), the bus, the link's address. Slow work - name
resolution, the disk, the log - has threads of its own. The loop sleeps until a socket is readable or the next deadline
comes.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import time
from collections import deque
from typing import Any, Final

from rondo.config import ConfigError, Fault, NodeConfig
from rondo.node.chassis import Chassis
from rondo.node.exit_codes import EXIT_FATAL, EXIT_OK
from rondo.node.instance import InstanceLock
from rondo.node.logs import notice
from rondo.node.placement import allowed_cpus, ring_cpus
from rondo.node.service import Start
from services.totem.backpressure import PRESSURE_MIN, Backpressure
from services.totem.bus import Bus
from services.totem.control_bus import ControlBus
from services.totem.control_reader import LOG_BYTES_MAX as CONTROL_LOG_BYTES_MAX
from services.totem.copied import CopyWatch
from services.totem.cpu_latency import CpuLatencyLock
from services.totem.full_log import FullLog, FullLogError, check_control
from services.totem.knet_keys import make_knet_keys
from services.totem.last_words import last_words
from services.totem.node import Node
from services.totem.ordered_log import OrderedLog, queue_bytes_max_of
from services.totem.protection import Protection
from services.totem.sequence_file import SequenceFile
from services.totem.transport.link import NEVER_NS
from services.totem.tuning import tune

NOT_SCHEDULED_PERCENT: Final = 80
"""If the loop wakes later than this share of the token time-out, that is logged."""
SCHEDULE_MISSES_MAX: Final = 10
"""Late wake-ups that `rondo debug` shows."""

SLEEP_NS_MAX: Final = 60_000_000_000
_MS_NS: Final = 1_000_000
_main = logging.getLogger("MAIN")


class EvictedError(Exception):
    """Another node has evicted this one. The text says which node, and why."""


class Process:
    """One running totem service. `run` returns the exit code."""

    def __init__(self, start: Start, protection: Protection | None) -> None:
        """Raises `InstanceError`, OSError (state directory, sockets)."""
        config, run_dir, state_dir = start.config, start.run_dir, start.state_dir
        self._locks = [
            InstanceLock(run_dir, "totem"),
            InstanceLock(state_dir, "totem", "--state-dir"),
        ]
        self._config = config
        self._run_dir = run_dir
        self._chassis = Chassis("totem", start)
        self._poll = self._chassis.poll
        self._not_scheduled = 0
        self._schedule_misses: deque[tuple[int, float]] = deque(maxlen=SCHEDULE_MISSES_MAX)
        """(milliseconds since 1970, how late in milliseconds), the latest one first."""
        self._backpressure = Backpressure(config.token_retransmit_ms, config.token_timeout_ms)
        self._is_held_back = False
        self._copies = CopyWatch(time.time_ns(), time.monotonic_ns())
        self._cpu_latency = CpuLatencyLock(wanted=config.low_latency)
        self._sequence = SequenceFile(state_dir, config.node_id)
        queue_bytes_max = queue_bytes_max_of(config.log_bytes_max, config.client_bytes_max)
        log = OrderedLog(time.time_ns(), config.node_id, os.getpid(), config.log_bytes_max, queue_bytes_max)
        knet_keys = make_knet_keys(config, state_dir)
        self.node = Node(config, self._sequence, log, time.monotonic_ns(), protection, knet_keys)
        self._full_log = FullLog(log)
        self._words_keeper = b""
        """The control client that asked for the last words: sam."""
        self._polled: set[int] = set()

    def run(self) -> int:
        """Run until a signal asks to stop.

        Raises `CannotBind` if the node's port is not available, ConfigError if the others have a newer configuration,
        and `EvictedError`.
        """
        self._chassis.catch_signals()
        self.node.link.start()
        self.node.tend_link(set(), time.monotonic_ns())
        # After the helper threads have started, which must not inherit this.
        tune(ring_cpus(self._config, allowed_cpus()), realtime=self._config.sched_rr)
        try:
            self._bus = Bus(self._run_dir, self.node)
            self._control_bus = ControlBus(self._run_dir, self.node)
            handlers = {"key": self._on_key, "last_words": self._on_last_words}
            self._chassis.on_reload = self._reconfigure
            self._control = self._chassis.open_control(self._status, handlers)
            self._register()
            while not self._chassis.stopping and self.node.control.evicted is None:
                self._turn()
            evicted = self.node.control.evicted
            if evicted is not None and evicted.is_fault_of_configuration:
                raise ConfigError([Fault("error", None, "totem.config_version", evicted.text, "")])
            if evicted is not None:
                _main.critical("%s", evicted.text)
                raise EvictedError(evicted.text)
        except FullLogError as error:
            _main.error("%s", error)
            return EXIT_FATAL
        finally:
            self.node.leave(time.monotonic_ns())
            self.node.link.close()
            self._cpu_latency.close()
            self._copies.close()
            self._sequence.close()
            notice(_main, "Left the ring.")
        return EXIT_OK

    def _reconfigure(self, config: NodeConfig) -> None:
        self._config = config
        self._backpressure.change_timers(config.token_retransmit_ms, config.token_timeout_ms)
        self.node.reconfigure(config, time.monotonic_ns())
        self._register()

    def _status(self) -> dict[str, Any]:
        """The state for `rondo status` and `rondo debug`, besides the part common to all services."""
        return self.node.status() | {
            "not_scheduled": self._not_scheduled,
            "schedule_misses": [list(each) for each in self._schedule_misses],
            "brake_pauses": self._backpressure.pauses,
            "processors_awake": self._cpu_latency.is_held,
        }

    def _on_key(self, request: dict[str, Any]) -> dict[str, Any]:
        return self.node.key(request, time.monotonic_ns())

    def _on_last_words(self, _request: dict[str, Any]) -> dict[str, Any]:
        """sam asks for the last words. Later ones are sent to it unasked."""
        self._words_keeper = self._control.asking
        self.node.death_notice_is_stale = False
        return last_words(self.node)

    def _turn(self) -> None:
        asleep_ns = time.monotonic_ns()
        wait_ns = self._wait_ns(asleep_ns)
        # If the process was stopped (SIGSTOP) during the first call, and its time ran out, that call returns nothing
        # (EINTR). Datagrams that came meanwhile must be seen before the input counts as drained: their joins are stale.
        polled = self._poll.poll(wait_ns / 1e9) or self._poll.poll(0)
        readable = {descriptor for descriptor, _ in polled}
        now_ns = time.monotonic_ns()
        self._check_schedule(now_ns - asleep_ns - wait_ns)
        if self._copies.was_copied(time.time_ns(), now_ns, told=self._copies.fileno() in readable):
            self.node.begin_life()
        self.node.expire(now_ns)
        if failing := [descriptor for descriptor, events in polled if events & select.EPOLLERR]:
            self.node.link.read_errors(failing)
        self._receive(readable, now_ns)
        self._bus.receive(self._bus_fd in readable, now_ns)
        self._bus.send(now_ns)
        self._control_bus.receive(self._control_bus_fd in readable, now_ns)
        self._control_bus.send(now_ns)
        self.node.reform(now_ns)
        self._cpu_latency.note(self.node.log.head, now_ns)
        self._chassis.serve(readable)
        if self.node.tend_link(readable, now_ns):
            self._register()
        if self.node.death_notice_is_stale and self._words_keeper:
            self.node.death_notice_is_stale = False
            self._control.tell(self._words_keeper, last_words(self.node))

    def _receive(self, readable: set[int], now_ns: int) -> None:
        """Receive frames for the ring, unless they have to wait because cpg does not keep up."""
        if self._backpressure.holds(now_ns):
            return
        if self._is_held_back:
            if self._backpressure.prolong(self.node.log.pressure, now_ns):
                return
            self._is_held_back = False
            self._poll_data(select.EPOLLIN)
        self.node.receive(readable, now_ns)
        pressure = self.node.pressure
        if pressure >= 1.0:
            check_control(self.node.control.pressure, CONTROL_LOG_BYTES_MAX)
        if self.node.log.pressure > PRESSURE_MIN and not self._full_log.check(self._bus, now_ns):
            return
        self._is_held_back = self._backpressure.update(pressure, self.node.ring.counters.orf_token_rx, now_ns)
        if self._is_held_back:
            self._poll_data(0)

    def _poll_data(self, events: int) -> None:
        for each in self.node.link.data_filenos():
            with contextlib.suppress(OSError):
                self._poll.modify(each, events)

    def _wait_ns(self, now_ns: int) -> int:
        """How long the poll may sleep."""
        node = self.node
        held_back = self._backpressure.holds(now_ns)
        if self._chassis.stopping or self._chassis.has_more or (node.link.has_local and not held_back):
            return 0
        deadline_ns = min(
            self._backpressure.until_ns if held_back else NEVER_NS,
            node.next_deadline_ns() or NEVER_NS,
            node.link.next_due_ns,
            self._cpu_latency.due_ns,
            self._bus.next_turn_ns(now_ns) or NEVER_NS,
            self._control_bus.next_turn_ns(now_ns) or NEVER_NS,
            now_ns + SLEEP_NS_MAX,
        )
        return max(0, deadline_ns - now_ns)

    def _check_schedule(self, late_ns: int) -> None:
        threshold_ns = self._config.token_timeout_ms * _MS_NS * NOT_SCHEDULED_PERCENT // 100
        if late_ns > threshold_ns:
            self._not_scheduled += 1
            self._schedule_misses.appendleft((time.time_ns() // _MS_NS, late_ns / _MS_NS))
            _main.warning(
                "Rondo's totem process was not scheduled for %0.4f ms (threshold is %0.4f ms). "
                "Consider token timeout increase.",
                late_ns / _MS_NS, threshold_ns / _MS_NS,
            )  # fmt: skip

    def _register(self) -> None:
        """Poll the descriptors that are open now."""
        self._bus_fd = self._bus.fileno()
        self._control_bus_fd = self._control_bus.fileno()
        wanted = self.node.link.filenos() | {self._bus_fd, self._control_bus_fd}
        if self._copies.fileno() >= 0:
            wanted.add(self._copies.fileno())
        for_errors = set(self.node.link.error_filenos())
        wanted |= for_errors
        for gone in self._polled - wanted:
            with contextlib.suppress(OSError):  # closed, and so no longer polled
                self._poll.unregister(gone)
        for new in wanted:
            # Descriptors that are polled already, too: a number may belong to a new socket by now.
            with contextlib.suppress(FileExistsError):
                self._poll.register(new, 0 if new in for_errors else select.EPOLLIN)
        self._polled = wanted
