"""How long applications wait when a cable is pulled and another link takes over: python -m bench.failover

Three nodes in network namespaces, knet with two links, aes256 and sha256, default timers; on each node an application
that sends a small message every five milliseconds and takes all. The cable of the link in use is pulled at a random
moment, at a node of which chance decides, and put back when the others have seen that it is out. Told is the longest
time without a delivery at any application from each pull until then; no membership may change, nothing be lost,
doubled, or delivered in another order. C Corosync does the same in the same run, for comparison.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.lab.cluster import Cluster, Node
from bench.lab.systems import COROSYNC, RONDO, System, chosen, with_realtime
from bench.parts.throughput import START_DELAY_S, start_clients
from bench.plan import progress
from rondo.ipc.control import ControlError, ask
from rondo.testing.lab.requirements import corosync_missing, namespaces_missing
from rondo.testing.lab.waiting import wait_for

NODES = 3
LINK = 0
"""The one in use: of two links with one priority, that with the lower number."""
PERIOD_MS = 5.0
NO_GAP_MS = 10.0
"""Shorter ones are not told by the applications."""
AIM_MS = 100.0
REST_S = (0.5, 1.5)
"""Between two pulls, at random."""
C_AGE_S = 10.0
"""C nodes give a link that has just come up ten times as long before they take it for dead; by now no longer."""
AFTER_S = 0.3
"""A gap that began before the others saw the link down may end so much later."""
TIMEOUT_S = 60.0
SYSTEMS = ("rondo-knet+links", "corosync-knet+links")
NEW_MEMBERSHIP = "A new membership"


@dataclass
class Outcome:
    """What the pulls did to one system."""

    system: str
    gaps_ms: list[float] = field(default_factory=list)
    """The longest at any application, pull by pull."""
    usual_ms: float = 0.0
    """The longest while all cables were in."""
    messages: int = 0
    faults: list[str] = field(default_factory=list)
    """What must not be."""

    @classmethod
    def of(
        cls, system: str, answers: Sequence[dict[str, Any]], windows: Sequence[tuple[float, float]], memberships: int
    ) -> Outcome:
        """Of what the applications have answered to `beat`; `windows`: from each pull until the others had seen it."""
        outcome = cls(system, messages=sum(each["sent"] for each in answers))
        gaps = [(end_s - ms / 1000, end_s, ms) for each in answers for end_s, ms in each["gaps"]]
        outside = gaps
        for began_s, over_s in windows:
            inside = [gap for gap in gaps if gap[0] < over_s and gap[1] > began_s]
            outside = [gap for gap in outside if gap not in inside]
            outcome.gaps_ms.append(max((ms for _, _, ms in inside), default=NO_GAP_MS))
        outcome.usual_ms = max((ms for _, _, ms in outside), default=NO_GAP_MS)
        if memberships:
            outcome.faults.append(f"{memberships} times a node wrote of a new membership")
        for number, each in enumerate(answers, 1):
            if each["lost"] or each["doubled"] or each["received"] != outcome.messages:
                outcome.faults.append(
                    f"application {number}: {each['received']} of {outcome.messages} received, {each['lost']} lost, "
                    f"{each['doubled']} doubled"
                )
        if len({each["order"] for each in answers}) != 1:
            outcome.faults.append("not all applications had one order")
        return outcome

    def text(self) -> str:
        """Some lines."""
        each = " ".join(f"{gap:.0f}" for gap in self.gaps_ms)
        middle, worst = statistics.median(self.gaps_ms), max(self.gaps_ms)
        lines = [
            f"{self.system}: {len(self.gaps_ms)} pulls, {self.messages} messages; longest time without a delivery "
            f"at any application, ms: median {middle:.0f}, worst {worst:.0f}; between the pulls at most "
            f"{self.usual_ms:.0f}",
            f"    pull by pull: {each}",
            *(f"    {fault}" for fault in self.faults),
        ]
        return "\n".join(lines)


def links_of(node: Node) -> dict[int, list[bool]]:
    """Which links to which other nodes are up, by its own account; empty while it does not answer."""
    if node.system.program == RONDO:
        try:
            links = ask(node.run_dir, "totem", "status")["links"]
        except ControlError:
            return {}
        return {int(number): [link["up"] for link in of_node] for number, of_node in links.items()}
    found: dict[int, list[bool]] = {}
    for line in node.host.run(["corosync-cfgtool", "-n"], check=False).stdout.splitlines():
        words = line.split()
        if words[:1] == ["nodeid:"]:
            at = found.setdefault(int(words[1]), [])
        elif words[:1] == ["LINK:"]:
            at.append("connected" in words)
    return found


class Failover:
    """Pulls on one cluster under load."""

    def __init__(self, cluster: Cluster, randomness: random.Random) -> None:
        self._cluster = cluster
        self._random = randomness
        self._windows: list[tuple[float, float]] = []
        """From each pull until the others had seen it."""

    def _all_up(self) -> bool:
        wanted = [True, True]
        found = [links_of(node) for node in self._cluster.nodes.values()]
        return all(len(each) >= NODES - 1 and all(up == wanted for up in each.values()) for each in found)

    def _seen(self, victim: int) -> bool:
        """Whether all others have seen that the cable of the victim is out."""
        others = [node for number, node in self._cluster.nodes.items() if number != victim]
        return all(links_of(node).get(victim, [True])[LINK] is False for node in others)

    def _pull(self) -> None:
        name = self._cluster.system.name
        wait_for(self._all_up, bool, f"{name}: all links up", TIMEOUT_S)
        if self._cluster.system.program == COROSYNC:
            time.sleep(C_AGE_S)
        time.sleep(self._random.uniform(*REST_S))
        victim = self._random.choice(list(self._cluster.nodes))
        began_s = time.monotonic()
        self._cluster.lab.unplug(victim, LINK)
        wait_for(lambda: self._seen(victim), bool, f"{name}: the others to see it", TIMEOUT_S)
        self._windows.append((began_s, time.monotonic() + AFTER_S))
        time.sleep(AFTER_S)
        self._cluster.lab.plug(victim, LINK)
        progress(f"{name}: pull {len(self._windows)}, at node {victim}")

    def run(self, pulls: int) -> Outcome:
        """So many pulls, and what the applications say of them."""
        nodes = self._cluster.nodes.values()
        with ExitStack() as stack:
            clients = start_clients(stack, self._cluster, common=True)
            before = [node.log().count(NEW_MEMBERSHIP) for node in nodes]
            start_s = time.monotonic() + START_DELAY_S
            for client in clients:
                client.tell("beat", PERIOD_MS, start_s, len(clients))
            for _ in range(pulls):
                self._pull()
            for client in clients:
                client.tell("stop")
            answers = [client.answer() for client in clients]
            after = [node.log().count(NEW_MEMBERSHIP) for node in nodes]
        return Outcome.of(self._cluster.system.name, answers, self._windows, sum(after) - sum(before))


def failover(system: System, pulls: int, seed: int) -> Outcome:
    """The pulls on a cluster that is made for them."""
    with tempfile.TemporaryDirectory(prefix="rb-", dir="/tmp", ignore_cleanup_errors=True) as name:
        progress(f"starting {NODES} x {system.name}")
        with Cluster(system, NODES, Path(name) / "c") as cluster:
            cluster.start()
            cluster.wait()
            return Failover(cluster, random.Random(seed)).run(pulls)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.failover", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--pulls", type=int, default=20, help="of Rondo's cables (default 20)")
    parser.add_argument("--reference", type=int, default=5, help="of C Corosync's (default 5; 0: without it)")
    parser.add_argument("--seed", type=int, default=1, help="where and when (default 1)")
    parser.add_argument(
        "--realtime", action="store_true", help="Rondo with sched_rr: yes, which C Corosync has by default"
    )
    options = parser.parse_args(arguments)
    ours, reference = chosen(SYSTEMS)
    ours = with_realtime(ours) if options.realtime else ours
    missing = namespaces_missing() or (corosync_missing() if options.reference else None)
    if missing:
        print(f"error: {missing}", file=sys.stderr)
        return 1
    outcome = failover(ours, options.pulls, options.seed)
    print(outcome.text(), flush=True)
    if options.reference:
        print(failover(reference, options.reference, options.seed).text())
    holds = not outcome.faults and max(outcome.gaps_ms) <= AIM_MS
    print(f"aim: {AIM_MS:.0f} ms at most, no membership, nothing lost or doubled: {'met' if holds else 'NOT met'}")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
