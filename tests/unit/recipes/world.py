"""Replicas on a loopback, driven by hand: no threads, no clock, everything from one seed."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import rondo
from rondo.recipes.core.formation import ABANDON_MS
from rondo.recipes.core.machine import Look, Lost, Notice, NotReady, Outcome, Progress, Ready
from rondo.recipes.core.replica import Replica
from rondo.recipes.keeper import Keeper
from rondo.recipes.store import Store
from rondo.testing import Loopback
from rondo.testing.loopback import LoopbackCluster

MS = 1_000_000


class Log:
    """The simplest state that shows everything: all commands in their order, and who is gone."""

    def __init__(self) -> None:
        self.entries: list[str] = []

    def apply(self, author: bytes, command: bytes) -> bytes:
        if command == b"fail":
            raise ValueError("as asked for")
        self.entries.append(command.decode())
        return b"%d" % len(self.entries)

    def went_on(self, ring_sequence: int) -> None:
        """A log does not depend on it."""

    def gone(self, author: bytes) -> None:
        self.entries.append(f"gone {author.decode(errors='replace')}")

    def snapshot(self) -> Iterable[bytes]:
        entries = list(self.entries)
        return (json.dumps(entries[at : at + 2]).encode() for at in range(0, len(entries), 2))

    def restore(self, pieces: Iterator[bytes]) -> None:
        self.entries = [entry for piece in pieces for entry in json.loads(piece)]


class Process:
    """A replica in a process of the loopback."""

    def __init__(self, world: World, cluster: LoopbackCluster, name: str, store: Store | None = None) -> None:
        self.world = world
        self.name = name
        self.cluster = cluster
        self.log = Log()
        self.machine: Any = self.log if world.machine is None else world.machine()
        self.seen: dict[int, Any] = {}
        """What reads saw, if the world has a `look`."""
        self.keeper = Keeper(store, "log") if store is not None else None
        self.replica = Replica(
            (cluster.node_id, cluster.pid),
            self.keeper.author if self.keeper is not None else name.encode(),
            self.machine,
            has_votes=world.loopback.has_provider,
            abandon_ms=ABANDON_MS if store is None or store.abandon else None,
        )
        if self.keeper is not None:
            deque(self.keeper.recover(self.replica), maxlen=0)
        self.group = cluster.cpg.join("log")
        self.notices: list[Notice] = []
        self.outcomes: dict[int, Outcome] = {}
        self.reads: dict[int, list[str]] = {}
        self.quorum_seen: rondo.Ring | None = None

    @property
    def is_alive(self) -> bool:
        return not self.cluster.is_closed

    def turn(self) -> bool:
        """Take one event if there is one, and send the outbox. Returns True if anything happened."""
        event = self.group.poll(0)
        now_ns = self.world.now_ns
        if event is not None:
            self.replica.handle(event, now_ns)
        did = self.finish_turn()
        return event is not None or did

    def look_at_quorum(self) -> bool:
        try:
            status = self.cluster.quorum.status()
        except rondo.Disconnected:
            return False
        if status.ring == self.quorum_seen:
            return False
        self.quorum_seen = status.ring
        ring = (status.ring.representative, status.ring.sequence)
        nodes = [node.node for node in status.nodes if node.state == "member"]
        self.replica.quorum(ring, nodes, status.quorate, self.world.now_ns)
        self.finish_turn()
        return True

    def tick(self) -> None:
        self.replica.tick(self.world.now_ns)
        self.finish_turn()

    def write(self) -> bool:
        """Carry out the replica's writes. Returns True if there were any."""
        if self.keeper is None or not self.keeper.is_busy(self.replica):
            return False
        self.keeper.collect(self.replica)
        written = self.keeper.work()
        if written is not None:
            self.replica.written(*written, self.world.now_ns)
            self.finish_turn()
        return True

    def finish_turn(self) -> bool:
        replica = self.replica
        did = bool(replica.outbox)
        while replica.notices:
            notice = replica.notices.popleft()
            self.notices.append(notice)
            if isinstance(notice, Look):
                self.reads[notice.number] = list(self.log.entries)
            if isinstance(notice, Outcome):
                assert notice.number not in self.outcomes, "an outcome is told once"
                self.outcomes[notice.number] = notice
                if self.world.look is not None:
                    self.seen[notice.number] = self.world.look(self.machine)
                if notice.number in self.reads and self.keeper is None:
                    self.reads[notice.number] = list(self.log.entries)
        while replica.outbox:
            self.group.mcast(replica.outbox.popleft(), rondo.Guarantee.SAFE)
        return did

    def do(self, command: str) -> int:
        return self.do_bytes(command.encode())

    def do_bytes(self, command: bytes) -> int:
        number = self.replica.do(command)
        self.finish_turn()
        return number

    def read(self) -> int:
        number = self.replica.read()
        self.reads[number] = []
        self.finish_turn()
        return number

    def kinds(self) -> list[str]:
        return [type(notice).__name__ for notice in self.notices if isinstance(notice, Ready | NotReady | Lost)]

    def pieces(self) -> int:
        return sum(isinstance(notice, Progress) for notice in self.notices)


class World:
    """A loopback and its processes."""

    def __init__(
        self,
        nodes: int = 3,
        *,
        provider: bool = True,
        seed: int = 0,
        machine: type[Any] | None = None,
        look: Callable[[Any], Any] | None = None,
    ) -> None:
        self.machine = machine
        self.look = look
        self.loopback = Loopback(nodes=nodes, provider=provider, seed=seed)
        self.now_ns = 0
        self.processes: list[Process] = []

    def start(self, node: int, name: str, store: Store | None = None) -> Process:
        process = Process(self, self.loopback.connect(node), name, store)
        self.processes.append(process)
        return process

    def kill(self, process: Process) -> None:
        self.loopback.kill(process.cluster)
        self.processes.remove(process)
        if process.keeper is not None:
            process.keeper.close()

    def settle(self, seconds: float = 0.0) -> None:
        """Everything that is under way happens; then as much time passes, and again."""
        end_ns = self.now_ns + int(seconds * 1000) * MS
        while True:
            while self.turn():
                pass
            if self.now_ns >= end_ns:
                return
            self.now_ns += 100 * MS
            for process in self.processes:
                process.tick()

    def turn(self) -> bool:
        self.loopback.settle()
        did = [process.look_at_quorum() or process.turn() or process.write() for process in self.processes]
        return any(did)
