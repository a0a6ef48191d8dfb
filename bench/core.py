"""The parts of Rondo by themselves, in one thread: no root, no network, no processes, no C.

    python -m bench.core [--seconds 0.3] [--json]

    ring        three rings over queues in memory: messages per second that one of them sends and all three deliver
    ring gcm    the same with sealed packets, aes256-gcm; ring cbc: aes256 and sha256
    ring secret the same with aes256-gcm, and forward secret
    form        rings of so many nodes formed from nothing, their sync included; form gcm, form secret: as above
    packing     messages into packets, and out of them
    bus         messages through the ordered log: from the ring, in an envelope, taken apart, acknowledged
    cpg         messages of one client through cpg and the log and back: requests in, events out
    gcm         packets of security's default suite, sealed and opened

Each figure is the best of five rounds, per second of this thread's processor time. Rates of the ring are those of all
three nodes together in one thread: a node of its own has about three times as much time for each message.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from bench.security import measure as measure_security
from rondo.protocol import cpg_gateway as bus
from rondo.protocol import totem_reader
from rondo.protocol.batch import encode_body
from rondo.protocol.envelope import PROTOCOL_VERSION
from rondo.protocol.requests import Guarantee, Op, encode_requests
from services.cpg.clients import Options
from services.cpg.machine import Machine
from services.totem.ordered_log import OrderedLog
from services.totem.ring.events import EVERYBODY, Message, SyncStep
from services.totem.ring.options import RingOptions
from services.totem.ring.packing import Packer
from services.totem.ring.ring import Ring
from services.totem.security.agreement import Agreement
from services.totem.security.envelope import MAGIC
from services.totem.security.packets import PacketSecurity
from services.totem.security.suites import SUITES, Suite
from services.totem.wire.frames import Kind
from services.totem.wire.packets import decode_packet

ROUNDS = 5
SIZES = (64, 1024, 16384)
NODES = (1, 2, 3)
FORMED = (2, 3, 16)
STEP_NS = 1_000
KIND_AT = 3
SEALED = bytes([MAGIC])
KEY = bytes(range(256))
RING = (1, 4)
SESSION = 7
GROUP = b"bench"
LOG_BYTES_MAX = 64 << 20


class RingOfThree:
    """Three rings, or more, whose packets go from queue to queue. Time is virtual: it passes with every packet."""

    def __init__(self, nodes: Sequence[int] = NODES) -> None:
        members = tuple(nodes)
        options = RingOptions(members=frozenset(members))
        self.now_ns = 0
        self.rings = {node: Ring(options, node, 0, 0, lambda _limit: 0, keeper=self.keeper(node)) for node in members}
        self._queues: dict[int, deque[bytes]] = {node: deque() for node in members}
        self.delivered = dict.fromkeys(members, 0)
        for node, ring in self.rings.items():
            ring.start(0)
            self._settle(node)
        while any(ring.syncing or ring.members != members for ring in self.rings.values()):
            self.turn()

    def keeper(self, _node: int) -> Agreement | None:
        """What makes the secrets of a node's rings."""
        return None

    def _settle(self, node: int) -> None:
        ring = self.rings[node]
        while ring.output.packets or ring.output.events:
            for destination, datagram in ring.output.take_packets():
                self.put(node, destination, datagram)
            for event in ring.output.take_events():
                if type(event) is Message:
                    self.delivered[node] += 1
                elif type(event) is SyncStep:
                    ring.sync_reply(event.ring, event.service, [])

    def put(self, node: int, destination: int, frame: bytes) -> None:
        """A packet leaves a node."""
        if destination != EVERYBODY:
            self._queues[destination].append(frame)
            return
        for other, queue in self._queues.items():
            # Mcasts alone do not come back to their sender.
            if other != node or frame[KIND_AT] != Kind.MCAST:
                queue.append(frame)

    def receive(self, node: int, datagram: bytes) -> None:
        """A packet comes to a node."""
        self.rings[node].receive(datagram, self.now_ns)
        self._settle(node)

    def turn(self) -> None:
        """Everything that waits is received; if nothing does, time passes until the next timer."""
        waited = True
        for node, queue in self._queues.items():
            while queue:
                waited = False
                self.now_ns += STEP_NS
                self.receive(node, queue.popleft())
        if waited:
            self.now_ns = max(self.now_ns, min(ring.next_deadline_ns() or 0 for ring in self.rings.values()))
        for node, ring in self.rings.items():
            if (ring.next_deadline_ns() or self.now_ns + 1) <= self.now_ns:
                ring.advance(self.now_ns)
                self._settle(node)

    def send(self, data: bytes, count: int) -> None:
        """Node 1 sends so many messages; returns when all three have delivered them."""
        ring = self.rings[1]
        wanted = {node: delivered + count for node, delivered in self.delivered.items()}
        while self.delivered != wanted:
            while count and ring.submit_space() > 0:
                ring.submit(data)
                count -= 1
            ring.flush(self.now_ns)
            self._settle(1)
            self.turn()


