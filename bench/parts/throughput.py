"""Messages per second, pipelined, at those who sent them.

    throughput    one sender on node 1, alone in its group
    senders       a sender on every node, each alone in its group; the sum of their rates
    members       one sender on node 1; a client on every node is a member of the group and receives everything
    members-all   a sender on every node, all in one group, so that each receives everything; the sum of their rates

A sender sends for so many seconds and then waits for the last of its own messages; its rate is what it sent by the time
until then.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack

from bench.lab.client import Client
from bench.lab.cluster import Cluster
from bench.lab.processes import Meter
from bench.plan import Plan, group_name, progress, series_of
from bench.statistics import Labels, Series

START_DELAY_S = 0.15
WARM_UP_S = 0.5
WARM_UP_SIZE = 1024


def start_clients(stack: ExitStack, cluster: Cluster, *, common: bool) -> list[Client]:
    """One client on each node, in node order: all in one group, or each in its own."""
    shared = group_name("bench")
    clients = []
    for number in cluster.nodes:
        client = cluster.client(number, shared if common else group_name("bench"))
        stack.callback(client.close)
        clients.append(client)
    for client in clients:
        client.wait_ready()
    return clients


def rate(senders: Sequence[Client], size: int, seconds: float) -> float:
    """Let them all send at the same time; the sum of their messages per second."""
    start_s = time.monotonic() + START_DELAY_S
    for sender in senders:
        sender.tell("throughput", size, seconds, start_s)
    answers = [sender.answer() for sender in senders]
    return sum(float(answer["messages"]) / float(answer["seconds"]) for answer in answers)


def measure(
    plan: Plan, clusters: dict[str, Cluster], *, all_send: bool, common: bool, labels: Labels | None = None,
    loss_percent: float = 0, link: int | None = None, apart: bool = False,
) -> list[Series]:  # fmt: skip
    """The rates of all systems at all sizes, in turns; what is lost is lost from the warm-up on until the end, on one
    `link` or on all.

    `apart`: what one call has sent crosses the network apart, as it does where some of it may get lost.
    """
    found: dict[tuple[object, ...], Series] = {}
    with ExitStack() as stack:
        clients = {name: start_clients(stack, cluster, common=common) for name, cluster in clusters.items()}
        senders = {name: all_ if all_send else all_[:1] for name, all_ in clients.items()}
        pids = {
            name: cluster.processes() | {f"{n}.client": each.pid for n, each in enumerate(clients[name], start=1)}
            for name, cluster in clusters.items()
        }
        for each in senders.values():
            rate(each, WARM_UP_SIZE, WARM_UP_S)
        for cluster in clusters.values():
            stack.callback(cluster.faults.heal)
            if apart:
                stack.callback(cluster.lab.keep_apart, False)
                cluster.lab.keep_apart(True)
            if loss_percent:
                cluster.faults.lose(loss_percent, link=link)
        for size in plan.sizes:
            for number, systems in enumerate(plan.turns(), start=1):
                for system in systems:
                    plan.pause()
                    meter = Meter(pids[system.name])
                    sample = rate(senders[system.name], size, plan.seconds)
                    of: Labels = {"system": system.name, "size": size, **(labels or {})}
                    series = series_of(found, Series("throughput", "messages/s", of))
                    series.samples.append(sample)
                    series.add_use(*meter.read())
                    progress(f"{size} B, round {number}, {system.name}: {sample:.0f}/s")
    return list(found.values())


def one_sender(plan: Plan) -> list[Series]:
    with plan.clusters(plan.nodes) as clusters:
        return measure(plan, clusters, all_send=False, common=False)


def all_senders(plan: Plan) -> list[Series]:
    with plan.clusters(plan.nodes) as clusters:
        return measure(plan, clusters, all_send=True, common=False)


def one_sender_all_members(plan: Plan) -> list[Series]:
    with plan.clusters(plan.nodes) as clusters:
        return measure(plan, clusters, all_send=False, common=True)


def all_senders_all_members(plan: Plan) -> list[Series]:
    with plan.clusters(plan.nodes) as clusters:
        return measure(plan, clusters, all_send=True, common=True)
