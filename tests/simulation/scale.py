"""What a ring of many nodes costs, in the simulator: on a LAN, and over three data centres.

The model is that of `rates`: each node is a processor that needs 5 µs for each packet that it reads or sends. Figures
are in virtual time, so they are the same on every machine. They say how the costs of the protocol grow, not how fast a
program is. These are measured:

- the time to form a ring of nodes that start at once;
- messages a second that all deliver when all send, and the memory that one node's ring takes after that;
- the time until all have a message when nobody else sends: the median, and the longest of thirty;
- the time until the others are a ring again after a node fell silent, as when its cable is pulled;
- the same time after a node's process died and the others were told, as when its host answers "port unreachable";
- the longest packet of a change of membership. It has a part for each member, and must fit into a datagram.

    make scale        python -m tests.simulation scale --nodes 2,4,8
"""

from __future__ import annotations

import gc
import statistics
import sys
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, TextIO

from services.totem.ring.options import RingOptions, consensus_ms, token_hold_ms, token_retransmit_ms
from services.totem.wire.frames import Kind
from tests.simulation.rates import DELAY_NS, JITTER_NS, SECOND_NS, Net, one_lan

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.simulation.rates import Links

NODES = (2, 3, 5, 8, 16, 32, 64, 128)
SIZE_BYTES = 1024
SITES = 3
BETWEEN_NS, BETWEEN_JITTER_NS = 5_000_000, 500_000
"""Delay and jitter from one data centre to another: 10 ms there and back."""
SINGLES = 30
"""Messages that are sent one at a time."""
RATE_DELIVERIES = 60_000
"""Deliveries of all nodes together while a rate is measured. Each node delivers at least RATE_MESSAGES_MIN."""
RATE_MESSAGES_MIN = 2_000
LIMIT_NS = 600 * SECOND_NS
_MS = 1_000_000
_KIND_AT = 3


def three_sites(nodes: int) -> Links:
    """Links between nodes in three data centres. Neighbours in the ring share a data centre where they can, so the
    token goes from one data centre to another three times a rotation."""

    def links(source: int, target: int) -> tuple[int, int]:
        is_near = (source - 1) * SITES // nodes == (target - 1) * SITES // nodes
        return (DELAY_NS, JITTER_NS) if is_near else (BETWEEN_NS, BETWEEN_JITTER_NS)

    return links


MODELS: dict[str, Callable[[int], Links]] = {"LAN": lambda _: one_lan, "three data centres": three_sites}


def options_of(nodes: int) -> RingOptions:
    """The options of a ring of Rondo nodes. Its timers are those of a configuration that sets none."""
    token_ms = 3000 + 650 * max(0, nodes - 2)
    retransmit_ms = token_retransmit_ms(token_ms)
    return RingOptions(
        members=frozenset(range(1, nodes + 1)), token_timeout_ms=token_ms, token_retransmit_ms=retransmit_ms,
        token_hold_ms=token_hold_ms(retransmit_ms), consensus_timeout_ms=consensus_ms(token_ms),
        wide_windows=True, early_hold=True,
    )  # fmt: skip