class SealedRingOfThree(RingOfThree):
    """The same with packets that are sealed once and opened by each receiver. What a node sends to itself is not."""

    def __init__(self, suite: Suite, nodes: Sequence[int] = NODES, *, secret: bool = False) -> None:
        draw_secret = functools.partial(os.urandom, 32) if secret else None
        self._security = {
            node: PacketSecurity(
                suite, KEY, "bench", node, frozenset(nodes), bytes([node]) * 16, lambda: bytes(16), draw_secret
            )
            for node in nodes
        }
        super().__init__(nodes)

    def keeper(self, node: int) -> Agreement | None:
        return self._security[node].agreement

    def put(self, node: int, destination: int, frame: bytes) -> None:
        """Seal it, unless it is for the node itself."""
        security = self._security[node]
        if destination == node:
            self._queues[node].append(frame)
        elif destination != EVERYBODY:
            self._queues[destination].append(security.seal_for(destination, frame))
        else:
            sealed = security.seal(frame)
            for other, queue in self._queues.items():
                if other != node:
                    queue.append(sealed)
                elif frame[KIND_AT] != Kind.MCAST:
                    queue.append(frame)

    def receive(self, node: int, datagram: bytes) -> None:
        """Open it, unless it is from the node itself."""
        if datagram[:1] != SEALED:
            super().receive(node, datagram)
            return
        security = self._security[node]
        frame = security.open(datagram, "", self.now_ns)
        if frame is not None:
            super().receive(node, frame)
            return
        for reply in security.take_replies():
            self._queues[reply.node].append(reply.datagram)
        for waited, _ in security.take_released():
            super().receive(node, waited)


