"""How the cost grows with the ring: throughput of one sender (1 KiB) and latency on 1, 2, 3, 8 and 16 nodes.

All nodes share one machine, so this is the work of all of them. Up to three nodes, the systems are up together and take
turns; larger clusters are measured one after the other, because an idle one would cost the others too much.
"""

from __future__ import annotations

from dataclasses import replace

from bench.parts import latency, throughput
from bench.plan import Plan, progress
from bench.statistics import Series

SIZE = 1024
TOGETHER_NODES_MAX = 3
LATENCIES_OF_ALL = 3000


def growth(plan: Plan) -> list[Series]:
    found = []
    for count in plan.node_counts:
        progress(f"{count} nodes")
        # A large ring turns slowly: the same time gives fewer of them.
        plan = replace(plan, sizes=(SIZE,), latency_count=min(plan.latency_count, LATENCIES_OF_ALL // count))
        together = [plan] if count <= TOGETHER_NODES_MAX else [plan.alone(system) for system in plan.systems]
        for part in together:
            with part.clusters(count) as clusters:
                found += throughput.measure(
                    part, clusters, all_send=False, common=False, labels={"nodes": count, "gap_ms": 0}
                )
                found += latency.measure(part, clusters, labels={"nodes": count, "size": latency.SIZE})
    return found