class ScaleNet(Net):
    """A net whose nodes may die. It notes the longest packet of membership."""

    def __init__(self, nodes: int, links: Links, seed: int) -> None:
        super().__init__(nodes, options_of(nodes), SIZE_BYTES, 0.0, seed, links)
        self.saturated = False
        self.membership_bytes_max = 0
        """The size of the longest join or commit token so far."""

    def send(self, at_ns: int, source: int, target: int, frame: bytes) -> None:
        """Put a packet on its links."""
        if frame[_KIND_AT] in (Kind.JOIN, Kind.COMMIT):
            self.membership_bytes_max = max(self.membership_bytes_max, len(frame))
        super().send(at_ns, source, target, frame)

    def seconds_until(self, done: Callable[[], bool]) -> float:
        """How long it takes until `done` is true. Raises TimeoutError if that is longer than LIMIT_NS."""
        began_ns = self.now_ns
        self.run_until(done, began_ns + LIMIT_NS)
        if not done():
            raise TimeoutError(f"{len(self.nodes)} nodes: not within {LIMIT_NS // SECOND_NS} s")
        return (self.now_ns - began_ns) / SECOND_NS

    def single_ms(self) -> list[float]:
        """How long each of SINGLES messages takes until all nodes have it. Senders take turns, with pauses between the
        messages."""
        numbers = sorted(self.nodes)
        taken = []
        for turn in range(SINGLES):
            wanted = self.nodes[numbers[0]].delivered + 1
            self.nodes[numbers[turn * 7 % len(numbers)]].say()
            taken.append(1000 * self.seconds_until(lambda: all(n.delivered >= wanted for n in self.nodes.values())))  # noqa: B023
            pause_end_ns = self.now_ns + 50 * _MS
            self.call_at(pause_end_ns, lambda: None)
            self.run_until(lambda: self.now_ns >= pause_end_ns, pause_end_ns + 1)  # noqa: B023
        return taken

    def rate_at_all(self) -> float:
        """Messages a second that the slowest node delivers while all send."""
        self.saturated = True
        for node in self.nodes.values():
            node.fill()
        messages = max(RATE_MESSAGES_MIN, RATE_DELIVERIES // len(self.nodes))

        def lowest() -> int:
            return min(node.delivered for node in self.nodes.values())

        first = self.nodes[1]
        warm = first.delivered + messages // 4
        self.seconds_until(lambda: first.delivered >= warm)
        began = lowest()
        took_s = self.seconds_until(lambda: first.delivered >= warm + messages)
        return (lowest() - began) / took_s

    def seconds_without(self, node: int, *, is_told: bool) -> float:
        """Let this node die. Gives the time until the others are a ring. If `is_told`, their hosts tell them of the
        death."""
        del self.nodes[node]
        for other in self.nodes.values():
            other.synced = False
        if is_told:
            for other in self.nodes.values():
                other.hear_of_death(node)
        return self.seconds_until(lambda: all(other.synced for other in self.nodes.values()))


def bytes_of(root: object) -> int:
    """The memory that an object takes with everything to which it refers, except code."""
    seen: dict[int, Any] = {}
    open_objects = [root]
    while open_objects:
        each = open_objects.pop()
        if id(each) not in seen and not isinstance(each, type | ModuleType | FunctionType):
            seen[id(each)] = each
            open_objects.extend(gc.get_referents(each))
    return sum(map(sys.getsizeof, seen.values()))


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured of one ring."""

    nodes: int
    form_s: float
    rate: float
    single_ms: float
    single_max_ms: float
    silent_s: float
    told_s: float
    ring_mib: float
    """The memory of one node's ring, when the rate has been measured."""
    membership_bytes: int

    def row(self) -> str:
        """The figures as a line of the table."""
        return (
            f"| {self.nodes} | {self.form_s:.2f} s | {self.rate:,.0f} /s | {self.single_ms:.1f} ms "
            f"({self.single_max_ms:.1f}) | {self.silent_s:.1f} s | {self.told_s:.2f} s | {self.ring_mib:.1f} MiB "
            f"| {self.membership_bytes:,} |\n"
        )


HEAD = (
    "| nodes | to form | messages | one message: median (longest) | a silent node | a death that is told "
    "| a ring in memory | longest packet, bytes |\n|" + "---|" * 8 + "\n"
)


def measure(nodes: int, links: Links, seed: int = 1) -> Figures:
    """All figures of a ring of this many nodes, at least two. Raises TimeoutError."""
    told = ScaleNet(nodes, links, seed)
    told.form()
    told_s = told.seconds_without(nodes, is_told=True)
    net = ScaleNet(nodes, links, seed)
    net.form()
    form_s = net.now_ns / SECOND_NS
    singles_ms = net.single_ms()
    rate = net.rate_at_all()
    ring_mib = bytes_of(net.nodes[1].ring) / (1 << 20)
    net.saturated = False
    silent_s = net.seconds_without(nodes, is_told=False)
    return Figures(
        nodes, form_s, rate, statistics.median(singles_ms), max(singles_ms), silent_s, told_s, ring_mib,
        max(net.membership_bytes_max, told.membership_bytes_max),
    )  # fmt: skip


def table(out: TextIO, nodes: Sequence[int] = NODES, seed: int = 1) -> None:
    """Print a table for each model, as Markdown. A line is printed as soon as it is measured."""
    for name, links in MODELS.items():
        out.write(f"\n{name}:\n\n{HEAD}")
        for count in nodes:
            out.write(measure(count, links(count), seed).row())
            out.flush()
