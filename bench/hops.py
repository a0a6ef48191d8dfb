"""Where the time of one message goes, hop by hop: which threads are woken for it, and what each of them needs.

    python -m bench.hops                       # three nodes, one message at a time, then each after 20 ms of nothing
    python -m bench.hops --nodes 16 --count 300
    python -m bench.hops --perf /tmp/hops.data # besides, `perf sched record`, for `perf sched timehist` and the like

For every thread of every process of the cluster, and of the client, from the scheduler's books (/proc, schedstat): how
often it went to sleep and was woken again per message, how much processor time it used for one, and how long it waited
for a processor while it could have run. Nothing is put into the programs, so nothing is changed by looking.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

from bench.lab.client import Client
from bench.lab.cluster import Cluster
from bench.lab.systems import chosen
from bench.statistics import percentile

IDLE_GAP_MS = 20
SIZE = 64
NS_PER_US = 1000
SHOWN_US_MIN = 1.0

Books = dict[tuple[str, str], tuple[int, int, int]]
"""By process and thread: (times that it went to sleep, ns on a processor, ns waiting for one)."""


def books(pids: dict[str, int]) -> Books:
    """The scheduler's books of all threads of these processes; threads of one name are taken together."""
    found: defaultdict[tuple[str, str], tuple[int, int, int]] = defaultdict(lambda: (0, 0, 0))
    for name, pid in pids.items():
        for task in Path(f"/proc/{pid}/task").iterdir():
            thread = (task / "comm").read_text().strip()
            thread = "main" if int(task.name) == pid else thread
            ran_ns, waited_ns, _ = map(int, (task / "schedstat").read_text().split())
            slept = next(
                int(line.split()[1])
                for line in (task / "status").read_text().splitlines()
                if line.startswith("voluntary_ctxt_switches")
            )
            before = found[name, thread]
            found[name, thread] = (before[0] + slept, before[1] + ran_ns, before[2] + waited_ns)
    return dict(found)


def table(before: Books, after: Books, messages: int) -> list[str]:
    """One line for each thread that was used."""
    lines = [f"{'node.process':<18}{'thread':<16}{'wake-ups':>9}{'cpu us':>9}{'waited us':>11}   per message"]
    totals = [0.0, 0.0, 0.0]
    for key, values in sorted(after.items()):
        old = before.get(key, (0, 0, 0))
        woken = (values[0] - old[0]) / messages
        ran_us, waited_us = ((values[i] - old[i]) / messages / NS_PER_US for i in (1, 2))
        totals = [total + each for total, each in zip(totals, (woken, ran_us, waited_us), strict=True)]
        if ran_us >= SHOWN_US_MIN:
            lines.append(f"{key[0]:<18}{key[1]:<16}{woken:>9.1f}{ran_us:>9.1f}{waited_us:>11.1f}")
    lines.append(f"{'all':<34}{totals[0]:>9.1f}{totals[1]:>9.1f}{totals[2]:>11.1f}")
    return lines


def look(cluster: Cluster, client: Client, gap_ms: int, count: int, perf: Path | None) -> None:
    """Send so many messages, one at a time, and print what they cost."""
    pids = {**cluster.processes(), "1.client": client.pid}
    recorder = None
    if perf is not None:
        argv = ["perf", "sched", "record", "-q", "-o", f"{perf}.{gap_ms}", "--", "sleep", "1"]
        recorder = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    before = books(pids)
    client.tell("latency", SIZE, count, gap_ms)
    times_us = client.answer()["times_us"]
    after = books(pids)
    what = f"after {gap_ms} ms idle" if gap_ms else "one at a time"
    print(
        f"\n{what}: p50 {percentile(times_us, 50):.0f} us, p90 {percentile(times_us, 90):.0f} us, "
        f"p99 {percentile(times_us, 99):.0f} us"
    )
    print("\n".join(table(before, after, count)), flush=True)
    if recorder is not None:
        recorder.wait()


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.hops", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, default=3, metavar="N")
    parser.add_argument("--system", default="rondo", metavar="NAME", help="one of bench/README.md's (default: rondo)")
    parser.add_argument(
        "--count", type=int, default=1000, metavar="N", help="messages one at a time; a tenth after gaps"
    )
    parser.add_argument("--perf", type=Path, metavar="FILE", help="record a second of scheduling to FILE.GAP")
    options = parser.parse_args()
    try:
        (system,) = chosen([options.system])
    except ValueError as error:
        parser.error(str(error))
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        cluster = stack.enter_context(Cluster(system, options.nodes, directory / "lab"))
        cluster.start()
        cluster.wait()
        client = cluster.client(1, "hops")
        stack.callback(client.close)
        client.wait_ready()
        look(cluster, client, 0, options.count, options.perf)
        look(cluster, client, IDLE_GAP_MS, max(30, options.count // 10), options.perf)


if __name__ == "__main__":
    main()
