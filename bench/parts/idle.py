"""What a node costs that has nothing to do: processor time and memory of all its processes.

The clusters of all systems are up, without a client; after a while for settling, all nodes are looked at for the same
windows of time. A sample is one node in one window.
"""

from __future__ import annotations

import time

from bench.lab.processes import ELSEWHERE, Meter
from bench.plan import Plan, progress, series_of
from bench.statistics import Series

SETTLE_S = 5.0
WINDOW_S = 6.0
ALL = "all"


def idle(plan: Plan) -> list[Series]:
    found: dict[tuple[object, ...], Series] = {}
    with plan.clusters(plan.nodes) as clusters:
        nodes = [(name, node.processes()) for name, cluster in clusters.items() for node in cluster.nodes.values()]
        time.sleep(SETTLE_S)
        for number in range(1, plan.rounds + 1):
            progress(f"round {number}: {WINDOW_S:g} s of doing nothing")
            meters = [(name, Meter(pids)) for name, pids in nodes]
            time.sleep(WINDOW_S)
            for name, meter in meters:
                cpu_shares, pss_mib = meter.read()
                del cpu_shares[ELSEWHERE]
                for quantity, unit, values in (
                    ("CPU", "% of a core", {process: 100 * share for process, share in cpu_shares.items()}),
                    ("PSS", "MiB", pss_mib),
                ):
                    for process, value in {ALL: sum(values.values()), **values}.items():
                        series = Series(quantity, unit, {"system": name, "process": process})
                        series_of(found, series).samples.append(value)
    return list(found.values())
