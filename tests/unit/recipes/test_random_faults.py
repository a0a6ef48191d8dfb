"""Commands and reads under random faults: none lost, none twice, none out of order, in any seed.

The state is a log of all commands. So its last version *is* the order in which things took effect, and whether what the
callers saw agrees with it is easy to decide: a read is a beginning of it, with everything that was done before the read
began, and nothing that was asked for after it was over.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import pytest

from tests.unit.recipes.faults import Faults
from tests.unit.recipes.world import Process, World

SEEDS = 150


@dataclass
class Call:
    """Somebody's command or read, and when it began and was over, by a count of turns."""

    process: Process
    number: int
    text: str
    began: int
    ended: int | None = None
    seen: tuple[str, ...] = ()


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
        self.calls: list[Call] = []
        self.turns = 0

    def go(self) -> None:
        for n in range(120):
            if self.draw.random() < 0.12:
                self.faults.one()
            for _ in range(self.draw.randint(0, 2)):
                self._call(n)
            for _ in range(self.draw.randint(0, 25)):
                self._step()
            if self.draw.random() < 0.1:
                self.world.now_ns += 200_000_000
                for process in self.world.processes:
                    process.tick()
        self.faults.mend()
        for _ in range(4):
            self.world.settle(3)
            self._note()

    def _call(self, n: int) -> None:
        process = self.draw.choice(self.world.processes)
        text = f"{process.name}:{n}:{len(self.calls)}"
        if self.draw.random() < 0.3:
            self.calls.append(Call(process, process.read(), "", self.turns))
        else:
            self.calls.append(Call(process, process.do(text), text, self.turns))

    def _step(self) -> None:
        self.turns += 1
        what = self.draw.random()
        if what < 0.6:
            self.world.loopback.step()
        else:
            process = self.draw.choice(self.world.processes)
            if what < 0.65:
                process.look_at_quorum()
            else:
                process.turn()
        self._note()

    def _note(self) -> None:
        for call in self.calls:
            if call.ended is None and call.number in call.process.outcomes:
                call.ended = self.turns
                call.seen = tuple(call.process.reads.get(call.number, ()))


def check(run: Any) -> None:
    """Everything that a run must satisfy."""
    processes = run.world.processes
    assert all(process.replica.is_ready for process in processes), [p.replica.phase for p in processes]
    final = processes[0].log.entries
    assert all(process.log.entries == final for process in processes), "all states are equal"
    commands = [entry for entry in final if not entry.startswith("gone ")]
    assert len(commands) == len(set(commands)), "no command twice"
    at = {entry: index for index, entry in enumerate(final)}
    alive = set(map(id, processes))
    for call in run.calls:
        if call.ended is None:
            assert id(call.process) not in alive, f"{call.text or 'a read'} of a living process has no end"
        elif call.text:
            assert call.text in at, f"{call.text} was acknowledged and is lost"
        else:
            assert list(call.seen) == final[: len(call.seen)], "a read is a beginning of the history"
    done = [call for call in run.calls if call.text and call.ended is not None]
    for read in [call for call in run.calls if not call.text and call.ended is not None]:
        for call in done:
            assert call.ended is not None
            assert read.ended is not None
            if call.ended < read.began:
                assert at[call.text] < len(read.seen), "a read sees what was done before it began"
            if call.began > read.ended:
                assert at[call.text] >= len(read.seen), "a read sees nothing of later"
    for call in done:
        for other in done:
            assert call.ended is not None
            if call.ended < other.began:
                assert at[call.text] < at[other.text], "what was done before comes before"


@pytest.mark.parametrize("seed", range(SEEDS))
def test_three_nodes(seed: int) -> None:
    run = Run(seed, 3)
    run.go()
    check(run)


@pytest.mark.parametrize("seed", range(SEEDS // 3))
def test_five_nodes(seed: int) -> None:
    run = Run(seed, 5)
    run.go()
    check(run)


def test_the_runs_are_worth_it() -> None:
    """Faults of all kinds happen, most commands are done all the same, and histories are thrown away and taken over."""
    happened: set[str] = set()
    done = calls = transfers = 0
    for seed in range(12):
        run = Run(seed, 3)
        run.go()
        happened.update(run.faults.happened)
        calls += len(run.calls)
        done += sum(call.ended is not None for call in run.calls)
        transfers += sum(process.pieces() > 0 for process in run.world.processes)
    assert len(happened) == 7
    assert done > 0.8 * calls
    assert transfers > 12
