"""How many messages a second a ring orders, in the simulator: with loss, and by different rules.

Each node is a processor that needs `CPU_NS` for each packet that it reads or sends, one after the other. A link takes
100 +- 50 µs and keeps its packets in order. Every link loses the same share of all packets, tokens included. All nodes
always have something to send. A rate counts the deliveries at one node, in virtual time. So the figures are the same on
every machine. They compare rules, not programs.

    make rates        python -m tests.simulation rates --messages 20000
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING, TextIO

from services.totem.ring.events import EVERYBODY, Message, SyncComplete, SyncStep
from services.totem.ring.options import RingOptions, consensus_ms, token_hold_ms, token_retransmit_ms
from services.totem.ring.ring import Ring
from services.totem.wire.frames import Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    Links = Callable[[int, int], tuple[int, int]]
    """(delay, jitter) of the link from one node to another, ns."""

CPU_NS = 5_000
DELAY_NS, JITTER_NS = 100_000, 50_000
LOSSES = (0.0, 0.001, 0.01, 0.05, 0.2)
SECOND_NS = 1_000_000_000
VIRTUAL_S_MAX = 120
"""How long a measurement lasts at most. A ring that nearly stands still does not deliver all messages in it."""
_QUEUED = 600
_KIND_AT = 3
_RECEIVE_BYTES = 2 << 20
"""The size of a receive buffer as Linux counts it: twice the 1 MiB that is asked for."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules that one column of the table compares."""

    name: str
    like_corosync: bool = False
    accelerated_window: int = 0
    wide_windows: bool = False


COLUMNS = (
    Rules("Corosync's rules", like_corosync=True),
    Rules("adaptive"),
    Rules("and accelerated", accelerated_window=10),
    Rules("and wide windows", accelerated_window=10, wide_windows=True),
)


class Node:
    """A ring on a processor of its own, with a socket for data and one for tokens."""

    def __init__(self, net: Net, node: int, options: RingOptions, size: int) -> None:
        self.net = net
        self.node = node
        self.ring = Ring(options, node, 0, net.now_ns, net.draw.randrange)
        self.ring.set_receive_bytes(_RECEIVE_BYTES)
        self.busy_until_ns = 0
        self.delivered = 0
        self.synced = False
        self._message = bytes(size)
        self._own = 0
        self._data: deque[bytes] = deque()
        self._tokens: deque[bytes] = deque()
        self._due_ns: int | None = None

    def start(self) -> None:
        self.ring.start(self.net.now_ns)
        self._settle(self.net.now_ns)

    def say(self) -> None:
        """A client of this node sends one message."""
        self._own += 1
        self.ring.submit(self._message, self.node)
        self._go_on()

    def fill(self) -> None:
        """The clients of this node begin to send all the time."""
        self._refill()
        self._go_on()

    def hear_of_death(self, node: int) -> None:
        """The host tells the ring that another node is certainly gone."""
        self.ring.member_dead(node, self.net.now_ns)
        self._go_on()

    def _go_on(self) -> None:
        self.ring.flush(self.net.now_ns)
        self._settle(max(self.net.now_ns, self.busy_until_ns))

    def arrive(self, frame: bytes) -> None:
        """A packet reaches a socket."""
        (self._tokens if frame[_KIND_AT] in (Kind.TOKEN, Kind.COMMIT) else self._data).append(frame)
        self._wake_at(max(self.net.now_ns, self.busy_until_ns))

    def _wake_at(self, at_ns: int) -> None:
        if self._due_ns is None or at_ns < self._due_ns:
            self._due_ns = at_ns
            self.net.call_at(at_ns, self._work)

    def _work(self) -> None:
        """One turn: timers that are due, or one packet."""
        now_ns = self.net.now_ns
        if self._due_ns is None or now_ns < self._due_ns or now_ns < self.busy_until_ns:
            return
        self._due_ns = None
        ring = self.ring
        deadline_ns = ring.next_deadline_ns()
        cost_ns = 0
        if deadline_ns is not None and deadline_ns <= now_ns:
            ring.advance(now_ns)
        elif self._data or self._tokens:
            token_next = bool(self._tokens) and (ring.token_first or not self._data)
            frame = (self._tokens if token_next else self._data).popleft()
            self._refill()
            ring.receive(frame, now_ns)
            cost_ns = CPU_NS
        self._settle(now_ns + cost_ns)

    def _refill(self) -> None:
        """Fill the ring's queue with messages of clients, if the net is saturated."""
        if self.net.saturated and self.synced and self._own < _QUEUED // 2:
            for _ in range(_QUEUED - self._own):
                self.ring.submit(self._message, self.node)
            self._own = _QUEUED

    def _settle(self, at_ns: int) -> None:
        """Carry out the ring's output. Each packet leaves when this processor has dealt with those before it."""
        ring, output = self.ring, self.ring.output
        while output.packets or output.events:
            events = output.take_events()
            for target, frame in output.take_packets():
                if target == self.node or (target == EVERYBODY and frame[_KIND_AT] != Kind.MCAST):
                    self.net.call_at(at_ns, lambda frame=frame: self.arrive(frame))  # type: ignore[misc]
                if target != self.node:
                    at_ns += CPU_NS
                    self.net.send(at_ns, self.node, target, frame)
            for event in events:
                if isinstance(event, Message):
                    self.delivered += 1
                    self._own -= event.tag is not None
                elif isinstance(event, SyncStep):
                    ring.sync_reply(event.ring, event.service, [])
                elif isinstance(event, SyncComplete):
                    self.synced = len(ring.members) == len(self.net.nodes)
                    self._refill()
                    ring.flush(at_ns)
        ring.input_drained(at_ns)
        self.busy_until_ns = at_ns
        if self._data or self._tokens:
            self._wake_at(at_ns)
        elif (deadline_ns := ring.next_deadline_ns()) is not None:
            self._wake_at(max(at_ns, deadline_ns))


