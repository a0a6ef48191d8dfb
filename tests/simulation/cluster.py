"""Scripted situations: `Cluster` has the nodes, the faults that a test makes, and what it expects of them.

cluster = Cluster(3)
cluster.form()
cluster.partition((1, 2), (3,))
cluster.expect_ring(1, 2)
cluster.heal()
cluster.expect_ring(1, 2, 3)
cluster.finish()           # no more faults: everything settles, and the checker judges the whole trace
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from services.totem.ring.options import RingOptions
from tests.simulation.host import Host
from tests.simulation.judge import judge
from tests.simulation.knet_wires import KnetPlan, Wires
from tests.simulation.network import Rule
from tests.simulation.world import MS, World

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.totem.ring.ring import Ring
    from services.totem.wire.frames import Kind
    from tests.simulation.trace import Event, MessageId

_SETTLE_MS = 30_000
_SHORT_TIMERS = {
    "token_timeout_ms": 300, "token_retransmit_ms": 71, "token_hold_ms": 47, "consensus_timeout_ms": 360,
    "join_timeout_ms": 30, "merge_timeout_ms": 100, "seqno_unchanged_const": 3,
}  # fmt: skip


class Cluster:
    """Nodes 1..count (or the given ids) with short timers. `host` has arguments of each `Host`, `options` are fields of
    `RingOptions`."""

    def __init__(
        self, nodes: int | Iterable[int], *, seed: int | str = 0, host: dict[str, Any] | None = None,
        knet: KnetPlan | None = None, **options: Any,
    ):  # fmt: skip
        self.world = World(seed)
        self.nodes = tuple(range(1, nodes + 1)) if isinstance(nodes, int) else tuple(nodes)
        if knet is not None:
            self.world.wires = Wires(self.world, seed, knet)
        self.options = RingOptions(**(_SHORT_TIMERS | options))
        for node in self.nodes:
            self.world.add(Host(self.world, node, self.options, **(host or {})))

    # -- things to do -------------------------------------------------------------------------------------------------

    def start(self, *nodes: int, lost_state: bool = False) -> None:
        """Start these nodes; all if none is named."""
        for node in nodes or self.nodes:
            self.world.start(node, lost_state=lost_state)

    def form(self) -> None:
        """Start all nodes and wait for their ring."""
        self.start()
        self.expect_ring(*self.nodes)

    def run(self, duration_ms: float) -> None:
        """Let time pass."""
        self.world.run_for(duration_ms)

    def send(self, node: int, *sizes: int, safe: bool = False) -> None:
        """Clients of this node send messages of these sizes."""
        self.world.hosts[node].submit(*sizes, safe=safe)

    def like_corosync(self, *nodes: int) -> None:
        """Let these nodes do only what Corosync's nodes do. Call this before they are started."""
        for node in nodes:
            host = self.world.hosts[node]
            host.options = replace(host.options, like_corosync=True)

    def crash(self, node: int) -> None:
        """Kill the process."""
        self.world.hosts[node].crash()

    def leave(self, node: int) -> None:
        """Stop the process cleanly."""
        self.world.hosts[node].leave()

    def freeze(self, node: int) -> None:
        """Stop scheduling the process."""
        self.world.hosts[node].freeze()

    def thaw(self, node: int) -> None:
        """Schedule the process again."""
        self.world.hosts[node].thaw()

    def reform(self, node: int) -> None:
        """The node asks for a new ring."""
        self.world.hosts[node].reform()

    def member_dead(self, node: int, dead: int) -> None:
        """The host of `node` tells its ring that `dead` is certainly gone."""
        self.world.hosts[node].member_dead(dead)

    def partition(self, *groups: Iterable[int]) -> None:
        """Cut all links between the groups."""
        self.world.network.partition(groups)

    def block(self, source: int, target: int) -> None:
        """Cut one link in one direction."""
        self.world.network.blocked.add((source, target))

    def heal(self) -> None:
        """Join all links that were cut."""
        self.world.network.blocked.clear()

    def lose(
        self,
        kind: Kind | None = None,
        *,
        source: int | None = None,
        target: int | None = None,
        count: int | None = None,
    ) -> Rule:
        """Lose the next `count` packets of this kind. Without a count they are lost until the rule is given to `stop`.
        The rule counts its `hits`."""
        rule = Rule(kind, source, target, count)
        self.world.network.rules.append(rule)
        return rule

    def stop(self, rule: Rule) -> None:
        """End this rule."""
        self.world.network.rules.remove(rule)

    # -- things to see ------------------------------------------------------------------------------------------------

    def ring(self, node: int) -> Ring:
        """The `Ring` of a node that runs."""
        ring = self.world.hosts[node].ring
        assert ring is not None, f"node {node} is down"
        return ring

    def expect_ring(self, *members: int, within_ms: float | None = None) -> float:
        """Wait until these nodes are one ring and its sync is complete, and give the time that took, in ms. Fails after
        `within_ms`, by default the time in which rings must converge."""
        options = self.options
        bound_ms = options.token_timeout_ms + 3 * options.consensus_timeout_ms + 1000
        began_ns = self.world.now()
        formed = self.world.run_while(lambda: not self.world.formed(members), within_ms or bound_ms, step_ms=1)
        assert formed, {node: (str(self.ring(node).state), self.ring(node).members) for node in self.world.alive()}
        return (self.world.now() - began_ns) / MS

    def events(self, name: str, node: int | None = None) -> list[Event]:
        """The events of this name so far, of one node or all."""
        return [e for e in self.world.trace.events if e["ev"] == name and (node is None or e["node"] == node)]

    def rings(self, node: int) -> list[tuple[int, ...]]:
        """The members of each regular configuration that this node has installed."""
        return [event["members"] for event in self.events("conf", node) if event["kind"] == "reg"]

    def delivered(self, node: int, *, sender: int | None = None) -> list[MessageId]:
        """The messages that this node has delivered, in order, without those of the sync."""
        client = {event["msg"] for event in self.events("submit") if not event["sync"]}
        delivered = [event["msg"] for event in self.events("deliver", node) if event["msg"] in client]
        return [msg for msg in delivered if sender is None or msg[0] == sender]

    def settle(self) -> None:
        """Wait until every submitted message is ordered, and 300 ms more, so that all nodes have it."""
        assert self.world.run_while(lambda: not self.world.settled(), _SETTLE_MS), "messages are not ordered"
        self.run(300)

    def finish(self) -> None:
        """End all faults. The nodes that run must become one ring, and the whole trace must hold every property."""
        self.world.network.calm()
        if self.world.wires is not None:
            self.world.wires.calm()
        for node in self.nodes:
            self.thaw(node)
        alive = self.world.alive()
        self.world.declare_stable([alive])
        self.expect_ring(*alive)
        for node in alive:
            self.send(node, 50)
        self.settle()
        self.world.declare_end()
        if (wires := self.world.wires) is not None:
            self.world.run_while(lambda: wires.unsound([alive]), wires.up_within_ms)
            assert not wires.unsound([alive])
        violations = judge(self.world)
        assert not violations, "\n".join(map(str, violations[:5]))
