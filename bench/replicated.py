"""Rondo's `@replicated` beside PySyncObj's: increments a second and latency, and the time to go on after kill -9.

    python -m bench.replicated --callers 1,10,100 --seconds 5 --rounds 3

Three replicas of a counter each, in three processes; Rondo's have a node each, on loopback. The systems take turns,
sample by sample. The callers are threads of one process: Rondo's on node 1, PySyncObj's in the leader, where it is
fastest. Then processes are killed while another one counts: each of Rondo's nodes in turn, with all that runs on it,
and as often the leader. What is told is the longest time without an increment.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import socket
import statistics
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator

from rondo.testing import TestCluster, rondo_cluster

KILL_AFTER_S = 1.5
COUNTED_S = 6.0
GAP_CALLERS = 10
REPLICAS = 3


class Replica:
    """The process of one replica."""

    def __init__(self, *arguments: str) -> None:
        argv = [sys.executable, "-m", "bench.clients.counter_replica", *arguments]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def line(self) -> str:
        """Its next line."""
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def ask(self, what: str) -> object:
        """What it answers."""
        assert self.process.stdin is not None
        self.process.stdin.write(what + "\n")
        return json.loads(self.line())

    def end(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()


class System:
    """Three replicas of one system."""

    def __init__(self, name: str, start: Callable[[int], Replica], nodes: TestCluster | None) -> None:
        """`start` starts the replica of this index."""
        self.name = name
        self._start = start
        self._nodes = nodes
        self._replicas = [start(index) for index in range(REPLICAS)]

    def wait(self) -> None:
        """All are ready."""
        for replica in self._replicas:
            replica.line()

    def _leader(self) -> int:
        """Rondo has none: node 1, where the callers are."""
        return next((index for index, replica in enumerate(self._replicas) if replica.ask("leads")), 0)

    def count(self, callers: int, seconds: float) -> list[float]:
        """The time of each increment."""
        taken = self._replicas[self._leader()].ask(f"count {callers} {seconds}")
        assert isinstance(taken, list)
        return taken

    def kills(self) -> list[tuple[str, float]]:
        """Who was killed, and the longest time without an increment at another: each of Rondo's nodes, one after the
        other, or as often the leader. Who was killed is back before the next one is."""
        found = []
        for index in range(REPLICAS):
            victim = index if self._nodes is not None else self._leader()
            found.append((f"node {1 + victim}" if self._nodes is not None else "the leader", self._gap_s(victim)))
            if self._nodes is not None:
                self._nodes.restart(1 + victim)
            self._replicas[victim] = self._start(victim)
            self._replicas[victim].line()
        return found

    def _gap_s(self, victim: int) -> float:
        timer = threading.Timer(KILL_AFTER_S, self._kill, (victim,))
        timer.start()
        gap_s = self._replicas[(victim + 1) % REPLICAS].ask(f"gap {GAP_CALLERS} {COUNTED_S}")
        timer.join()
        assert isinstance(gap_s, float)
        return gap_s

    def _kill(self, victim: int) -> None:
        if self._nodes is not None:
            self._nodes.kill(1 + victim)
        self._replicas[victim].end()

    def close(self) -> None:
        """End all."""
        for replica in self._replicas:
            replica.end()


def free_addresses(count: int) -> list[str]:
    """Of loopback, for TCP."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]


@contextlib.contextmanager
def systems() -> Iterator[list[System]]:
    """Both, at work."""
    with rondo_cluster(nodes=REPLICAS, network=False) as nodes, contextlib.ExitStack() as stack:
        endpoints = [node.endpoint for node in nodes]
        addresses = free_addresses(REPLICAS)

        def ours(index: int) -> Replica:
            return Replica("rondo", endpoints[index])

        def theirs(index: int) -> Replica:
            others = ",".join(address for address in addresses if address != addresses[index])
            return Replica("pysyncobj", addresses[index], others)

        both = [System("rondo", ours, nodes), System("pysyncobj", theirs, None)]
        for system in both:
            stack.callback(system.close)
        for system in both:
            system.wait()
        yield both


def print_kills(samples: dict[tuple[str, str], list[float]]) -> None:
    """A line for each that was killed, and one for all of a system."""
    of_all: dict[str, list[float]] = defaultdict(list)
    for (system, who), gaps_ms in samples.items():
        of_all[system] += gaps_ms
        if system == "rondo":
            print(_kills_line(system, who, gaps_ms))
    for system, gaps_ms in of_all.items():
        print(_kills_line(system, "any node" if system == "rondo" else "the leader", gaps_ms))


def _kills_line(system: str, who: str, gaps_ms: list[float]) -> str:
    what = f"{system} goes on after kill -9 of {who}, ms"
    return f"{what:50} median {statistics.median(gaps_ms):8.1f}  worst {max(gaps_ms):8.1f}  of {len(gaps_ms)}"


def main() -> int:
    """Print it."""
    parser = argparse.ArgumentParser(prog="python -m bench.replicated", description="Replicated increments, in turns.")
    parser.add_argument("--callers", default="1,10,100", metavar="N,N", help="how many at once (default: 1,10,100)")
    parser.add_argument("--seconds", type=float, default=5.0, metavar="S", help="for each sample (default: 5)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="samples of each (default: 3)")
    options = parser.parse_args()
    samples: dict[tuple[str, str], list[float]] = defaultdict(list)
    """Of what (with how many callers), by system."""
    kills: dict[tuple[str, str], list[float]] = defaultdict(list)
    """By system and who was killed, ms."""
    for _ in range(options.rounds):
        with systems() as both:
            for callers in map(int, options.callers.split(",")):
                for system in both:
                    taken_s = system.count(callers, options.seconds)
                    samples[f"{callers} callers, increments/s", system.name].append(len(taken_s) / options.seconds)
                    samples[f"{callers} callers, median ms", system.name].append(1000 * statistics.median(taken_s))
            for system in both:
                for who, gap_s in system.kills():
                    kills[system.name, who].append(1000 * gap_s)
    for what in dict.fromkeys(what for what, _ in samples):
        ours, theirs = (statistics.median(samples[what, name]) for name in ("rondo", "pysyncobj"))
        print(f"{what:28} rondo {ours:9.1f}  pysyncobj {theirs:9.1f}  ratio {ours / theirs:7.2f}")
    print_kills(kills)
    return 0


if __name__ == "__main__":
    sys.exit(main())
