"""What is left of a ring under a flood of garbage, beside C Corosync udpu under the same: python -m bench.floods

Three nodes in network namespaces, and a host that is none of them. It sends packets that prove nothing to node 1, from
an address of its own or in the name of node 2. A client of node 3 sends messages, one after the other has come back.
The systems take turns, sample by sample. C Corosync has no packet security over udpu. Fragments hurt messages alone
whose packets the kernel cuts: `--size 1180` is one that just fits a packet.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from bench.lab.client import Client
from bench.lab.cluster import Cluster
from bench.lab.systems import chosen
from bench.parts.throughput import start_clients
from bench.plan import progress
from bench.statistics import percentile
from rondo.testing.lab.flood import Flood
from rondo.testing.lab.flooder import KINDS
from rondo.testing.lab.requirements import corosync_missing, namespaces_missing

NODES = 3
FLOODED, MEMBER, SENDER, ATTACKER = 1, 2, 3, 4
BATCH = 50
"""So many messages, and some to warm up, before the client is asked again."""
QUIET = "none"
SYSTEMS = "rondo,corosync-udpu"


def sample(client: Client, seconds: float, size: int) -> tuple[float, float, float]:
    """Messages a second, and the 99th percentile and the worst of their times, in ms."""
    times_us: list[float] = []
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        client.tell("latency", size, BATCH, 0)
        times_us += client.answer()["times_us"]
    return 1e6 * len(times_us) / sum(times_us), percentile(times_us, 99) / 1000, max(times_us) / 1000


class Bench:
    """All systems, and what was seen."""

    def __init__(
        self, clusters: dict[str, Cluster], clients: dict[str, Client], seconds: float, rate: int, size: int
    ) -> None:
        self._clusters, self._clients = clusters, clients
        self._seconds, self._rate, self._size = seconds, rate, size
        self.seen: dict[tuple[str, str], list[tuple[float, ...]]] = defaultdict(list)
        """By flood and system: what `sample` gives, and packets a second of the flood."""

    def one(self, system: str, kind: str, source: int) -> None:
        """One system under one flood."""
        lab, client = self._clusters[system].lab, self._clients[system]
        if kind == QUIET:
            self.seen[QUIET, system].append((*sample(client, self._seconds, self._size), 0.0))
            return
        flood = Flood(lab.host(ATTACKER), lab.host(source), lab.host(FLOODED), kind, self._rate)
        with flood:
            seen = sample(client, self._seconds, self._size)
        whose = "a member's address" if source == MEMBER else "a stranger's"
        self.seen[f"{kind}, {whose}", system].append((*seen, flood.packets_per_s))

    def text(self) -> str:
        """A row for each flood and system: medians of the samples, and the worst of all."""
        rows = ["| flood | system | packets/s | messages/s | 99 %, ms | worst, ms |", "|---|---|---|---|---|---|"]
        for (flood, system), samples in self.seen.items():
            rate, p99_ms, _, packets = (statistics.median(each) for each in zip(*samples, strict=True))
            worst_ms = max(each[2] for each in samples)
            rows.append(f"| {flood} | {system} | {packets:.0f} | {rate:.0f} | {p99_ms:.1f} | {worst_ms:.0f} |")
        return "\n".join(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.floods", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--systems", default=SYSTEMS, help=f"which (default {SYSTEMS})")
    parser.add_argument("--kinds", default=",".join(KINDS), help=f"of packets (default {','.join(KINDS)})")
    parser.add_argument("--rate", type=int, default=100_000, help="packets a second, if it can (default 100000)")
    parser.add_argument("--seconds", type=float, default=3.0, metavar="S", help="of each sample (default 3)")
    parser.add_argument("--size", type=int, default=64, metavar="BYTES", help="of each message (default 64)")
    parser.add_argument("--rounds", type=int, default=3, help="samples of each (default 3)")
    options = parser.parse_args(arguments)
    systems = chosen(options.systems.split(","))
    missing = namespaces_missing() or (corosync_missing() if "corosync" in options.systems else None)
    if missing:
        print(f"error: {missing}", file=sys.stderr)
        return 1
    with (
        tempfile.TemporaryDirectory(prefix="rb-", dir="/tmp", ignore_cleanup_errors=True) as name,
        ExitStack() as stack,
    ):
        clusters = {}
        for system in systems:
            progress(f"starting {NODES} x {system.name}")
            cluster = stack.enter_context(Cluster(system, NODES, Path(name) / system.name, guests=1))
            cluster.start()
            cluster.wait()
            clusters[system.name] = cluster
        clients = {name: start_clients(stack, cluster, common=False)[SENDER - 1] for name, cluster in clusters.items()}
        bench = Bench(clusters, clients, options.seconds, options.rate, options.size)
        floods = [(QUIET, 0), *((kind, source) for source in (ATTACKER, MEMBER) for kind in options.kinds.split(","))]
        for number in range(options.rounds):
            for kind, source in floods:
                for each in clusters:
                    progress(f"round {number + 1}: {kind}{' as a member' * (source == MEMBER)}, {each}")
                    bench.one(each, kind, source)
        print(bench.text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
