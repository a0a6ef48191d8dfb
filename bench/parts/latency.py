"""From the call that sends a message to having it back: one at a time, and after 20 ms in which nothing happened."""

from __future__ import annotations

from contextlib import ExitStack

from bench.lab.client import Client
from bench.lab.cluster import Cluster
from bench.lab.processes import Meter
from bench.parts.throughput import start_clients
from bench.plan import Plan, progress, series_of
from bench.statistics import Labels, Series, percentile

SIZE = 64
IDLE_GAP_MS = 20


def sample(client: Client, size: int, count: int, gap_ms: int) -> tuple[float, float]:
    """The median and the 99th percentile of so many, in microseconds."""
    client.tell("latency", size, count, gap_ms)
    times_us = client.answer()["times_us"]
    return percentile(times_us, 50), percentile(times_us, 99)


def measure(plan: Plan, clusters: dict[str, Cluster], labels: Labels | None = None) -> list[Series]:
    """p50 and p99 of each system, in turns, sent by the client of node 1."""
    found: dict[tuple[object, ...], Series] = {}
    with ExitStack() as stack:
        clients = {name: start_clients(stack, cluster, common=False)[0] for name, cluster in clusters.items()}
        pids = {name: {**cluster.processes(), "1.client": clients[name].pid} for name, cluster in clusters.items()}
        for gap_ms, count in ((0, plan.latency_count), (IDLE_GAP_MS, plan.idle_latency_count)):
            for number, systems in enumerate(plan.turns(), start=1):
                for system in systems:
                    plan.pause()
                    meter = Meter(pids[system.name])
                    p50_us, p99_us = sample(clients[system.name], SIZE, count, gap_ms)
                    use = meter.read()
                    of: Labels = {"system": system.name, "gap_ms": gap_ms, **(labels or {})}
                    for quantity, value in (("p50", p50_us), ("p99", p99_us)):
                        series = series_of(found, Series(quantity, "us", of))
                        series.samples.append(value)
                        series.add_use(*use)
                    progress(
                        f"gap {gap_ms} ms, round {number}, {system.name}: p50 {p50_us:.0f} us, p99 {p99_us:.0f} us"
                    )
    return list(found.values())


def latency(plan: Plan) -> list[Series]:
    with plan.clusters(plan.nodes) as clusters:
        return measure(plan, clusters)
