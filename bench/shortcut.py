"""What the gateway's two hops cost a message: the same client through the gateway, and on cpg's own socket.

    python -m bench.shortcut        # three nodes on 127.0.0.x, in turns: one at a time, and after 20 ms of nothing

On cpg's socket the client poses as the gateway of C programs, of which none runs here. That is what would be left of a
message's way if the gateway handed the connection of a client that it has admitted to cpg (SCM_RIGHTS). It is an upper
bound of the gain: cpg would do itself what it is spared here, the client's envelopes, its outbox, its connection.
"""

from __future__ import annotations

import argparse
import os
import select
import sys
import time
from collections.abc import Iterator
from typing import Protocol

from bench.lab.processes import cpu_seconds
from bench.statistics import percentile
from rondo.demo.cluster import DemoCluster, DemoNode
from rondo.ipc.local_dealer import LocalDealer
from rondo.node.process_watch import start_time_of
from rondo.node.supervision import processes
from rondo.paths import socket_endpoint
from rondo.protocol import client_gateway, events
from rondo.protocol import cpg_gateway as bus
from rondo.protocol.client_gateway import FROM_GATEWAY
from rondo.protocol.envelope import PROTOCOL_VERSION, unpack
from rondo.protocol.requests import Guarantee, Op, encode_requests

NODES = 3
SIZE = 64
IDLE_S = 0.02
WARM_UPS = 200
PAUSE_S = 0.1
NUMBER = 1 << bus.KIND_SHIFT | 1
"""Of the session on cpg's socket."""


class Client(Protocol):
    """One that sends itself messages."""

    def request(self, number: int, request: list[object]) -> None:
        """Send one request."""

    def taken(self) -> Iterator[tuple[int, bytes]]:
        """Batches of events, as they come: last position, events."""

    def acknowledge(self, position: int) -> None:
        """All up to there is handled."""


class Wire:
    """A DEALER's end that waits for what comes."""

    def __init__(self, node: DemoNode, name: str) -> None:
        self._dealer = LocalDealer(socket_endpoint(node.run_dir, name))
        self._poll = select.poll()
        self._poll.register(self._dealer.fileno(), select.POLLIN)

    def send(self, envelope: bytes) -> None:
        """Send it; there is room for the few that are under way."""
        self._dealer.send(envelope)

    def received(self) -> Iterator[bytes]:
        """What comes, for ever."""
        while True:
            self._poll.poll()
            yield from self._dealer.receive()


class ThroughGateway:
    """As docs/PROTOCOL-CLIENT.md has it."""

    def __init__(self, node: DemoNode) -> None:
        self._wire = Wire(node, "gateway.sock")
        self._received = self._wire.received()
        self._wire.send(client_gateway.encode(client_gateway.Kind.HELLO, 0, client_gateway.VERSION, 0, "bench", None))
        _, self._epoch, _ = client_gateway.decode(next(self._received), FROM_GATEWAY)

    def request(self, number: int, request: list[object]) -> None:
        """See `Client`."""
        blob = encode_requests([[number, *request]])
        self._wire.send(client_gateway.encode(client_gateway.Kind.REQUEST, self._epoch, number, number, blob))

    def taken(self) -> Iterator[tuple[int, bytes]]:
        """See `Client`."""
        for envelope in self._received:
            kind, _, fields = client_gateway.decode(envelope, FROM_GATEWAY)
            if kind == client_gateway.Kind.EVENTS:
                yield fields[1], fields[2]

    def acknowledge(self, position: int) -> None:
        """See `Client`."""
        self._wire.send(client_gateway.encode(client_gateway.Kind.ACK, self._epoch, position))


