"""Throughput of one sender of 1 KiB messages while every link loses packets at random, in both directions.

The loss is made at the bridge (nft's numgen), so it hits frames: a datagram larger than the network's MTU is lost with
any of its fragments.
"""

from __future__ import annotations

from dataclasses import replace

from bench.parts import throughput
from bench.plan import Plan, progress
from bench.statistics import Series

SIZE = 1024
SECONDS = 3.0
"""Long enough that a ring that waits a second for each lost token has lost several."""


def loss(plan: Plan) -> list[Series]:
    plan = replace(plan, sizes=(SIZE,), seconds=max(SECONDS, plan.seconds))
    found = []
    with plan.clusters(plan.nodes) as clusters:
        for percent in plan.losses_percent:
            progress(f"loss {percent:g} %")
            found += throughput.measure(
                plan, clusters, all_send=False, common=False, labels={"loss_percent": percent}, loss_percent=percent
            )
    return found