class GroupPath:
    """A log and a cpg, with one client that is a member of a group, and a ring of one node between them."""

    def __init__(self) -> None:
        self.log = OrderedLog(1, 1, pid=1, bytes_max=LOG_BYTES_MAX)
        self.machine = Machine(Options(1 << 20, LOG_BYTES_MAX // 2, LOG_BYTES_MAX), pid=2)
        self.epoch = self.position = self.envelopes = 0
        self._request = 1
        self._now_s = 0.0
        self.machine.hello()
        self.pump()
        self.log.regular(RING, (1,), (1,), ())
        self.log.sync_step(RING)
        self.pump()
        self.log.sync_activate(RING)
        self.log.sync_complete(RING)
        self._tell(bus.GatewayHello(0, PROTOCOL_VERSION, 3, bus.GatewayKind.CLIENTS))
        self._tell(bus.Open(self.epoch, [[SESSION, 77, 88, 0, 0, 0, b"secret", None]]))
        self._tell(bus.Request(self.epoch, [[SESSION, 1, 1, encode_requests([[1, int(Op.JOIN), GROUP]])]]))

    def _tell(self, envelope: bus.Envelope) -> None:
        self.machine.clients.receive(b"gateway", bus.encode(envelope))
        self.pump()

    def pump(self) -> None:
        """Move everything until nothing moves."""
        log, machine = self.log, self.machine
        moved = True
        while moved:
            moved = False
            self._now_s += 0.001
            machine.flush(self._now_s)
            while machine.to_totem:
                moved = True
                log.receive(machine.to_totem.popleft())
            while (message := log.next_message()) is not None:
                moved = True
                log.message(1, message.data, False, message.tag)
            for ring, messages in log.take_sync_replies():
                assert ring == RING
                for message_data in messages:
                    log.message(1, message_data, False, None)
                moved = True
            while (frame := log.next_frame()) is not None:
                moved = True
                machine.receive_totem(frame)
            while machine.clients.frames:
                moved = True
                self._hear(machine.clients.frames.popleft()[1])

    def _hear(self, frame: bytes) -> None:
        envelope = bus.decode(frame)
        if isinstance(envelope, bus.CpgWelcome):
            self.epoch = envelope.epoch
        elif isinstance(envelope, bus.Events):
            self.envelopes += 1
            for _, _, last, _ in envelope.events:
                self.position = last

    def send(self, payloads: Sequence[bytes]) -> None:
        """One envelope of multicasts, as the client's library makes them; what comes of it is acknowledged."""
        first = self._request + 1
        self._request += len(payloads)
        batch = [first, int(Op.BATCH), GROUP, int(Guarantee.AGREED), encode_body(list(payloads))]
        before = self.position
        self._tell(bus.Request(self.epoch, [[SESSION, first, self._request, encode_requests([batch])]]))
        assert self.position > before
        self._tell(bus.EventAck(self.epoch, [[SESSION, self.position]]))


def best(call: Callable[[], int], seconds: float) -> float:
    """How many per second of processor time `call`, which returns how many it did, does in the best round."""
    rates = []
    for _ in range(ROUNDS):
        done = spent_ns = 0
        while spent_ns < seconds * 1e9 / ROUNDS:
            began_ns = time.thread_time_ns()
            done += call()
            spent_ns += time.thread_time_ns() - began_ns
        rates.append(done / spent_ns * 1e9)
    return max(rates)


def ring_rate(size: int, seconds: float, suite: Suite | None = None, *, secret: bool = False) -> float:
    """Messages per second that node 1 of three sends."""
    three = RingOfThree() if suite is None else SealedRingOfThree(suite, secret=secret)
    data, count = bytes(size), max(20, 200_000 // size)

    def call() -> int:
        three.send(data, count)
        return count

    return best(call, seconds)


def form_rate(nodes: int, seconds: float, suite: Suite | None = None, *, secret: bool = False) -> float:
    """Rings of so many nodes per second."""
    members = range(1, nodes + 1)

    def call() -> int:
        if suite is None:
            RingOfThree(members)
        else:
            SealedRingOfThree(suite, members, secret=secret)
        return 1

    return best(call, seconds)


def packing_rate(size: int, seconds: float) -> float:
    """Messages per second into packets and out of them."""
    packer, data = Packer(RingOptions().packet_size_max), bytes(size)
    count = max(20, 200_000 // size)

    def call() -> int:
        for _ in range(count):
            packer.add(data, None)
        while (taken := packer.take()) is not None:
            decode_packet(taken[0])
        return count

    return best(call, seconds)


def bus_rate(size: int, seconds: float) -> float:
    """Messages per second from the ring into the log, out of it in envelopes, and taken apart."""
    log, data, count = OrderedLog(1, 1, pid=1, bytes_max=LOG_BYTES_MAX), bytes(size), max(20, 200_000 // size)
    log.receive(totem_reader.encode(totem_reader.Hello(0, PROTOCOL_VERSION, 2)))
    log.regular(RING, (1,), (1,), ())

    def call() -> int:
        for _ in range(count):
            log.message(1, data, False, None)
        while (frame := log.next_frame()) is not None:
            totem_reader.decode(frame)
        log.receive(totem_reader.encode(totem_reader.Ack(log.epoch, log.head, b"core", b"sessions", [], [])))
        return count

    return best(call, seconds)


def cpg_rate(size: int, seconds: float) -> float:
    """Messages per second of one client, in batches of about 64 KiB."""
    path, payloads = GroupPath(), [bytes(size)] * max(1, min(1000, (64 << 10) // size))

    def call() -> int:
        path.send(payloads)
        return len(payloads)

    return best(call, seconds)


def measurements(seconds: float) -> Iterator[dict[str, object]]:
    """All rows, one by one."""
    gcm = SUITES["aes256-gcm", "none"]
    suites = (("ring gcm", gcm), ("ring cbc", SUITES["aes256", "sha256"]))
    rates: list[tuple[str, Callable[[int, float], float]]] = [("ring", ring_rate)]
    rates += [(name, functools.partial(ring_rate, suite=suite)) for name, suite in suites]
    rates += [("ring secret", functools.partial(ring_rate, suite=gcm, secret=True))]
    rates += [("packing", packing_rate), ("bus", bus_rate), ("cpg", cpg_rate)]
    for name, rate in rates:
        for size in SIZES:
            yield {"part": name, "size": size, "messages_per_second": round(rate(size, seconds))}
    for name, suite, secret in (("form", None, False), ("form gcm", gcm, False), ("form secret", gcm, True)):
        for nodes in FORMED:
            rate_of_rings = round(form_rate(nodes, seconds, suite, secret=secret), 1)
            yield {"part": name, "size": nodes, "messages_per_second": rate_of_rings}
    (default,) = (suite for suite in SUITES.values() if suite.name == "aes256-gcm")
    for size in (64, 1354, 60000):
        row = measure_security(default, size, seconds)
        for what in ("seal", "open"):
            microseconds = float(str(row[f"{what}_us"]))
            yield {"part": f"gcm {what}", "size": size, "messages_per_second": round(1e6 / microseconds)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.3, help="time for each number (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON list")
    options = parser.parse_args(arguments)
    if options.json:
        print(json.dumps(list(measurements(options.seconds))))
        return 0
    print(f"{'part':<12} {'bytes':>6} {'per second':>11} {'MB/s':>8}  (form: nodes, rings per second)")
    for row in measurements(options.seconds):
        size, rate = int(str(row["size"])), float(str(row["messages_per_second"]))
        megabytes = "" if str(row["part"]).startswith("form") else f"{rate * size / 1e6:.1f}"
        print(f"{row['part']:<12} {size:>6} {rate:>11.0f} {megabytes:>8}", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
