"""Several nodes with real machines and real ordered logs, over a ring that is only a list.

The ring here keeps what the real one promises: one total order per ring, virtual synchrony for those that go on
together, a sync with barriers in that order, and no message of a node's own before its sync is complete. Everything
else - who runs when, who is killed, which rings form - is drawn from one random generator.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rondo.protocol import cpg_gateway as bus
from services.cpg.clients import Options
from services.cpg.machine import Machine
from services.totem.ordered_log import OrderedLog
from services.totem.outgoing import Tag
from tests.unit.cpg.client import Client, Gateway

BUILD, BARRIER, DONE = "build", "barrier", "done"
"""The three rounds of barriers that a sync needs here: all are in the ring; all did cpg's step; all services did."""

OPTIONS = Options(message_size_max=2000, client_bytes_max=1 << 20, log_bytes_max=1 << 20)


@dataclass
class Item:
    """One place in the order of a ring."""

    sender: int
    data: bytes | None
    tag: Tag | None = None
    barrier: str = ""


@dataclass(eq=False)
class Ring:
    """One ring: its members and its order."""

    ident: tuple[int, int]
    members: tuple[int, ...]
    items: list[Item] = field(default_factory=list)


class Node:
    """One node: log, cpg, gateway, clients. cpg and the gateway may be replaced at any time."""

    def __init__(self, ident: int, world: World) -> None:
        self.ident = ident
        self.world = world
        self.epochs = 0
        self.to_cpg: deque[bytes] = deque()
        self.pids = 1000 * ident
        self.clients: list[Client] = []
        self.syncs: dict[int, list[tuple[int, int]]] = {}
        """By epoch: (position of REGULAR, position of SYNC_COMPLETE, or of the next REGULAR) of each sync."""
        self.start_totem()
        self.machine = Machine(OPTIONS, pid=1)
        self.machine.hello()
        self.gateway = Gateway(self)

    def start_totem(self) -> None:
        """Start the ring process anew."""
        self.epochs += 1
        self.log = OrderedLog(self.ident * 1000 + self.epochs, self.ident, pid=9, bytes_max=1 << 20)
        self.ring = Ring((self.ident, 0), (self.ident,))
        self.at = 0
        self.seen: dict[str, set[int]] = {}
        self.stage = "new"
        self.regular_at = 0

    # Turns that the scheduler gives.

    def deliver(self, count: int) -> bool:
        """Deliver the next items of the ring's order to this node."""
        moved = False
        for _ in range(count):
            if self.at >= len(self.ring.items):
                break
            self.at += 1
            moved = True
            self._take(self.ring.items[self.at - 1], transitional=False)
        for ring, messages in self.log.take_sync_replies():
            if ring == self.ring.ident:
                self.ring.items.extend(Item(self.ident, data) for data in messages)
                self.ring.items.append(Item(self.ident, None, barrier=BARRIER))
                moved = True
        return moved

    def _take(self, item: Item, *, transitional: bool) -> None:
        if item.data is not None:
            tag = item.tag if item.sender == self.ident else None
            self.log.message(item.sender, item.data, transitional, tag)
            return
        if transitional:
            return
        seen = self.seen.setdefault(item.barrier, set())
        seen.add(item.sender)
        if seen == set(self.ring.members):
            if item.barrier == BUILD:
                self.log.sync_step(self.ring.ident)
            elif item.barrier == BARRIER:
                self.log.sync_activate(self.ring.ident)
                self.ring.items.append(Item(self.ident, None, barrier=DONE))
            else:
                self.stage = "ready"
                self.log.sync_complete(self.ring.ident)
                self.syncs.setdefault(self.log.epoch, []).append((self.regular_at, self.log.head))

    def submit(self, count: int) -> bool:
        """Let own messages into the ring's order."""
        moved = False
        while count and self.stage == "ready" and (message := self.log.next_message()) is not None:
            # A batch travels as it is where all are Rondo, and taken apart elsewhere.
            taken_apart = message.is_batch and len(self.ring.items) % 2
            for data, tag in message.expanded() if taken_apart else [(message.data, message.tag)]:
                self.ring.items.append(Item(self.ident, data, tag))
            count -= 1
            moved = True
        return moved

    def end_ring(self, together: set[int], upto: int) -> None:
        """Deliver what is due of the ring that ends: all up to `upto`, then what those who stay together sent."""
        items = self.ring.items
        while self.at < upto:
            self.deliver(1)
        for item in items[upto:]:
            if item.sender in together:
                self._take(item, transitional=True)

    def new_ring(self, ring: Ring, together: tuple[int, ...]) -> None:
        """The configurations of a ring change."""
        old = self.ring
        if self.stage == "syncing":
            self.log.sync_abort(old.ident)
        left = tuple(n for n in old.members if n not in together)
        self.log.transitional(old.ident, ring.ident, together, left)
        joined = tuple(n for n in ring.members if n not in together)
        self.log.regular(ring.ident, ring.members, joined, left)
        if self.stage == "syncing":
            self.syncs.setdefault(self.log.epoch, []).append((self.regular_at, self.log.head))
        self.regular_at = self.log.head
        self.log.take_sync_replies()
        self.ring, self.at, self.seen, self.stage = ring, 0, {}, "syncing"
        ring.items.append(Item(self.ident, None, barrier=BUILD))

    def pump(self, count: int) -> bool:
        """Move envelopes between log, machine and gateway."""
        moved = False
        for _ in range(count):
            self.world.now_s += 0.001
            self.machine.flush(self.world.now_s)
            if (frame := self.log.next_frame()) is not None:
                self.machine.receive_totem(frame)
                moved = True
            if self.machine.to_totem:
                self.log.receive(self.machine.to_totem.popleft())
                moved = True
            if self.machine.clients.frames:
                identity, frame = self.machine.clients.frames.popleft()
                if identity == self.gateway.identity:
                    self.gateway.receive(bus.decode(frame))
                moved = True
            if self.gateway.out:
                self.machine.clients.receive(self.gateway.identity, self.gateway.out.popleft())
                moved = True
        return moved

    # -- kills

    def kill_cpg(self) -> None:
        """kill -9 of cpg: its queues die with it."""
        self.log.lost_peer()
        self.machine = Machine(OPTIONS, pid=1)
        self.machine.hello()
        self.gateway.begin()

    def kill_gateway(self) -> None:
        """kill -9 of the gateway: clients come back to its successor."""
        self.gateway = Gateway(self)

    def kill_totem(self) -> None:
        """kill -9 of the ring process; the others form a ring without it."""
        self.start_totem()
        self.machine.totem_lost("it was killed")

    def new_client(self) -> Client:
        """Start a client process, which connects."""
        self.pids += 1
        client = Client(self.world.rng.getrandbits(63) + 1, self.ident, self.pids)
        self.clients.append(client)
        self.gateway.connect(client)
        return client


