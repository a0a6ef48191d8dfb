"""What a ring of many nodes costs, in the simulator: on a LAN, and over three data centres.

The model is that of `rates`: each node is a processor that needs 5 µs for a packet that it reads or sends, and figures
are in virtual time, the same on every machine. They say how the protocol grows, not how fast a program is. Measured
are:

- the time to form a ring of nodes that start at once;
- messages a second that all deliver when all send, and what one ring then has in memory;
- the time until all have a message when nobody else sends: median, and the longest of thirty;
- how long it takes until the others are a ring again, after a node fell silent (its cable), and after one died of which
  the others are told (its process: the host answers "port unreachable");
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
"""One way between two data centres: 10 ms there and back."""
SINGLES = 30
"""Messages that are sent one at a time."""
RATE_DELIVERIES = 60_000
"""Deliveries of all nodes together for a rate; but each node delivers as many messages as this at least: """
RATE_MESSAGES_MIN = 2_000
LIMIT_NS = 600 * SECOND_NS
_MS = 1_000_000
_KIND_AT = 3


def three_sites(nodes: int) -> Links:
    """The nodes in three data centres. Neighbours of the ring are together, so a rotation crosses three times."""

    def links(source: int, target: int) -> tuple[int, int]:
        is_near = (source - 1) * SITES // nodes == (target - 1) * SITES // nodes
        return (DELAY_NS, JITTER_NS) if is_near else (BETWEEN_NS, BETWEEN_JITTER_NS)

    return links


MODELS: dict[str, Callable[[int], Links]] = {"LAN": lambda _: one_lan, "three data centres": three_sites}


def options_of(nodes: int) -> RingOptions:
    """A ring of Rondo nodes, with the timers that a configuration without timers gives."""
    token_ms = 3000 + 650 * max(0, nodes - 2)
    retransmit_ms = token_retransmit_ms(token_ms)
    return RingOptions(
        members=frozenset(range(1, nodes + 1)), token_timeout_ms=token_ms, token_retransmit_ms=retransmit_ms,
        token_hold_ms=token_hold_ms(retransmit_ms), consensus_timeout_ms=consensus_ms(token_ms),
        wide_windows=True, early_hold=True,
    )  # fmt: skip


class ScaleNet(Net):
    """A net that notes the longest packets of membership, and whose nodes may die."""

    def __init__(self, nodes: int, links: Links, seed: int) -> None:
        super().__init__(nodes, options_of(nodes), SIZE_BYTES, 0.0, seed, links)
        self.saturated = False
        self.membership_bytes_max = 0
        """Of joins and commit tokens."""

    def send(self, at_ns: int, source: int, target: int, frame: bytes) -> None:
        """Put a packet on its links."""
        if frame[_KIND_AT] in (Kind.JOIN, Kind.COMMIT):
            self.membership_bytes_max = max(self.membership_bytes_max, len(frame))
        super().send(at_ns, source, target, frame)

    def seconds_until(self, done: Callable[[], bool]) -> float:
        """How long it takes. Raises TimeoutError if it takes too long."""
        began_ns = self.now_ns
        self.run_until(done, began_ns + LIMIT_NS)
        if not done():
            raise TimeoutError(f"{len(self.nodes)} nodes: not within {LIMIT_NS // SECOND_NS} s")
        return (self.now_ns - began_ns) / SECOND_NS

    def single_ms(self) -> list[float]:
        """How long one message takes until all nodes have it; senders take turns, with pauses between messages."""
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
        """How long it takes until the others are a ring, after this node has died."""
        del self.nodes[node]
        for other in self.nodes.values():
            other.synced = False
        if is_told:
            for other in self.nodes.values():
                other.hear_of_death(node)
        return self.seconds_until(lambda: all(other.synced for other in self.nodes.values()))


def bytes_of(root: object) -> int:
    """What an object and all that it leads to take in memory, code apart."""
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
    """One ring."""

    nodes: int
    form_s: float
    rate: float
    single_ms: float
    single_max_ms: float
    silent_s: float
    told_s: float
    ring_mib: float
    """One node's ring, at the end of the rate."""
    membership_bytes: int

    def row(self) -> str:
        """As a line of a table."""
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
    """All figures of a ring of so many nodes, two at least. Raises TimeoutError."""
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
    """Print a table for each model, as Markdown, a line as soon as it is known."""
    for name, links in MODELS.items():
        out.write(f"\n{name}:\n\n{HEAD}")
        for count in nodes:
            out.write(measure(count, links(count), seed).row())
            out.flush()
