"""Three nodes: two have a large state and count, the third joins, and the giver is killed in the middle.

    python -m tests.cluster.transfer.run --megabytes 1024

Prints what was seen; 1 if the state came wrong or not at all, commands stood still, or a process took too much memory.
"""

from __future__ import annotations

import argparse
import itertools
import json
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from rondo.testing import TestCluster, rondo_cluster

MIB = 1024 * 1024
NODES = (1, 2, 3)
ANSWER_S = 600.0
BEFORE_S = 3.0
"""So long the rate is measured before the third joins."""
LOOK_S = 0.1
SERVICE_GROWTH_BYTES_MAX = 96 * MIB
"""What a service, or a replica that gives, may need more than before."""
JOINER_PART_MAX = 1.25
"""A joiner keeps what has come until it has all: so many times its size, and as much as others may need."""
STANDSTILL_S_MAX = 15.0
"""A killed giver's node goes on, so its end is known at once; the rest is for a machine that does other things too."""


def rss_bytes(pid: int) -> int:
    """Its memory; 0 if it is gone."""
    try:
        return 4096 * int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0


class Memory(threading.Thread):
    """Looks at how much memory processes have, and keeps the first and the largest."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.first: dict[str, int] = {}
        self.largest: dict[str, int] = {}
        self._pids: dict[str, int] = {}
        self._lock = threading.Lock()
        self.start()

    def watch(self, name: str, pid: int) -> None:
        """One more, from how it is now."""
        with self._lock:
            self._pids[name] = pid
            self.first[name] = self.largest[name] = rss_bytes(pid)

    def run(self) -> None:
        while True:
            with self._lock:
                for name, pid in self._pids.items():
                    self.largest[name] = max(self.largest[name], rss_bytes(pid))
            time.sleep(LOOK_S)

    def growth(self, name: str) -> int:
        """How much more it had at most than at first."""
        return self.largest[name] - self.first[name]


class Replica:
    """A replica's process on a node, and what it says."""

    def __init__(self, cluster: TestCluster, node: int) -> None:
        argv = [sys.executable, "-m", "tests.cluster.transfer.replica", cluster[node].endpoint]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.rates: list[tuple[float, int]] = []
        self.progress_bytes = 0
        self._said: queue.SimpleQueue[list[Any]] = queue.SimpleQueue()
        self._listener = threading.Thread(target=self._listen)
        self._listener.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            what, *values = json.loads(line)
            if what == "rate":
                self.rates.append((values[0], values[1]))
            elif what == "progress":
                self.progress_bytes = values[0]
            else:
                self._said.put([what, *values])

    def ask(self, what: str) -> None:
        """Say a line to it."""
        assert self.process.stdin is not None
        self.process.stdin.write(what + "\n")

    def answer(self, what: str) -> list[Any]:
        """What it says next. Raises queue.Empty."""
        said = self._said.get(timeout=ANSWER_S)
        assert said[0] == what, said
        return said[1:]

    def end(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.wait()
        self._listener.join()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()

    def rate(self, begin_s: float, end_s: float) -> float:
        """Commands a second between two times."""
        return sum(count for at_s, count in self.rates if begin_s < at_s <= end_s) / max(0.001, end_s - begin_s)

    def standstill_s(self, begin_s: float, end_s: float) -> float:
        """The longest time without a command between the two."""
        busy = [begin_s, *(at_s for at_s, count in self.rates if begin_s < at_s <= end_s and count), end_s]
        return max(later - earlier for earlier, later in itertools.pairwise(busy))


class Outcome:
    """What a run has shown."""

    def __init__(self, size_bytes: int, memory: Memory) -> None:
        self.size_bytes = size_bytes
        self.memory = memory
        self.transfer_s = self.rate_before = self.rate_beside = self.standstill_s = 0.0
        self.killed_at_bytes = 0
        self.finals: list[Any] = []

    def faults(self) -> list[str]:
        """What is not as it must be."""
        found = []
        if any(final != self.finals[0] for final in self.finals):
            found.append(f"the states differ: {self.finals}")
        if self.finals[0][0] != self.size_bytes // MIB:
            found.append(f"{self.finals[0][0]} MiB have come of {self.size_bytes // MIB}")
        if not 0 < self.killed_at_bytes < self.size_bytes:
            found.append(f"the giver was not killed in the middle, but at {self.killed_at_bytes} bytes")
        if self.standstill_s > STANDSTILL_S_MAX:
            found.append(f"no command was done for {self.standstill_s:.1f} s")
        for name in self.memory.first:
            more = JOINER_PART_MAX * self.size_bytes if name == "replica 3" else 0
            if self.memory.growth(name) > more + SERVICE_GROWTH_BYTES_MAX:
                found.append(f"{name} took {self.memory.growth(name) // MIB} MiB more")
        return found

    def __str__(self) -> str:
        lines = [
            f"{self.size_bytes // MIB} MiB came in {self.transfer_s:.1f} s"
            f" ({self.size_bytes / MIB / self.transfer_s:.0f} MiB/s); giver killed after {self.killed_at_bytes // MIB}",
            f"commands/s: {self.rate_before:.0f} before, {self.rate_beside:.0f} beside it;"
            f" none for at most {self.standstill_s:.2f} s",
        ]
        lines += [
            f"  {name:14} {self.memory.first[name] // MIB:5} MiB at first, {self.memory.largest[name] // MIB:5} at most"
            for name in sorted(self.memory.first)
        ]
        return "\n".join(lines)


def run(megabytes: int) -> Outcome:
    """Let it happen."""
    with rondo_cluster(nodes=len(NODES), network=False) as cluster:
        memory = Memory()
        outcome = Outcome(megabytes * MIB, memory)
        replicas = {node: Replica(cluster, node) for node in NODES[:2]}
        try:
            for replica in replicas.values():
                replica.answer("ready")
            replicas[1].ask(f"grow {megabytes}")
            replicas[1].answer("grown")
            replicas[2].ask("count")
            began_s = time.monotonic()
            time.sleep(BEFORE_S)
            for node in NODES:
                for service, pid in zip(("totem", "cpg", "control", "gateway"), cluster[node].pids, strict=True):
                    memory.watch(f"{service} {node}", pid)
            for node, replica in replicas.items():
                memory.watch(f"replica {node}", replica.process.pid)
            _join(cluster, replicas, memory, outcome, began_s)
        finally:
            for replica in replicas.values():
                replica.end()
    return outcome


def _join(
    cluster: TestCluster, replicas: dict[int, Replica], memory: Memory, outcome: Outcome, counting_since_s: float
) -> None:
    begin_s = time.monotonic()
    joiner = replicas[3] = Replica(cluster, 3)
    memory.watch("replica 3", joiner.process.pid)
    while joiner.progress_bytes < outcome.size_bytes // 2 and joiner.process.poll() is None:
        time.sleep(LOOK_S / 10)
    outcome.killed_at_bytes = joiner.progress_bytes
    # Of the members with the state the first one gives.
    replicas.pop(1).end()
    joiner.answer("ready")
    end_s = time.monotonic()
    outcome.transfer_s = end_s - begin_s
    counter = replicas[2]
    outcome.rate_before = counter.rate(counting_since_s, begin_s)
    outcome.rate_beside = counter.rate(begin_s, end_s)
    outcome.standstill_s = counter.standstill_s(begin_s, end_s)
    for replica in (counter, joiner):
        replica.ask("final")
        outcome.finals += replica.answer("final")


def main() -> int:
    """Print it."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.transfer.run", description="A large state, joining.")
    parser.add_argument("--megabytes", type=int, default=1024, metavar="MIB", help="how large (default: 1024)")
    outcome = run(parser.parse_args().megabytes)
    print(outcome)
    faults = outcome.faults()
    print("\n".join(faults or ["all holds"]))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
