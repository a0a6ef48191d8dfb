"""Forgeries at real totem processes without packet security: they may disturb the ring, but not for long.

Somebody who may send from a member's address and knows the live ring sends well-formed forgeries of all kinds to all
three nodes. What he cannot see from outside, as token_seq and sequence numbers, he guesses: near where an idle ring is.
The simulator's floods (`make forgeries`) know those too, and hold the bound of a second on many seeds; here it is the
processes, sockets, log and memory that are looked at.
"""

from __future__ import annotations

import random
import socket
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
import zmq

from rondo.testing.lab.totem_nodes import TotemNode, eventually, totem_ring
from services.totem.wire.base import RingId
from tests.cluster.cpg_side import CpgSide, executive, serve_until
from tests.ports import reserve_port
from tests.simulation.forger import Forger, Knowledge

NODES = (1, 2, 3)
TOKEN_MS = 8000
"""Long, so that a ring that waited for a time-out is told from one on a busy machine."""
FLOOD_SECONDS = 3.0
PACKETS_PER_SECOND = 600
LOOK_SECONDS = 0.1
PROBE_SECONDS = 0.05
WATCH_SECONDS = 6.0
DATAGRAM_MAX = 65_507
BACK_WITHIN_SECONDS = 5.0
"""A second is required and holds on a machine with time for it (and in the simulator: `make forgeries`)."""
LINES_MAX = 600


class Client(CpgSide):
    """Sends probes, and notes when those of all come."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], node: TotemNode) -> None:
        super().__init__(context, node.run_dir, executive(b""))
        self.acknowledges = True
        self.node = node.node
        self.request = 0
        self.seen: dict[bytes, float] = {}

    def probe(self) -> bytes:
        """Send one more."""
        self.request += 1
        payload = b"probe %d from %d" % (self.request, self.node)
        self.submit(7, self.request, payload)
        return payload

    def serve(self, wait_ms: int) -> None:
        """Handle what comes, keep nothing but the probes, and let totem forget it too."""
        super().serve(wait_ms)
        now = time.monotonic()
        for payload in self.payloads():
            if payload.startswith(b"probe "):
                self.seen.setdefault(payload, now)
        if self.entries:
            self.entries.clear()


class Flood:
    """Forgeries from a member's address to all nodes, at a steady pace, from what the nodes say of their ring."""

    def __init__(self, nodes: list[TotemNode], port: int, seed: int) -> None:
        self.nodes = nodes
        self.port = port
        self.random = random.Random(seed)
        self.forger = Forger(NODES, self.random)
        self.known: dict[int, RingId] = {}
        self.sent = 0
        self._looked_at = 0.0

    def strike(self, out: socket.socket) -> None:
        """One forgery for one of the nodes."""
        now = time.monotonic()
        if now - self._looked_at > LOOK_SECONDS:
            self._looked_at = now
            for node in self.nodes:
                status = node.status()
                if status is not None and status["ring"]:
                    self.known[node.node] = RingId(**status["ring"])
        victim = self.random.choice(list(self.known))
        ring, guess = self.known[victim], self.random.randrange
        high = guess(60)
        knowledge = Knowledge(ring, ring, NODES, guess(300), high, guess(high + 1), high, ring.sequence, NODES)
        forgery = self.forger.forge(victim, knowledge)
        if len(forgery) <= DATAGRAM_MAX:
            out.sendto(forgery, (f"127.0.0.{victim}", self.port))
            self.sent += 1


def rounds_until_all_came(rounds: list[list[bytes]], clients: list[Client]) -> float | None:
    """When the first round was delivered everywhere from which on all are; None if the last one was not."""
    first = None
    for probes in reversed(rounds):
        times = [client.seen.get(probe) for client in clients for probe in probes]
        if any(each is None for each in times):
            break
        first = max(each for each in times if each is not None)
    return first


@pytest.mark.parametrize("seed", [1])
@pytest.mark.slow
def test_forgeries_disturb_a_ring_no_longer_than_they_are_sent(tmp_path: Path, seed: int) -> None:
    with ExitStack() as stack:
        port = reserve_port(stack)
        nodes = totem_ring(stack, tmp_path, port, token_ms=TOKEN_MS)
        for node in nodes:
            node.start()
        for node in nodes:
            assert eventually(lambda node=node: node.is_in_ring_of(*NODES)), node.lines()  # type: ignore[misc]
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        stack.callback(context.term)
        clients = [Client(context, node) for node in nodes]
        for client in clients:
            stack.callback(client.socket.close)
        assert serve_until(lambda: all(client.welcome is not None for client in clients), *clients)
        before = [client.probe() for client in clients]
        assert serve_until(lambda: all(client.seen.keys() >= set(before) for client in clients), *clients)

        memory_kib = [node.resident_kib() for node in nodes]
        out = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        out.bind(("127.0.0.2", 0))
        flood = Flood(nodes, port, seed)
        rings = [(node.status() or {})["counters"]["gather_entered"] for node in nodes]
        began = time.monotonic()
        while (now := time.monotonic()) < began + FLOOD_SECONDS:
            while flood.sent < (now - began) * PACKETS_PER_SECOND:
                flood.strike(out)
            for client in clients:
                client.serve(1)

        ended = time.monotonic()
        rounds: list[list[bytes]] = []
        while (now := time.monotonic()) < ended + WATCH_SECONDS:
            if now >= ended + len(rounds) * PROBE_SECONDS:
                rounds.append([client.probe() for client in clients])
            for client in clients:
                client.serve(1)
        serve_until(lambda: all(set(rounds[-1]) <= client.seen.keys() for client in clients), *clients)
        back = rounds_until_all_came(rounds, clients)
        lines = [len(node.lines()) for node in nodes]
        gathered = [(node.status() or {})["counters"]["gather_entered"] for node in nodes]
        grown_kib = [node.resident_kib() - kib for node, kib in zip(nodes, memory_kib, strict=True)]
        print(
            f"{flood.sent} forgeries; Gather entered {[b - a for a, b in zip(rings, gathered, strict=True)]} times; "
            f"deliveries back after {None if back is None else back - ended} s; lines {lines}; grown {grown_kib} KiB"
        )
        assert back is not None
        assert back - ended < BACK_WITHIN_SECONDS
        assert all(now > then for now, then in zip(gathered, rings, strict=True)), "it was disturbed"
        assert max(lines) < LINES_MAX, nodes[0].lines()
        assert max(grown_kib) < 64 << 10
        assert not any("Traceback" in line for node in nodes for line in node.lines())
        for node in nodes:
            assert eventually(lambda node=node: node.is_in_ring_of(*NODES)), node.lines()  # type: ignore[misc]
