"""Random stories in the ideal world: traces that must be good, whatever the seed."""

from __future__ import annotations

import random

from tests.checker.base import Event, Limits
from tests.checker.model_rings import Cluster

LIMITS = Limits(token_timeout_s=1.0, consensus_timeout_s=1.2)


def story(seed: int, nodes: int = 4, chapters: int = 8, limits: Limits = LIMITS) -> list[Event]:
    """Nodes come, talk over a lossy network, split, pause, crash, come back and merge; in the end all is well."""
    rng = random.Random(seed)
    world = Cluster(limits, range(1, nodes + 1))
    for _ in range(chapters):
        _faults(world, rng, nodes)
        parts: list[list[int]] = [[], []]
        for node, state in world.nodes.items():
            if not state.frozen:
                parts[rng.random() < 0.3].append(node)
        for part in filter(None, parts):
            if len(part) > 1 and rng.random() < 0.2:
                world.form(part, installs=part[: len(part) // 2])
            ring = world.form(part)
            _talk(world, rng, part)
            world.rotate(ring, rng.randint(0, 4), lambda seq, receiver: rng.random() < 0.2)
    for node in range(1, nodes + 1):
        if node not in world.nodes:
            world.start(node)
        elif world.nodes[node].frozen:
            world.thaw(node)
        if rng.random() < 0.5:
            world.submit(node, rng.choice(("agreed", "safe")))
    return world.finish(range(1, nodes + 1))


def _faults(world: Cluster, rng: random.Random, nodes: int) -> None:
    """What befalls the nodes between two rings."""
    node = rng.randint(1, nodes)
    state = world.nodes.get(node)
    if state is None:
        world.start(node)
    elif state.frozen:
        world.thaw(node)
    elif rng.random() < 0.3:
        world.freeze(node)
    elif rng.random() < 0.5:
        world.end_life(node, rng.choice(("fail", "stop")))


def _talk(world: Cluster, rng: random.Random, part: list[int]) -> None:
    for _ in range(rng.randint(0, 12)):
        level = "safe" if rng.random() < 0.25 else "agreed"
        world.submit(rng.choice(part), level, pieces=rng.choice((1, 1, 2)), fragments=rng.choice((0, 0, 1)))
