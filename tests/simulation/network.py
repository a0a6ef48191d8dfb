"""The simulated network: a link from each node to each other node, and the faults of these links.

A link without faults keeps the order of its packets, as a LAN does. Faults are attributes of `Network`. The world's
operations set them, and `calm` clears them. There are blocked links (partitions, one-way failures), random loss,
duplication and reordering, and slow links. A `Rule` drops or delays chosen packets, such as the next commit token or
all mcasts to one node.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from services.totem.wire.frames import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from random import Random

Path = tuple[int, int, int]
"""(source, target, number of the link between them)."""

_KIND_AT = 3
KIND_OF_BYTE = tuple(Kind)


class Sealed(bytes):
    """A sealed datagram. Its bytes do not show which kind of frame it holds, so kind and sender are attributes."""

    kind: int
    source: int
    forged: bool
    """Whether the attacker made it."""

    @classmethod
    def of(cls, content: bytes, kind: int, source: int, *, forged: bool = False) -> Sealed:
        """A datagram that holds a frame of this kind. `source` is its sender, or the node that a forgery names."""
        made = cls(content)
        made.kind, made.source, made.forged = kind, source, forged
        return made


class OnLink(Sealed):
    """A datagram on one of several links between two nodes (knet). Its kind is -1 if it holds no frame of the ring."""

    link: int

    @classmethod
    def on(cls, content: bytes, kind: int, source: int, link: int) -> OnLink:
        """A datagram that this node sends on this link."""
        made = cls(content)
        made.kind, made.source, made.forged, made.link = kind, source, False, link
        return made


def kind_of(data: bytes) -> int:
    """The kind of frame that a datagram holds; -1 if it holds none."""
    if isinstance(data, Sealed):
        return data.kind
    return data[_KIND_AT] if len(data) > _KIND_AT else -1


@dataclass(slots=True)
class Rule:
    """Drops or delays the packets that match it. A field that is None matches every packet."""

    kind: Kind | None = None
    source: int | None = None
    target: int | None = None
    count: int | None = None
    """To how many more packets the rule applies. None: to all, until it is removed."""
    delay_ns: int | None = None
    """None drops the packet."""
    matching: Callable[[bytes], bool] | None = None
    hits: int = 0

    def applies(self, source: int, target: int, data: bytes) -> bool:
        """Whether the rule applies to this packet. If it does, the packet is counted."""
        if self.count == 0 or (self.kind is not None and kind_of(data) != self.kind):
            return False
        if (self.source is not None and source != self.source) or (self.target is not None and target != self.target):
            return False
        if self.matching is not None and not self.matching(data):
            return False
        self.hits += 1
        if self.count is not None:
            self.count -= 1
        return True


@dataclass(slots=True)
class Network:
    """All links. `deliver(at_ns, target, data)` is called when a packet is sent. The packet arrives at `at_ns`."""

    random: Random
    deliver: Callable[[int, int, bytes], None]
    delay_ns: int = 200_000
    """The time that a packet takes at least."""
    jitter_ns: int = 50_000
    loss: float = 0.0
    duplication: float = 0.0
    reordering: float = 0.0
    reorder_ns: int = 5_000_000
    """How much later a reordered or duplicated packet may come."""
    slow_ns: dict[tuple[int, int], int] = field(default_factory=dict)
    """Extra delay of some links."""
    rules: list[Rule] = field(default_factory=list)
    blocked: set[tuple[int, int]] = field(default_factory=set)
    late_until_ns: int | None = None
    """When the faults of a plan end. No fault makes a packet arrive later than this."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Packets that were lost by a fault, by kind. OTHER: those that held no frame of the ring."""
    sent: int = 0
    _last_arrival_ns: dict[Path, int] = field(default_factory=dict)
    _link_delay_ns: dict[Path, int] = field(default_factory=dict)

    def send(self, now_ns: int, source: int, target: int, data: bytes, number: int = 0, slow_ns: int = 0) -> None:
        """Put a packet on the link from `source` to `target`. `number` tells which link, where there are several.
        Faults of this network are faults of all these links. `slow_ns` is an extra delay of this one."""
        self.sent += 1
        link = (source, target)
        if link in self.blocked:
            self._drop(data)
            return
        path = (source, target, number)
        extra_ns = slow_ns + self.slow_ns.get(link, 0) if self.slow_ns else slow_ns
        for rule in self.rules:
            if rule.applies(source, target, data):
                if rule.delay_ns is None:
                    self._drop(data)
                    return
                extra_ns += rule.delay_ns
        draw = self.random.random
        if self.loss and draw() < self.loss:
            self._drop(data)
            return
        arrival_ns = now_ns + self._delay(path) + int(draw() * self.jitter_ns)
        if self.duplication and draw() < self.duplication:
            self._arrive_late(arrival_ns, int(draw() * self.reorder_ns), target, data)
        if self.reordering and draw() < self.reordering:
            self._arrive_late(arrival_ns, int(draw() * self.reorder_ns), target, data)
        elif extra_ns:
            self._arrive_late(arrival_ns, extra_ns, target, data)
        else:
            arrival_ns = max(arrival_ns, self._last_arrival_ns.get(path, 0))
            self._last_arrival_ns[path] = arrival_ns
            self.deliver(arrival_ns, target, data)

    def _arrive_late(self, due_ns: int, extra_ns: int, target: int, data: bytes) -> None:
        """Deliver a packet that a fault makes late, but not later than the end of all faults."""
        at_ns = due_ns + extra_ns
        if self.late_until_ns is not None and at_ns > self.late_until_ns:
            at_ns = max(due_ns, self.late_until_ns)
        self.deliver(at_ns, target, data)

    def _delay(self, path: Path) -> int:
        """A link's own delay: between 1 and 1.5 times the network's, fixed for the run."""
        delay_ns = self._link_delay_ns.get(path)
        if delay_ns is None:
            delay_ns = self._link_delay_ns[path] = self.delay_ns + int(self.random.random() * self.delay_ns / 2)
        return delay_ns

    def _drop(self, data: bytes) -> None:
        kind = kind_of(data)
        self.dropped[KIND_OF_BYTE[kind].name if kind >= 0 else "OTHER"] += 1

    def partition(self, groups: Iterable[Iterable[int]]) -> None:
        """Cut all links between the groups. Links that are blocked already stay blocked."""
        sides = [tuple(group) for group in groups]
        for i, side in enumerate(sides):
            for other in sides[i + 1 :]:
                for a in side:
                    for b in other:
                        self.blocked |= {(a, b), (b, a)}

    def calm(self) -> None:
        """End all faults."""
        self.loss = self.duplication = self.reordering = 0.0
        self.slow_ns.clear()
        self.rules.clear()
        self.blocked.clear()
