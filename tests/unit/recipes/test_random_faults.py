"""Commands and reads under random faults: none lost, none twice, none out of order, in any seed."""

from __future__ import annotations

import random

import pytest

from tests.unit.recipes.calls import Calls, check
from tests.unit.recipes.faults import Faults
from tests.unit.recipes.world import World

SEEDS = 150


class Run:
    """One seed."""

    def __init__(self, seed: int, nodes: int) -> None:
        self.draw = random.Random(seed)
        self.world = World(nodes, seed=seed)
        for node in range(1, nodes + 1):
            self.world.start(node, f"p{node}")
        self.world.settle(2)
        self.world.loopback.hold()
        self.faults = Faults(self.world, self.draw)
        self.calls = Calls(self.world, self.draw)

    def go(self) -> None:
        for _ in range(120):
            if self.draw.random() < 0.12:
                self.faults.one()
            for _ in range(self.draw.randint(0, 2)):
                self.calls.one()
            for _ in range(self.draw.randint(0, 25)):
                self._step()
            if self.draw.random() < 0.1:
                self.world.now_ns += 200_000_000
                for process in self.world.processes:
                    process.tick()
        self.faults.mend()
        for _ in range(4):
            self.world.settle(3)
            self.calls.note()

    def _step(self) -> None:
        self.calls.turns += 1
        what = self.draw.random()
        if what < 0.6:
            self.world.loopback.step()
        else:
            process = self.draw.choice(self.world.processes)
            if what < 0.65:
                process.look_at_quorum()
            else:
                process.turn()
        self.calls.note()


@pytest.mark.parametrize("seed", range(SEEDS))
def test_three_nodes(seed: int) -> None:
    run = Run(seed, 3)
    run.go()
    check(run.world, run.calls)


@pytest.mark.parametrize("seed", range(SEEDS // 3))
def test_five_nodes(seed: int) -> None:
    run = Run(seed, 5)
    run.go()
    check(run.world, run.calls)


def test_the_runs_are_worth_it() -> None:
    """Faults of all kinds happen, most commands are done all the same, and histories are thrown away and taken over."""
    happened: set[str] = set()
    done = calls = transfers = 0
    for seed in range(12):
        run = Run(seed, 3)
        run.go()
        happened.update(run.faults.happened)
        calls += len(run.calls.made)
        done += sum(call.ended is not None for call in run.calls.made)
        transfers += sum(process.pieces() > 0 for process in run.world.processes)
    assert len(happened) == 7
    assert done > 0.8 * calls
    assert transfers > 12
