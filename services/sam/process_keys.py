"""The processes that SAM watches, in cmap: `resources.process.PID.*`, with Corosync's names and types.

recovery      str  "quit" or "restart"
poll_period   u64  the interval, ms; 0 = its health has no time limit
state         str  "stopped" (health checks have not begun), "running", "waiting for quorum" or "failed"
last_updated  u64  when it was heard, or its state changed (CLOCK_MONOTONIC, ns)

The wanted keys follow from the applications; the existing keys are those that control has confirmed. Each round sends a
few of the differences to control, so there is no queue. After a restart of control its keys are read again. C programs
that use libsam write keys of these names themselves: SAM touches only those of its own processes.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from rondo.node.control_link import ControlLink
from rondo.protocol.codes import Code
from rondo.protocol.control_gateway import Op
from services.sam.application import Application, Phase, State
from services.sam.signals import start_time_of

PREFIX = "resources.process."
U64, STRING = 8, 11
"""Types in cmap."""
PROCESSES_MAX = 256
"""The most processes that are shown. SAM's status has the number of the others."""
ASKED_MAX = 16
"""Changes sent to control and not answered yet."""
LOOK_S = 0.1
"""The interval of looks for changes."""
HEARD_S = 10.0
"""The least interval at which `last_updated` is written for a process that is heard but changes nothing, ..."""
HEARD_EACH_S = 0.1
"""... and for many processes together: with each change of a key control saves its state."""
STATES = {
    State.REGISTERED: "stopped",
    State.STARTED: "running",
    State.WAITING_FOR_QUORUM: "waiting for quorum",
    State.FAILED: "failed",
}

Value = tuple[int, Any]


class ProcessKeys:
    """The keys of all processes."""

    def __init__(self, applications: Mapping[str, Application], link: ControlLink, counters: Counter[str]) -> None:
        self._applications = applications
        self._link = link
        self._counters = counters
        self._there: dict[str, Value] = {}
        """The keys that control has, as far as known."""
        self._updated: dict[int, tuple[str, float, int]] = {}
        """By pid what is shown: its state, when it was heard last (awake clock), and when this was written."""
        self.left_out = 0
        """Processes that are not shown, because there are too many."""
        self._asked: set[str] = set()
        self._breaks = -1
        """The number of the connection whose keys were read; -1: none."""
        self._is_reading = False
        self._look_at_s = 0.0

    def tend(self, now_s: float) -> None:
        """Send differences to control. Call it after the link's own `tend`. `now_s`: CLOCK_MONOTONIC."""
        if self._breaks != self._link.breaks:
            self._read()
        if self._is_reading or now_s < self._look_at_s:
            return
        self._look_at_s = now_s + LOOK_S
        wanted = self._wanted(int(now_s * 1e9))
        for key in [key for key in self._there if key not in wanted]:
            self._ask(Op.DELETE, key, None)
        for key, value in wanted.items():
            if self._there.get(key) != value:
                self._ask(Op.SET, key, value)

    def _ask(self, op: Op, key: str, value: Value | None) -> None:
        if key in self._asked or len(self._asked) >= ASKED_MAX:
            return  # the next look will try again

        def answered(code: int, _result: Any) -> None:
            self._asked.discard(key)
            if code not in (Code.OK, Code.NOT_EXIST):
                self._counters["keys_refused"] += 1  # and not asked again and again

        self._asked.add(key)
        if value is None:
            del self._there[key]
            self._link.ask(op, {"key": key}, answered)
        else:
            self._there[key] = value
            self._link.ask(op, {"key": key, "type": value[0], "value": value[1]}, answered)

    # -- what is to be there ------------------------------------------------------------------------------------

    def _wanted(self, now_ns: int) -> dict[str, Value]:
        running = [each for each in self._applications.values() if each.phase is Phase.RUNNING and each.pid]
        self.left_out = max(0, len(running) - PROCESSES_MAX)
        del running[PROCESSES_MAX:]
        again_ns = int(max(HEARD_S, HEARD_EACH_S * len(running)) * 1e9)
        updated: dict[int, tuple[str, float, int]] = {}
        wanted: dict[str, Value] = {}
        for each in running:
            state = STATES[each.state]
            before = self._updated.get(each.pid)
            is_due = before is not None and before[1] != each.heard_at_s and now_ns - before[2] >= again_ns
            if before is None or before[0] != state or is_due:
                before = (state, each.heard_at_s, now_ns)
            updated[each.pid] = before
            below = f"{PREFIX}{each.pid}."
            wanted[f"{below}recovery"] = (STRING, "restart" if each.policy.restarts else "quit")
            wanted[f"{below}poll_period"] = (U64, each.interval_ms)
            wanted[f"{below}state"] = (STRING, state)
            wanted[f"{below}last_updated"] = (U64, before[2])
        self._updated = updated
        return wanted

    # -- what is there ------------------------------------------------------------------------------------------

    def _read(self) -> None:
        self._breaks = self._link.breaks
        if not self._is_reading:
            self._is_reading = True
            self._link.ask(Op.KEYS, {"map": "icmap", "prefix": PREFIX}, self._on_keys)

    def _on_keys(self, code: int, found: Any) -> None:
        self._is_reading = False
        if code != Code.OK:
            return
        ours = self._ours()
        self._there = {key: (kind, value) for key, kind, value in found if _pid_of(key) in ours}

    def _ours(self) -> set[int]:
        """Processes that run here, and those that have ended: a predecessor may have shown them."""
        pids = {each.pid for each in self._applications.values() if each.pid}
        ended = {end.pid for each in self._applications.values() for end in each.history}
        return pids | {pid for pid in ended - pids if not start_time_of(pid)}


def _pid_of(key: str) -> int:
    number = key.removeprefix(PREFIX).partition(".")[0]
    return int(number) if number.isascii() and number.isdigit() and len(number) < 11 else 0
