"""Random faults on a world of replicas, from a seed: splits, dead nodes, lost sessions, processes killed and replaced.

No fault takes the state of most holders away at once, so nothing that was acknowledged may be lost.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from rondo.recipes.core.member import Phase
from tests.unit.recipes.world import World


class Faults:
    """Draws faults and applies them to a world, one at a time."""

    def __init__(self, world: World, draw: random.Random, *, may_replace: bool = True) -> None:
        self._may_replace = may_replace
        self.world = world
        self._draw = draw
        self._nodes = sorted(world.loopback.network.nodes)
        self._started = len(world.processes)
        self.happened: list[str] = []

    def one(self) -> None:
        """Apply a fault that is drawn by chance, or none."""
        kinds: list[tuple[str, Callable[[], None]]] = [
            ("split", self._split), ("split", self._split), ("heal", self.world.loopback.heal),
            ("heal", self.world.loopback.heal), ("kill node", self._kill_node), ("start nodes", self.start_nodes),
            ("disconnect", self._disconnect), ("reconnect", self.reconnect), ("replace", self._replace),
        ]  # fmt: skip
        name, happen = self._draw.choice(kinds)
        self.happened.append(name)
        happen()

    def mend(self) -> None:
        """Undo all faults."""
        self.start_nodes()
        self.reconnect()
        self.world.loopback.heal()

    def start_nodes(self) -> None:
        """Start the killed nodes again."""
        for node in self._nodes:
            self.world.loopback.start_node(node)

    def reconnect(self) -> None:
        """Connect the lost sessions again."""
        for process in self.world.processes:
            if not process.cluster.is_connected and process.cluster.node_id in self.world.loopback.network.up:
                self.world.loopback.reconnect(process.cluster)

    def _split(self) -> None:
        cut = self._draw.sample(self._nodes, self._draw.randint(1, len(self._nodes) - 1))
        self.world.loopback.partition(cut)

    def _kill_node(self) -> None:
        if len(self.world.loopback.network.up) > 1:
            self.world.loopback.kill_node(self._draw.choice(self._nodes))

    def _disconnect(self) -> None:
        process = self._draw.choice(self.world.processes)
        if process.cluster.is_connected:
            self.world.loopback.disconnect(process.cluster)

    def _replace(self) -> None:
        """Kill a process and start another, when all others have the state."""
        if not self._may_replace:
            return
        victim = self._draw.choice(self.world.processes)
        others = [process for process in self.world.processes if process is not victim]
        if len(others) < 2 or not all(process.replica.is_ready for process in self.world.processes):
            return
        self.world.kill(victim)
        self.world.settle(2)
        self._started += 1
        if victim.cluster.node_id in self.world.loopback.network.up:
            new = self.world.start(victim.cluster.node_id, f"p{self._started}")
            while self.world.turn() and new.replica.phase is not Phase.FORMED:
                pass  # until it knows that there is a state somewhere
