"""A run: three nodes, a worker on each, faults drawn from a seed, and what the checker says at the end."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from rondo.testing import TestCluster, rondo_cluster
from tests.checker.recipes import judge
from tests.checker.recipes.history import Call, read
from tests.cluster.recipes_chaos.crew import Crew
from tests.cluster.recipes_chaos.shells import ASYNCIO

NODES = (1, 2, 3)
MENDED_S_MAX = 120.0
PAUSE_S = (0.2, 3.0)
"""Seconds between two faults, from and to."""
AWAY_S = 2.0
"""How long a node is away, or a process frozen, at most."""
SETTLED_S = 0.5
"""All have been ready this long before a process is killed. So the others have its state."""
STOP_EVERY_S = 60.0
"""About how often everything is killed at once."""
LOOK_S = 0.05
LOSS_PERCENT = 5.0


class Disturbance:
    """Draws and carries out faults, one after the other."""

    def __init__(self, cluster: TestCluster, crew: Crew, draw: random.Random) -> None:
        self._cluster, self._crew, self._draw = cluster, crew, draw
        self.happened: Counter[str] = Counter()

    def one(self) -> None:
        """Carry out a fault that is drawn by chance."""
        kinds: dict[str, Callable[[int], None]] = {
            "split": self._split, "split all": self._split_all, "heal": lambda _: self._cluster.heal(),
            "kill node": self._kill_node, "lose node": self._lose_node, "freeze node": self._freeze_node,
            "loss": lambda _: self._cluster.loss(LOSS_PERCENT), "restart node": self._cluster.restart,
            "kill worker": self._kill_worker, "freeze worker": self._freeze_worker,
        }  # fmt: skip
        # What a split or a loss has made lasts until it is healed, so that comes as often as both.
        kind = self._draw.choice([*kinds, "heal", "heal"])
        node = self._draw.choice(NODES)
        kinds[kind](node)
        self.happened[kind] += 1

    def stop_all(self) -> None:
        """Kill all nodes and workers at once, and start them again."""
        self._crew.kill_all()
        for node in NODES:
            self._cluster.kill(node)
        self._cluster.heal()
        for node in self._draw.sample(NODES, len(NODES)):
            self._cluster.restart(node)
            self._crew.start(node)
        self.happened["stop all"] += 1

    def _while(self) -> None:
        time.sleep(AWAY_S * self._draw.random())

    def _split(self, node: int) -> None:
        self._cluster.partition({node}, set(NODES) - {node})

    def _split_all(self, _node: int) -> None:
        self._cluster.partition(*({node} for node in NODES))
        self._while()
        self._cluster.heal()

    def _kill_node(self, node: int) -> None:
        self._cluster.kill(node)
        self._while()
        self._cluster.restart(node)

    def _lose_node(self, node: int) -> None:
        self._cluster.kill(node)
        self._while()
        self._cluster.restart(node, lose_state=True)

    def _freeze_node(self, node: int) -> None:
        self._cluster.pause(node)
        self._while()
        self._cluster.resume(node)

    def _freeze_worker(self, node: int) -> None:
        self._crew.processes[node].send(signal.SIGSTOP)
        self._while()
        self._crew.processes[node].send(signal.SIGCONT)

    def _kill_worker(self, node: int) -> None:
        """Kill a worker. Only one at a time, because a state in memory needs a majority of its holders."""
        self._cluster.heal()
        _wait_for_all(self._crew, SETTLED_S)
        self._crew.kill(node)
        self._while()
        self._crew.start(node)


def _wait_for_all(crew: Crew, for_s: float = 0.0) -> None:
    end_s = time.monotonic() + MENDED_S_MAX
    while not crew.are_ready(for_s):
        assert time.monotonic() < end_s, "not all are ready, long after all was mended"
        time.sleep(LOOK_S)


class Verdict:
    """The result of a run."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.happened: Counter[str] = Counter()
        self.known: Counter[str] = Counter()
        """Number of answered calls, by kind of recipe."""
        self.unknown: Counter[str] = Counter()
        self.of_asyncio: Counter[str] = Counter()
        """Number of answered calls of workers that use asyncio."""

    def judge(self, crew: Crew, finals: dict[str, list[object]]) -> None:
        """Judge the histories of all epochs."""
        of_notes: list[Call] = []
        for epoch, paths in crew.logs.items():
            calls = read(paths)
            for recipe, of_recipe in calls.items():
                kind = recipe.split(":")[0]
                self.known[kind] += sum(call.is_known for call in of_recipe)
                self.of_asyncio[kind] += sum(call.is_known and call.who.endswith(ASYNCIO) for call in of_recipe)
                self.unknown[kind] += sum(not call.is_known for call in of_recipe)
            of_notes += calls.pop("notes", [])
            self.faults += judge.faults(calls, finals if epoch == crew.epoch else {})
        # They are on disk, and outlive whole stops.
        self.faults += judge.notes(of_notes, finals.get("notes", []))  # type: ignore[arg-type]
        self.faults += crew.bugs

    def __str__(self) -> str:
        calls = ", ".join(
            f"{kind} {n} ({self.of_asyncio[kind]} asyncio, +{self.unknown[kind]} open)"
            for kind, n in sorted(self.known.items())
        )
        faults = ", ".join(f"{kind} {n}" for kind, n in sorted(self.happened.items()))
        return f"calls: {calls}; faults: {faults}"


def run(seconds: float, seed: int, directory: Path, used: Iterable[str]) -> Verdict:
    """Run the faults with these kinds of recipes. Raises AssertionError if the run does not come to an end."""
    draw = random.Random(seed)
    verdict = Verdict()
    with rondo_cluster(nodes=len(NODES)) as cluster:
        crew = Crew(cluster, NODES, directory, used)
        disturbance = Disturbance(cluster, crew, draw)
        try:
            _wait_for_all(crew)
            end_s = time.monotonic() + seconds
            stop_s = time.monotonic() + STOP_EVERY_S * (0.5 + draw.random())
            while time.monotonic() < end_s:
                time.sleep(draw.uniform(*PAUSE_S))
                if time.monotonic() >= stop_s:
                    disturbance.stop_all()
                    stop_s = time.monotonic() + STOP_EVERY_S * (0.5 + draw.random())
                else:
                    disturbance.one()
            cluster.heal()
            _wait_for_all(crew)
            finals = crew.finals()
        finally:
            for node in list(crew.processes):
                crew.kill(node)
    verdict.happened = disturbance.happened
    verdict.judge(crew, finals)
    return verdict
