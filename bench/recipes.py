"""How many increments of a replicated counter a second, and how long each takes, on three local nodes.

    python -m bench.recipes --callers 1,10,100 --seconds 5 [--asyncio]

The callers are threads (or tasks) of one process on node 1; nodes 2 and 3 have a replica each, in a process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import threading
import time

import rondo
from rondo.aio import recipes
from rondo.recipes import Counter
from rondo.testing import rondo_cluster

REPLICA = "import sys, rondo\nfrom rondo.recipes import Counter\n" \
    "with rondo.connect(sys.argv[1], timeout=60) as c, Counter(c, 'bench', timeout=60) as counter:\n" \
    "    print('ready', flush=True)\n    sys.stdin.read()\n"  # fmt: skip


def run_threads(endpoint: str, callers: int, seconds: float) -> list[float]:
    """The time of each increment, in seconds."""
    taken: list[float] = []
    with rondo.connect(endpoint, timeout=60) as cluster, Counter(cluster, "bench", timeout=60) as counter:
        end_s = time.monotonic() + seconds

        def count() -> None:
            while (began_s := time.monotonic()) < end_s:
                counter.add()
                taken.append(time.monotonic() - began_s)

        threads = [threading.Thread(target=count) for _ in range(callers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return taken


async def run_tasks(endpoint: str, callers: int, seconds: float) -> list[float]:
    """The same with tasks."""
    taken: list[float] = []
    async with (
        rondo.aio.connect(endpoint, timeout=60) as cluster,
        recipes.Counter(cluster, "bench", timeout=60) as counter,
    ):
        end_s = time.monotonic() + seconds

        async def count() -> None:
            while (began_s := time.monotonic()) < end_s:
                await counter.add()
                taken.append(time.monotonic() - began_s)

        await asyncio.gather(*(count() for _ in range(callers)))
    return taken


def main() -> int:
    """Run it, and print a line for each number of callers."""
    parser = argparse.ArgumentParser(prog="python -m bench.recipes", description="Increments of a replicated counter.")
    parser.add_argument("--callers", default="1,10,100", metavar="N,N", help="how many at once (default: 1,10,100)")
    parser.add_argument("--seconds", type=float, default=5.0, metavar="S", help="for each (default: 5)")
    parser.add_argument("--asyncio", action="store_true", help="tasks instead of threads")
    options = parser.parse_args()
    with rondo_cluster(nodes=3) as cluster:
        replicas = [
            subprocess.Popen(
                [sys.executable, "-c", REPLICA, cluster[node].endpoint], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            for node in (2, 3)
        ]
        for replica in replicas:
            assert replica.stdout is not None
            replica.stdout.readline()
        for callers in map(int, options.callers.split(",")):
            if options.asyncio:
                taken = asyncio.run(run_tasks(cluster[1].endpoint, callers, options.seconds))
            else:
                taken = run_threads(cluster[1].endpoint, callers, options.seconds)
            taken.sort()
            median_ms, worst_ms = (1000 * taken[int(len(taken) * part)] for part in (0.5, 0.99))
            rate = len(taken) / options.seconds
            times = f"median {median_ms:.2f} ms, 99 % {worst_ms:.2f} ms"
            print(f"{callers:4} callers: {rate:7.0f} increments/s, {times}", flush=True)
        for replica in replicas:
            replica.communicate()
    return 0


if __name__ == "__main__":
    sys.exit(main())
