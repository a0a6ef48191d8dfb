"""What processes use: processor time of all their threads to the nanosecond, and their share of memory."""

from __future__ import annotations

import re
import time
from pathlib import Path

CLOCK_OF_SCHEDULER = 2
KIB_PER_MIB = 1024


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


class Meter:
    """What several processes, by name, use between its making and `read`."""

    def __init__(self, pids: dict[str, int]) -> None:
        self._pids = pids
        self._began_s = time.monotonic()
        self._began = {name: cpu_seconds(pid) for name, pid in pids.items()}

    def read(self) -> tuple[dict[str, float], dict[str, float]]:
        """The share of one core that each has used since, and its memory now in MiB."""
        elapsed_s = time.monotonic() - self._began_s
        shares = {name: (cpu_seconds(pid) - self._began[name]) / elapsed_s for name, pid in self._pids.items()}
        return shares, {name: pss_mib(pid) for name, pid in self._pids.items()}
