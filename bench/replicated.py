"""Rondo's `@replicated` beside PySyncObj's: increments a second and latency, and the time to go on after kill -9.

    python -m bench.replicated --callers 1,10,100 --seconds 5 --rounds 3

Three replicas of a counter each, in three processes; Rondo's have a node each, on loopback. The systems take turns,
sample by sample. The callers are threads of one process: Rondo's on node 1, PySyncObj's in the leader, where it is
fastest. Then the leader's process is killed, or one of Rondo's nodes with all that runs on it, while another process
counts: what is told is the longest time without an increment.
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
from collections.abc import Iterator

from rondo.testing import TestCluster, rondo_cluster

KILL_AFTER_S = 1.5
COUNTED_S = 6.0
GAP_CALLERS = 10


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

    def __init__(self, name: str, replicas: list[Replica], nodes: TestCluster | None) -> None:
        self.name = name
        self._replicas = replicas
        self._nodes = nodes
        for replica in replicas:
            replica.line()

    def _caller(self) -> Replica:
        return next((replica for replica in self._replicas if replica.ask("leads")), self._replicas[0])

    def count(self, callers: int, seconds: float) -> list[float]:
        """The time of each increment."""
        taken = self._caller().ask(f"count {callers} {seconds}")
        assert isinstance(taken, list)
        return taken

    def gap_s(self) -> float:
        """The longest time without an increment, while the leader, or the node of the callers above, is killed."""
        victim = self._caller()
        other = next(replica for replica in self._replicas if replica is not victim)
        timer = threading.Timer(KILL_AFTER_S, self._kill, (victim,))
        timer.start()
        gap_s = other.ask(f"gap {GAP_CALLERS} {COUNTED_S}")
        timer.join()
        assert isinstance(gap_s, float)
        return gap_s

    def _kill(self, victim: Replica) -> None:
        if self._nodes is not None:
            self._nodes.kill(1 + self._replicas.index(victim))
        victim.end()


def free_addresses(count: int) -> list[str]:
    """Of loopback, for TCP."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]


@contextlib.contextmanager
def systems() -> Iterator[list[System]]:
    """Both, at work."""
    with rondo_cluster(nodes=3, network=False) as nodes, contextlib.ExitStack() as stack:
        addresses = free_addresses(3)
        ours = [Replica("rondo", node.endpoint) for node in nodes]
        theirs = [
            Replica("pysyncobj", address, ",".join(other for other in addresses if other != address))
            for address in addresses
        ]
        for replica in (*ours, *theirs):
            stack.callback(replica.end)
        yield [System("rondo", ours, nodes), System("pysyncobj", theirs, None)]


def main() -> int:
    """Print it."""
    parser = argparse.ArgumentParser(prog="python -m bench.replicated", description="Replicated increments, in turns.")
    parser.add_argument("--callers", default="1,10,100", metavar="N,N", help="how many at once (default: 1,10,100)")
    parser.add_argument("--seconds", type=float, default=5.0, metavar="S", help="for each sample (default: 5)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="samples of each (default: 3)")
    options = parser.parse_args()
    samples: dict[tuple[str, str], list[float]] = defaultdict(list)
    """Of what (with how many callers), by system."""
    for _ in range(options.rounds):
        with systems() as both:
            for callers in map(int, options.callers.split(",")):
                for system in both:
                    taken_s = system.count(callers, options.seconds)
                    samples[f"{callers} callers, increments/s", system.name].append(len(taken_s) / options.seconds)
                    samples[f"{callers} callers, median ms", system.name].append(1000 * statistics.median(taken_s))
            for system in both:
                samples["goes on after kill -9, ms", system.name].append(1000 * system.gap_s())
    for what in dict.fromkeys(what for what, _ in samples):
        ours, theirs = (statistics.median(samples[what, name]) for name in ("rondo", "pysyncobj"))
        print(f"{what:28} rondo {ours:9.1f}  pysyncobj {theirs:9.1f}  ratio {ours / theirs:7.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
