"""What processes use: processor time of all their threads to the nanosecond, and their share of memory."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

CLOCK_OF_SCHEDULER = 2
KIB_PER_MIB = 1024
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
ELSEWHERE = "elsewhere"
"""What is not in any of the processes: other programs on the machine, the bench itself, interrupts."""

QUIET_WINDOW_S = 0.25
QUIET_CORES_MAX = 0.12
"""Of all processors together; idle clusters of three systems take half of this."""


def cpu_seconds(pid: int) -> float:
    """Processor time of a process so far, ended threads included (the clock of clock_getcpuclockid(3)).

    Raises OSError if there is no such process.
    """
    return time.clock_gettime((~pid << 3) | CLOCK_OF_SCHEDULER)


def pss_mib(pid: int) -> float:
    """Proportional set size in MiB: what it has alone, and its share of what it has together with others."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    found = re.search(r"^Pss: +(\d+) kB$", text, re.MULTILINE)
    assert found is not None
    return int(found[1]) / KIB_PER_MIB


def busy_cpu_seconds(stat: str) -> float:
    """Processor time that all processors have spent on anything, by the text of /proc/stat, in seconds."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, stat.split(None, 9)[1:9])
    return (user + nice + system + irq + softirq + steal) / TICKS_PER_S


def machine_busy_s() -> float:
    """The same of this machine now."""
    return busy_cpu_seconds(Path("/proc/stat").read_text(encoding="ascii"))


def wait_for_quiet(timeout_s: float) -> bool:
    """Wait until the machine does next to nothing, at most so long; whether it does."""
    deadline = time.monotonic() + timeout_s
    while True:
        began_s, busy_s = time.monotonic(), machine_busy_s()
        time.sleep(QUIET_WINDOW_S)
        share = (machine_busy_s() - busy_s) / (time.monotonic() - began_s)
        if share <= QUIET_CORES_MAX:
            return True
        if time.monotonic() >= deadline:
            return False


class Meter:
    """What several processes, by name, use between its making and `read`, and what all the rest of the machine does."""

    def __init__(self, pids: dict[str, int]) -> None:
        self._pids = pids
        self._began_s = time.monotonic()
        self._busy_s = machine_busy_s()
        self._began = {name: cpu_seconds(pid) for name, pid in pids.items()}

    def read(self) -> tuple[dict[str, float], dict[str, float]]:
        """The share of one core that each has used since, ELSEWHERE included, and its memory now in MiB."""
        elapsed_s = time.monotonic() - self._began_s
        busy = (machine_busy_s() - self._busy_s) / elapsed_s
        shares = {name: (cpu_seconds(pid) - self._began[name]) / elapsed_s for name, pid in self._pids.items()}
        shares[ELSEWHERE] = max(0.0, busy - sum(shares.values()))
        return shares, {name: pss_mib(pid) for name, pid in self._pids.items()}