def one_lan(_source: int, _target: int) -> tuple[int, int]:
    """All links are alike."""
    return DELAY_NS, JITTER_NS


class Net:
    """The nodes, their links, and time."""

    def __init__(
        self, nodes: int, options: RingOptions, size: int, loss: float, seed: int, links: Links = one_lan
    ) -> None:
        self.links = links
        self.saturated = True
        """Whether the clients of all nodes always have more to send."""
        self.draw = Random(f"rates {seed}")
        self.now_ns = 0
        self.loss = 0.0
        """Share of packets that each link loses. It is 0 while the ring forms, because that is not measured."""
        self._loss_later = loss
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self._last_ns: dict[tuple[int, int], int] = {}
        self.nodes = {node: Node(self, node, options, size) for node in range(1, nodes + 1)}

    def call_at(self, at_ns: int, action: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._heap, (at_ns, self._count, action))

    def send(self, at_ns: int, source: int, target: int, frame: bytes) -> None:
        """Put a packet on the link to its target. A packet for everybody goes onto all links of its sender."""
        draw = self.draw.random
        for node in self.nodes if target == EVERYBODY else (target,):
            if node == source or source not in self.nodes or (self.loss and draw() < self.loss):
                continue
            delay_ns, jitter_ns = self.links(source, node)
            arrival_ns = at_ns + delay_ns + int((2 * draw() - 1) * jitter_ns)
            arrival_ns = max(arrival_ns, self._last_ns.get((source, node), 0))
            self._last_ns[source, node] = arrival_ns
            self.call_at(arrival_ns, lambda node=node: self._arrive(node, frame))  # type: ignore[misc]

    def _arrive(self, node: int, frame: bytes) -> None:
        if node in self.nodes:
            self.nodes[node].arrive(frame)

    def run_until(self, done: Callable[[], bool], end_ns: int) -> None:
        """Let time pass until `done` is true, at most until `end_ns`."""
        while self._heap and self.now_ns < end_ns and not done():
            self.now_ns, _, action = heapq.heappop(self._heap)
            action()

    def form(self) -> None:
        """Start all nodes and wait until they are one ring."""
        for node in self.nodes.values():
            node.start()
        self.run_until(lambda: all(node.synced for node in self.nodes.values()), 60 * SECOND_NS)

    def rate(self, messages: int) -> float:
        """Messages a second that node 1 delivers, once the ring has formed and its queues are full."""
        self.form()
        first = self.nodes[1]
        self.loss = self._loss_later
        warm = first.delivered + messages // 10
        self.run_until(lambda: first.delivered >= warm, self.now_ns + VIRTUAL_S_MAX * SECOND_NS)
        began, began_ns = first.delivered, self.now_ns
        self.run_until(lambda: first.delivered >= began + messages, self.now_ns + VIRTUAL_S_MAX * SECOND_NS)
        return (first.delivered - began) * SECOND_NS / (self.now_ns - began_ns)


def measure(
    rules: Rules, loss: float, *, nodes: int = 3, size: int = 1024, messages: int = 20_000, seed: int = 1
) -> float:
    """Messages a second that a ring delivers by these rules. It has Corosync's default timers."""
    token_ms = 3000 + 650 * max(0, nodes - 2)
    retransmit_ms = token_retransmit_ms(token_ms)
    options = RingOptions(
        members=frozenset(range(1, nodes + 1)), token_timeout_ms=token_ms, token_retransmit_ms=retransmit_ms,
        token_hold_ms=token_hold_ms(retransmit_ms), consensus_timeout_ms=consensus_ms(token_ms),
    )  # fmt: skip
    options = replace(
        options, like_corosync=rules.like_corosync, accelerated_window=rules.accelerated_window,
        wide_windows=rules.wide_windows,
    )  # fmt: skip
    return Net(nodes, options, size, loss, seed).rate(messages)


def table(out: TextIO, *, nodes: int, size: int, messages: int, seed: int) -> None:
    """Print the table as Markdown. A cell has the messages a second and, if packets are lost, how much that is of the
    rate without loss."""
    out.write(f"{nodes} nodes, messages of {size} bytes\n\n")
    out.write("| loss on every link | " + " | ".join(rules.name for rules in COLUMNS) + " |\n")
    out.write("|---|" + "---|" * len(COLUMNS) + "\n")
    whole: dict[str, float] = {}
    for loss in LOSSES:
        cells = []
        for rules in COLUMNS:
            rate = measure(rules, loss, nodes=nodes, size=size, messages=messages, seed=seed)
            share = rate / whole.setdefault(rules.name, rate)
            cells.append(f"{rate:,.0f}" if loss == 0 else f"{rate:,.0f} ({share:.0%})")
        out.write(f"| {loss:.1%} | " + " | ".join(cells) + " |\n")
        out.flush()
