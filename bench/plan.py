"""What a run is to measure, and its clusters: all systems of a part are up at the same time and take turns.

A cluster that waits for its turn is idle, and costs the one that is measured what an idle cluster costs (see the part
`idle`); in exchange, what is compared is measured within seconds of each other.
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.lab.cluster import Cluster
from bench.lab.processes import wait_for_quiet
from bench.lab.systems import System
from bench.statistics import Series

SIZES = (64, 256, 1024, 4096, 16384, 65536, 262144, 1048576)
AWAKE_S = 2.5
"""Rondo's system.low_latency ends two seconds after the last message."""

QUICK_SIZES = (64, 1024, 16384, 65536, 1048576)


@dataclass
class Plan:
    """The options of a run. `quick` means fewer samples of shorter runs, for a look while changing something."""

    systems: Sequence[System]
    sizes: Sequence[int] = SIZES
    rounds: int = 5
    seconds: float = 1.5
    latency_count: int = 4000
    """About a second of messages: for the first third of it every system is slower."""
    idle_latency_count: int = 100
    node_counts: Sequence[int] = (1, 2, 3, 8, 16)
    losses_percent: Sequence[float] = (0, 0.1, 1, 5)
    nodes: int = 3
    quick: bool = False
    quiet_wait_s: float = 0
    """How long a sample may wait for the machine to have nothing else to do."""
    configurations: dict[str, str] = field(default_factory=dict)
    """The configuration of node 1 of each system that was used, for the report."""

    def turns(self) -> Iterator[list[System]]:
        """The systems, round by round, each time in another order."""
        for number in range(self.rounds):
            shift = number % len(self.systems)
            yield [*self.systems[shift:], *self.systems[:shift]]

    def pause(self) -> None:
        """Before a sample: let what else runs on the machine come to its end, if it does in time; and the processors
        go to sleep that a system before this one has kept awake."""
        if len(self.systems) > 1 and any(system.system.get("low_latency") for system in self.systems):
            time.sleep(AWAKE_S)
        if self.quiet_wait_s and not wait_for_quiet(self.quiet_wait_s):
            progress(f"the machine was not quiet within {self.quiet_wait_s:g} s")

    def alone(self, system: System) -> Plan:
        """The same plan for one system."""
        return replace(self, systems=[system])

    @contextmanager
    def clusters(self, node_count: int) -> Iterator[dict[str, Cluster]]:
        """The clusters of all systems, by name, up and in a ring each. All is gone at the end."""
        # Sockets need a short path.
        directory = Path(tempfile.mkdtemp(prefix="rb-", dir="/tmp"))
        try:
            with ExitStack() as stack:
                made = {}
                for system in self.systems:
                    progress(f"starting {node_count} x {system.name}")
                    cluster = stack.enter_context(Cluster(system, node_count, directory / system.name))
                    text = cluster.nodes[1].configuration.read_text()
                    self.configurations[system.name] = text.replace(str(directory), "DIRECTORY")
                    cluster.start()
                    cluster.wait()
                    made[system.name] = cluster
                yield made
        finally:
            shutil.rmtree(directory, ignore_errors=True)


def progress(text: str) -> None:
    """Say on standard error what is being done."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def group_name(prefix: str) -> str:
    """A name that no other client uses."""
    return f"{prefix}-{random.randrange(1 << 32):08x}"


def series_of(found: dict[tuple[object, ...], Series], series: Series) -> Series:
    """The series of these labels, which is made when its first sample comes."""
    return found.setdefault(series.key, series)
