"""States on disk under random faults, and under the end of everything: all processes and nodes at once, several times.

What was on its way to a disk is lost then, and the last frame may be torn. Sometimes only some come back at first.
`check` judges as it does with the other random faults: no acknowledged command lost, none twice, none out of order.
"""

from __future__ import annotations

import random
from pathlib import Path

import msgpack
import pytest

from rondo.recipes.frames import FrameReader, FrameWriter
from rondo.recipes.store import FORMAT, IDENTITY, SEAT_BYTES, Store
from tests.unit.recipes.calls import Calls, check
from tests.unit.recipes.faults import Faults
from tests.unit.recipes.world import Process, World

SEEDS = 80
STOPS = 3
COMPACT_BYTES = 3000


def frames_in(path: Path) -> int:
    """How many whole frames a file has."""
    with FrameReader(path) as reader:
        while reader.next("") is not None:
            pass
        return reader.number


class StoredRun:
    """One seed."""

    def __init__(self, seed: int, nodes: int, directory: Path) -> None:
        self.draw = random.Random(seed)
        self.world = World(nodes, seed=seed)
        self.directory = directory
        self.stores = {node: self._store(node) for node in range(1, nodes + 1)}
        self.calls = Calls(self.world, self.draw)
        self.torn = 0
        self.started = 0
        for node in self.stores:
            self.start(node)
        self.world.settle(2)
        assert all(process.replica.is_ready for process in self.world.processes)
        self.world.loopback.hold()
        self.faults = Faults(self.world, self.draw, may_replace=False)

    def _store(self, node: int) -> Store:
        """With a name that does not come from chance."""
        path = self.directory / str(node)
        path.mkdir()
        with FrameWriter(path / "identity") as writer:
            writer.add(msgpack.packb([IDENTITY, FORMAT, b"disk%d" % node + bytes(SEAT_BYTES - 5), 0, 0, "log"]))
            writer.flush(fsync=False)
        return Store(path, fsync=False, compact_bytes=COMPACT_BYTES)

    def start(self, node: int) -> None:
        self.started += 1
        self.world.start(node, f"p{self.started}", self.stores[node])

    # -- faults --------------------------------------------------------------------------------------------------

    def kill(self, process: Process) -> None:
        """Kill a process, perhaps in the middle of a write."""
        self.calls.note()
        node = process.cluster.node_id
        self.world.kill(process)
        if self.draw.random() < 0.3:
            log = max((self.directory / str(node)).glob("log.*"), key=lambda path: int(path.suffix[1:]))
            with log.open("ab") as file:
                file.write(self._half_a_frame(frames_in(log)))
            self.torn += 1

    def _half_a_frame(self, number: int) -> bytes:
        path = self.directory / "frame"
        with FrameWriter(path, number=number) as writer:
            writer.add(b"never written in full" * 3)
            writer.flush(fsync=False)
        whole = path.read_bytes()
        path.unlink()
        return whole[: self.draw.randint(1, len(whole) - 1)]

    def restart_one(self) -> None:
        """End a process, and start another one with its disk."""
        process = self.draw.choice(self.world.processes)
        node = process.cluster.node_id
        if node in self.world.loopback.network.up:
            self.kill(process)
            self.start(node)

    def stop_all(self) -> None:
        """Everything ends at once, and begins again, in any order, some later than others."""
        for process in list(self.world.processes):
            self.kill(process)
        for node in self.stores:
            self.world.loopback.kill_node(node)
        self.faults.start_nodes()
        self.world.loopback.heal()
        order = self.draw.sample(sorted(self.stores), len(self.stores))
        first = self.draw.randint(1, len(order))
        for node in order[:first]:
            self.start(node)
        self._steps(self.draw.randint(0, 400))
        for node in order[first:]:
            self.start(node)

    # -- the run -------------------------------------------------------------------------------------------------

    def go(self) -> None:
        for _ in range(STOPS):
            self._some_time()
            self.stop_all()
        self._some_time()
        self.faults.mend()
        for _ in range(4):
            self.world.settle(12)  # in all more than a member waits before it asks for the state again
            self.calls.note()

    def _some_time(self) -> None:
        for _ in range(40):
            if self.draw.random() < 0.12:
                self.faults.one()
            if self.draw.random() < 0.06:
                self.restart_one()
            for _ in range(self.draw.randint(0, 2)):
                self.calls.one()
            self._steps(self.draw.randint(0, 30))
            if self.draw.random() < 0.15:
                self.world.now_ns += 300_000_000
                for process in self.world.processes:
                    process.tick()

    def _steps(self, count: int) -> None:
        for _ in range(count):
            self.calls.turns += 1
            what = self.draw.random()
            if what < 0.5:
                self.world.loopback.step()
            else:
                process = self.draw.choice(self.world.processes)
                if what < 0.55:
                    process.look_at_quorum()
                elif what < 0.7:
                    process.write()
                else:
                    process.turn()
            self.calls.note()

    def close(self) -> None:
        for process in list(self.world.processes):
            self.world.kill(process)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_three_nodes(seed: int, tmp_path: Path) -> None:
    run = StoredRun(seed, 3, tmp_path)
    run.go()
    check(run.world, run.calls)
    run.close()


@pytest.mark.parametrize("seed", range(SEEDS // 4))
def test_five_nodes(seed: int, tmp_path: Path) -> None:
    run = StoredRun(seed, 5, tmp_path)
    run.go()
    check(run.world, run.calls)
    run.close()


def test_the_runs_are_worth_it(tmp_path: Path) -> None:
    """Commands are acknowledged between the stops, logs are torn, states written anew and replaced."""
    done = torn = snapshots = 0
    for seed in range(8):
        directory = tmp_path / str(seed)
        directory.mkdir()
        run = StoredRun(seed, 3, directory)
        run.go()
        done += sum(call.ended is not None and bool(call.text) for call in run.calls.made)
        torn += run.torn
        snapshots += sum(int(path.suffix[1:]) for path in directory.glob("*/snapshot.*"))
        run.close()
    assert done > 8 * 25
    assert torn > 8
    assert snapshots > 8 * 3
