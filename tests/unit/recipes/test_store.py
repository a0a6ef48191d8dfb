"""A state on disk, as applications meet it: the end of everything, and all that can be wrong with a disk."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import shutil
from collections import deque
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import rondo
from rondo.aio import recipes as aio
from rondo.recipes import StateMachine, Store, StoreError
from rondo.recipes.core.replica import Replica
from rondo.recipes.frames import FrameReader
from rondo.recipes.keeper import Keeper
from rondo.testing import Loopback
from rondo.testing.loopback import LoopbackCluster
from tests.unit.recipes.world import Log, Process, World

NODES = (1, 2, 3)


class Notes(StateMachine):
    """All commands, in order."""

    def __init__(self, cluster: Any, store: Store | None, *, name: str = "notes", timeout: float = 10) -> None:
        self.notes: list[str] = []
        super().__init__(cluster, name, timeout=timeout, store=store)

    def apply(self, command: bytes) -> bytes:
        self.notes.append(command.decode())
        return b"%d" % len(self.notes)

    def snapshot(self) -> Iterable[bytes]:
        return [json.dumps(note).encode() for note in self.notes]

    def restore(self, pieces: Iterable[bytes]) -> None:
        self.notes = [json.loads(piece) for piece in pieces]


class Site:
    """A loopback and a directory for each of its nodes."""

    def __init__(self, path: Path) -> None:
        self.loopback = Loopback(nodes=len(NODES))
        self.stores = {node: Store(path / str(node), fsync=False) for node in NODES}
        self.running: dict[int, tuple[LoopbackCluster, Notes]] = {}

    def start(self, *nodes: int, timeout: float = 10) -> list[Notes]:
        """All at once, each of which waits for the others."""
        clusters = {node: self.loopback.connect(node) for node in nodes}
        with ThreadPoolExecutor(len(nodes)) as pool:
            made = pool.map(lambda node: Notes(clusters[node], self.stores[node], timeout=timeout), nodes)
            for node, notes in zip(nodes, made, strict=True):
                self.running[node] = clusters[node], notes
        return [self.running[node][1] for node in nodes]

    def kill(self, *nodes: int) -> None:
        """End the processes of these nodes."""
        for node in nodes:
            cluster, notes = self.running.pop(node)
            self.loopback.kill(cluster)
            notes.close()

    def log(self, node: int) -> Path:
        """The log file that a node writes to."""
        logs = Path(self.stores[node].directory).glob("log.*")
        return max(logs, key=lambda path: int(path.suffix[1:]))


def until_it_ends(notes: Notes) -> None:
    """Commands that were under way may be done still."""
    for n in range(1000):
        notes.do(b"%d" % n)


@pytest.fixture
def site(tmp_path: Path) -> Iterable[Site]:
    made = Site(tmp_path)
    yield made
    made.kill(*made.running)


def test_all_end_and_begin_again_and_go_on(site: Site) -> None:
    one, two, _ = site.start(*NODES)
    assert one.do(b"a") == b"1"
    assert two.do(b"b") == b"2"
    site.kill(*NODES)
    one, _, three = site.start(*NODES)
    assert three.read(lambda: list(three.notes)) == ["a", "b"]
    assert one.do(b"c") == b"3"


def test_a_part_waits_for_the_disks_that_may_know_more(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    _, two, three = site.start(*NODES)
    site.kill(1)
    assert two.do(b"without 1") == b"1"
    site.kill(2)
    assert three.do(b"without 2") == b"2"
    site.kill(3)
    cluster = site.loopback.connect(1)
    with pytest.raises(rondo.Timeout, match="it waits for the disk of node 2 and 3"):
        Notes(cluster, site.stores[1], timeout=2.0)
    site.loopback.kill(cluster)
    with ThreadPoolExecutor(1) as pool:
        # It stays longer than the one that is asked: who has gone is waited for, too.
        other = pool.submit(Notes, site.loopback.connect(2), site.stores[2], timeout=6.0)
        with pytest.raises(rondo.Timeout, match="it waits for the disk of node 3"):
            Notes(site.loopback.connect(1), site.stores[1], timeout=2.0)
        assert isinstance(other.exception(), rondo.Timeout)
    one, _, _ = site.start(*NODES)
    assert one.read(lambda: one.notes) == ["without 1", "without 2"]


def test_an_operator_may_give_up_a_disk(tmp_path: Path) -> None:
    """The replica of a world, because time passes at once there."""
    world = World(3)
    stores = {node: Store(tmp_path / str(node), fsync=False) for node in NODES}
    for node in NODES:
        world.start(node, f"p{node}", stores[node])
    world.settle(2)
    world.processes[0].do("all have it")
    world.settle(1)
    for process in list(world.processes):
        world.kill(process)
    for node in (2, 3):
        shutil.rmtree(tmp_path / str(node))
    one, new = world.start(1, "again", stores[1]), world.start(2, "new", stores[2])
    world.settle(60)
    assert not one.replica.is_ready
    assert one.replica.awaited_nodes == (2, 3)
    world.kill(one)
    world.kill(new)
    for node, store in stores.items():
        world.start(node, f"given up {node}", Store(store.directory, fsync=False, abandon=True))
    world.settle(30)
    assert all(process.replica.is_ready for process in world.processes)
    number = world.processes[1].do("more")
    world.settle(1)
    assert number in world.processes[1].outcomes, "the disks that are lost are not counted any more"
    assert [process.log.entries[0] for process in world.processes] == ["all have it"] * 3
    for process in list(world.processes):
        world.kill(process)


def test_a_torn_end_is_cut_off_and_told(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    one, *_ = site.start(*NODES)
    for n in range(3):
        one.do(b"%d" % n)
    site.kill(*NODES)
    whole = site.log(1).read_bytes()
    with FrameReader(site.log(1)) as reader:
        ends = {0} | {reader.at for _ in iter(lambda: reader.next(""), None)}
    for kept in range(len(whole)):
        site.log(1).write_bytes(whole[:kept])
        caplog.clear()
        keeper = Keeper(site.stores[1], "state:notes")
        machine = Log()
        replica = Replica((1, 1), keeper.author, machine)
        deque(keeper.recover(replica), maxlen=0)
        keeper.close()
        told = [record for record in caplog.records if "were not written to their end" in record.getMessage()]
        assert len(told) == (kept not in ends and kept > min(ends - {0})), kept
        assert machine.entries == [str(n) for n in range(len(machine.entries))]
    one, *_ = site.start(*NODES)
    assert one.read(lambda: list(one.notes)) == ["0", "1", "2"], "the others have it"


def test_no_flipped_bit_goes_unnoticed(site: Site) -> None:
    one, *_ = site.start(*NODES)
    one.do(b"a")
    site.kill(*NODES)
    for path in [site.log(1), Path(site.stores[1].directory) / "identity"]:
        whole = path.read_bytes()
        for at in range(len(whole)):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
            with pytest.raises(StoreError, match="To mend it") as caught:
                Notes(site.loopback.connect(1), site.stores[1], timeout=10)
            assert str(path) in str(caught.value)
        path.write_bytes(whole)
    site.start(*NODES)


def test_a_full_disk_ends_that_process_alone_and_is_told_once(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    one, two, _ = site.start(*NODES)
    one.do(b"a")
    real, full = os.write, os.stat(site.log(1)).st_ino

    def write(fd: int, data: bytes) -> int:
        if os.fstat(fd).st_ino == full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(fd, data)

    monkeypatch.setattr("rondo.recipes.frames.os.write", write)
    with pytest.raises(StoreError, match=r"No space left on device.*make room there"):
        until_it_ends(one)
    assert int(two.do(b"b")) > 1, "the others go on without it"
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == 1
    monkeypatch.undo()
    site.kill(1)
    (again,) = site.start(1)
    assert again.read(lambda: again.notes[-1]) == "b"


def test_a_directory_that_is_moved_away_is_noticed(site: Site, tmp_path: Path) -> None:
    one, two, _ = site.start(*NODES)
    one.do(b"a")
    (tmp_path / "1").rename(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="was moved or removed"):
        until_it_ends(one)
    two.do(b"b")
    site.kill(1)
    (tmp_path / "elsewhere").rename(tmp_path / "1")
    (again,) = site.start(1)
    assert again.read(lambda: again.notes[-1]) == "b"


def test_an_empty_directory_is_told(site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    site.start(*NODES)
    site.kill(*NODES)
    caplog.clear()
    (tmp_path / "1").rename(tmp_path / "elsewhere")
    site.start(*NODES)
    (told,) = [record.getMessage() for record in caplog.records if "this store is empty" in record.getMessage()]
    assert str(tmp_path / "1") in told


def is_ready(process: Process) -> bool:
    return process.replica.is_ready


def test_an_empty_disk_does_not_begin_a_history_before_the_others_come(tmp_path: Path) -> None:
    world = World(3)
    stores = {node: Store(tmp_path / str(node), fsync=False) for node in NODES}
    one = world.start(1, "p1", stores[1])
    world.settle(5)
    assert not is_ready(one)
    for node in (2, 3):
        world.start(node, f"p{node}", stores[node])
    world.settle(1)
    assert is_ready(one)
    for process in list(world.processes):
        world.kill(process)
    shutil.rmtree(tmp_path / "1")
    alone = world.start(1, "alone", stores[1])
    world.settle(5)
    assert not is_ready(alone)
    world.settle(10)
    assert is_ready(alone), "nobody else has come"
    world.kill(alone)


def test_a_store_is_of_one_process_and_of_one_state(site: Site) -> None:
    site.start(*NODES)
    with pytest.raises(StoreError, match="another process has this store"):
        Notes(site.loopback.connect(1), site.stores[1])
    site.kill(1)
    with pytest.raises(StoreError, match="this is the store of 'state:notes', not of 'state:others'"):
        Notes(site.loopback.connect(1), site.stores[1], name="others")


def test_missing_files_are_told(site: Site, tmp_path: Path) -> None:
    (one, *_) = site.start(*NODES)
    one.do(b"a")
    site.kill(*NODES)
    (tmp_path / "1" / "identity").rename(tmp_path / "identity")
    with pytest.raises(StoreError, match="identity: it is not there, and there are logs"):
        Notes(site.loopback.connect(1), site.stores[1])
    (tmp_path / "identity").rename(tmp_path / "1" / "identity")
    site.log(1).rename(tmp_path / "1" / "log.1")  # as if the one before it was lost
    with pytest.raises(StoreError, match=r"log\.0: it is not there"):
        Notes(site.loopback.connect(1), site.stores[1])


def test_a_disk_of_another_history_takes_no_ones_place(site: Site, tmp_path: Path) -> None:
    site.start(*NODES)
    site.kill(*NODES)
    for node in NODES:
        (tmp_path / str(node)).rename(tmp_path / f"old {node}")
    one, *_ = site.start(*NODES)
    one.do(b"new")
    site.kill(3)
    shutil.rmtree(tmp_path / "3")
    shutil.copytree(tmp_path / "old 3", tmp_path / "3")
    with pytest.raises(StoreError, match="a history with another beginning"):
        site.start(3)
    assert one.do(b"more") == b"2"


def test_disk_and_memory_do_not_mix(site: Site, tmp_path: Path) -> None:
    site.start(*NODES)
    site.kill(3)
    cluster = site.loopback.connect(3)
    with pytest.raises(StoreError, match="the others of this group keep its state on disk, and this process in memory"):
        Notes(cluster, None)
    in_memory = Notes(site.loopback.connect(1), None, name="in memory")
    with pytest.raises(StoreError, match="the others of this group keep its state in memory, and this process on disk"):
        Notes(site.loopback.connect(3), Store(tmp_path / "new", fsync=False), name="in memory")
    in_memory.close()


def test_the_size_on_disk_is_bounded(tmp_path: Path) -> None:
    class Last(Notes):
        def apply(self, command: bytes) -> bytes:
            self.notes = [command.decode()]
            return b""

    loopback = Loopback(nodes=1)
    store = Store(tmp_path / "store", fsync=False, compact_bytes=20_000)
    largest = 0
    with Last(loopback.connect(1), store) as last:
        for n in range(400):
            last.do(b"%d" % n + bytes(1000))
            sizes = (path.stat() for path in _files(tmp_path / "store"))
            largest = max(largest, sum(size.st_size for size in sizes))
    assert largest < 3 * 20_000
    with Last(loopback.connect(1), store) as last:
        assert last.notes[0].startswith("399")


def _files(directory: Path) -> list[Path]:
    return [path for path in directory.iterdir() if path.exists()]


def test_with_asyncio(tmp_path: Path) -> None:
    class Sum(aio.StateMachine):
        total = 0

        def apply(self, command: bytes) -> bytes:
            self.total += int(command)
            return b"%d" % self.total

        def snapshot(self) -> Iterable[bytes]:
            return [b"%d" % self.total]

        def restore(self, pieces: Iterable[bytes]) -> None:
            self.total = int(b"".join(pieces))

    async def run(loopback: Loopback) -> None:
        met = asyncio.Barrier(len(NODES))

        async def one(node: int) -> int:
            cluster: Any = await loopback.connect_aio(node)
            async with cluster:
                store = Store(tmp_path / str(node), compact_bytes=500)
                async with Sum(cluster, "sum", store=store) as machine:
                    await asyncio.gather(*(machine.do(b"1") for _ in range(10)))
                    await met.wait()
                    total: int = await machine.read(lambda: machine.total)
                    await met.wait()
                    return total

        assert len(set(await asyncio.gather(*map(one, NODES)))) == 1

    loopback = Loopback(nodes=3)
    for _ in range(3):
        asyncio.run(run(loopback))
    assert list(tmp_path.glob("1/snapshot.*"))


def test_the_end_of_a_store_with_asyncio(tmp_path: Path) -> None:
    class Nothing(aio.StateMachine):
        def apply(self, command: bytes) -> bytes:
            return b""

        def snapshot(self) -> Iterable[bytes]:
            return []

        def restore(self, pieces: Iterable[bytes]) -> None:
            pass

    async def run() -> None:
        loopback = Loopback(nodes=1)
        cluster: Any = await loopback.connect_aio(1)
        async with cluster:
            machine = await Nothing(cluster, "n", store=Store(tmp_path / "store", fsync=False))
            (tmp_path / "store").rename(tmp_path / "elsewhere")
            with pytest.raises(StoreError, match="was moved or removed"):
                await machine.do(b"x", timeout=5)
            await machine.close()
            (tmp_path / "elsewhere").rename(tmp_path / "store")
            async with Nothing(cluster, "n", store=Store(tmp_path / "store", fsync=False)) as again:
                assert await again.do(b"y", timeout=5) == b""

    asyncio.run(run())
