"""Throughput of one sender of 1 KiB messages while every link loses packets at random, in both directions.

The loss is made at the bridge (nft's numgen), so it hits frames: a datagram larger than the network's MTU is lost with
any of its fragments. So that it hits single datagrams they cross the bridge apart, although a system has sent many with
one call (UDP_SEGMENT). That alone costs such a system something, here more than on a network card that cuts and joins
them; so the rate without loss is measured both ways.
"""

from __future__ import annotations

from dataclasses import replace

from bench.lab.cluster import Cluster
from bench.lab.systems import with_links
from bench.parts import throughput
from bench.plan import Plan, progress
from bench.statistics import Series

SIZE = 1024
SECONDS = 3.0
"""Long enough that a ring that waits a second for each lost token has lost several."""


def _measure(
    plan: Plan, clusters: dict[str, Cluster], label: str | float, percent: float, link: int | None, *,
    apart: bool = False,
) -> list[Series]:  # fmt: skip
    return throughput.measure(
        plan, clusters, all_send=False, common=False, labels={"loss_percent": label}, loss_percent=percent, link=link,
        apart=apart,
    )  # fmt: skip


def loss_on_one_link(plan: Plan) -> list[Series]:
    """On the one that carries data, of two; of knet's systems alone, as others have one link."""
    systems = [each if each.links > 1 else with_links(each) for each in plan.systems if each.is_knet]
    if not systems:
        progress("none of these systems has a second link")
        return []
    return loss(replace(plan, systems=systems), link=0)


def loss(plan: Plan, *, link: int | None = None) -> list[Series]:
    plan = replace(plan, sizes=(SIZE,), seconds=max(SECONDS, plan.seconds))
    found = []
    with plan.clusters(plan.nodes) as clusters:
        for percent in plan.losses_percent:
            progress(f"loss {percent:g} %")
            found += _measure(plan, clusters, percent, percent, link)
            if percent == 0:
                found += _measure(plan, clusters, "0, apart", 0, link, apart=True)
    return found