class World:
    """All nodes, and the scheduler."""

    def __init__(self, seed: int, nodes: int) -> None:
        self.rng = random.Random(seed)
        self.now_s = 0.0
        self.sequence = 0
        self.nodes = {ident: Node(ident, self) for ident in range(1, nodes + 1)}
        self.pairs_together: set[tuple[tuple[int, int], int, int]] = set()
        """(ring, node, node) that went on from this ring together."""

    def form(self, *parts: tuple[int, ...]) -> None:
        """Break all rings, and form these."""
        cut: dict[int, int] = {}
        for part in parts:
            for ident in part:
                ring = self.nodes[ident].ring
                together = {n for n in part if self.nodes[n].ring is ring}
                # All that stay together have the same of the old ring; what only others have may be lost to them.
                if min(together) == ident:
                    least = max(self.nodes[n].at for n in together)
                    upto = self.rng.randint(least, len(ring.items))
                    for n in together:
                        cut[n] = upto
                        self.pairs_together.update((ring.ident, n, other) for other in together)
        stay: dict[int, tuple[int, ...]] = {}
        for part in parts:
            for ident in part:
                ring = self.nodes[ident].ring
                stay[ident] = tuple(sorted(n for n in part if self.nodes[n].ring is ring))
        for ident, together_now in stay.items():
            self.nodes[ident].end_ring(set(together_now), cut[ident])
        for part in parts:
            self.sequence += 4
            ring = Ring((min(part), self.sequence), tuple(sorted(part)))
            for ident in part:
                self.nodes[ident].new_ring(ring, stay[ident])

    def partition(self) -> None:
        """Rings drawn at random."""
        idents = list(self.nodes)
        self.rng.shuffle(idents)
        parts: list[tuple[int, ...]] = []
        while idents:
            size = self.rng.randint(1, len(idents))
            parts.append(tuple(idents[:size]))
            idents = idents[size:]
        self.form(*parts)

    def turn(self) -> None:
        """Give one part of one node a turn, drawn by chance."""
        node = self.nodes[self.rng.choice(list(self.nodes))]
        what = self.rng.random()
        if what < 0.30:
            node.deliver(self.rng.randint(1, 8))
        elif what < 0.45:
            node.submit(self.rng.randint(1, 5))
        elif what < 0.80:
            node.pump(self.rng.randint(1, 6))
        elif node.clients:
            self.rng.choice(node.clients).act(self.rng, node.gateway)

    def settle(self) -> None:
        """Stop the faults, form one ring of all, and run until nothing moves any more."""
        self.form(tuple(self.nodes))
        for _ in range(20_000):
            moved = False
            for node in self.nodes.values():
                moved |= node.deliver(50)
                moved |= node.submit(50)
                moved |= node.pump(20)
                for client in node.clients:
                    client.acknowledge(node.gateway)
                if node.log.reform_wanted:
                    self.form(tuple(self.nodes))
                    moved = True
            self.now_s += 1.0
            if not moved:
                return
        raise AssertionError("it does not come to rest")


def run(
    seed: int, nodes: int, turns: int, faults: float, after_turn: Callable[[World], None] = lambda _: None
) -> World:
    """A whole run: `faults` is the share of turns in which something breaks."""
    world = World(seed, nodes)
    world.form(*[(ident,) for ident in world.nodes])
    for node in world.nodes.values():
        for _ in range(2):
            node.new_client()
    for _ in range(turns):
        if world.rng.random() < faults:
            _break(world)
        world.turn()
        after_turn(world)
    world.settle()
    return world


def _break(world: World) -> None:
    rng: random.Random = world.rng
    node = world.nodes[rng.choice(list(world.nodes))]
    what: Any = rng.random()
    if what < 0.35:
        node.kill_cpg()
    elif what < 0.55:
        node.kill_gateway()
    elif what < 0.60:
        node.kill_cpg()
        node.kill_gateway()
    elif what < 0.68:
        others = tuple(ident for ident in world.nodes if ident != node.ident)
        if others:
            world.form(others, (node.ident,))
        node.kill_totem()
        world.form(*[(ident,) for ident in world.nodes] if not others else [others, (node.ident,)])
    elif what < 0.75 and len(node.clients) > 1:
        rng.choice(node.clients).die(node.gateway)
    elif what < 0.82:
        node.new_client()
    else:
        world.partition()