class OnCpg:
    """As docs/PROTOCOL.md, "Between cpg and the gateway", has it."""

    def __init__(self, node: DemoNode) -> None:
        self._wire = Wire(node, "cpg.sock")
        self._received = self._wire.received()
        pid = os.getpid()
        self._send(bus.GatewayHello(0, PROTOCOL_VERSION, pid, bus.GatewayKind.C_PROGRAMS))
        self._epoch = bus.decode(next(self._received)).epoch
        self._send(bus.Open(self._epoch, [[NUMBER, pid, start_time_of(pid) or 0, os.getuid(), 0, 0, b"", None]]))

    def _send(self, envelope: bus.Envelope) -> None:
        self._wire.send(bus.encode(envelope))

    def request(self, number: int, request: list[object]) -> None:
        """See `Client`."""
        self._send(bus.Request(self._epoch, [[NUMBER, number, number, encode_requests([[number, *request]])]]))

    def taken(self) -> Iterator[tuple[int, bytes]]:
        """See `Client`."""
        for frame in self._received:
            envelope = bus.decode(frame)
            if isinstance(envelope, bus.Events):
                for _, _, last, blob in envelope.events:
                    yield last, blob

    def acknowledge(self, position: int) -> None:
        """See `Client`."""
        self._send(bus.EventAck(self._epoch, [[NUMBER, position]]))


class Sender:
    """Sends messages to a group of its own, one at a time."""

    def __init__(self, client: Client, group: bytes) -> None:
        self._client, self._group = client, group
        self._taken = client.taken()
        self._number = 0
        self._ask([Op.JOIN, group], events.MEMBERSHIP)

    def _ask(self, request: list[object], until: int) -> None:
        self._number += 1
        self._client.request(self._number, request)
        for position, blob in self._taken:
            self._client.acknowledge(position)
            if any(event[1] == until for event in unpack(blob)):
                return

    def message_us(self) -> float:
        """How long one takes until it is delivered here."""
        began_ns = time.perf_counter_ns()
        self._ask([Op.MCAST, self._group, Guarantee.AGREED, bytes(SIZE)], events.MESSAGE)
        return (time.perf_counter_ns() - began_ns) / 1000


def sample_us(sender: Sender, count: int, idle_s: float) -> list[float]:
    """So many messages, each after a while of nothing; sorted."""
    time.sleep(PAUSE_S)
    found = []
    for _ in range(count):
        time.sleep(idle_s)
        found.append(sender.message_us())
    return sorted(found)


def processor_us(node: DemoNode) -> float:
    """Processor time of all processes of the node so far, from the scheduler's books."""
    return 1e6 * sum(cpu_seconds(each.pid) for each in processes.find(node.run_dir))


def compare(node: DemoNode, rounds: int, count: int) -> None:
    """In turns."""
    senders = {"through the gateway": Sender(ThroughGateway(node), b"a"), "on cpg's socket": Sender(OnCpg(node), b"b")}
    for sender in senders.values():
        for _ in range(WARM_UPS):
            sender.message_us()
    for what, idle_s, each_count in (("one at a time", 0.0, count), ("after 20 ms idle", IDLE_S, max(1, count // 10))):
        samples: dict[str, list[list[float]]] = {name: [] for name in senders}
        used_us = dict.fromkeys(senders, 0.0)
        for number in range(rounds):
            print(f"{what}: round {number + 1} of {rounds}", file=sys.stderr)
            for name, sender in senders.items():
                before_us = processor_us(node)
                samples[name].append(sample_us(sender, each_count, idle_s))
                used_us[name] += processor_us(node) - before_us
        for share in (50, 99):
            through, on_cpg = ([percentile(each, share) for each in samples[name]] for name in senders)
            ratios = sorted(short / long for short, long in zip(on_cpg, through, strict=True))
            print(
                f"{what}, p{share}: {percentile(sorted(through), 50):.0f} us through the gateway, "
                f"{percentile(sorted(on_cpg), 50):.0f} us on cpg's socket, "
                f"{percentile(ratios, 50):.2f} x ({ratios[0]:.2f} to {ratios[-1]:.2f})"
            )
        told = ", ".join(f"{used / rounds / each_count:.0f} us {name}" for name, used in used_us.items())
        print(f"{what}, processor time of the node for a message: {told}")


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.shortcut", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15, help="samples of each, in turns (default 15)")
    parser.add_argument("--count", type=int, default=400, help="messages of a sample (default 400; idle: a tenth)")
    options = parser.parse_args()
    with DemoCluster(NODES) as cluster:
        cluster.start()
        compare(cluster.nodes[1], options.rounds, options.count)


if __name__ == "__main__":
    main()
