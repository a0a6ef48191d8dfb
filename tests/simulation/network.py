"""The simulated network: a link from each node to each other, and what can go wrong on them.

A sound link keeps the order of its packets, as a LAN does. Faults are kept as plain attributes that the world's
operations set and `calm` clears: blocked links (partitions, one-way failures), random loss, duplication and reordering,
slow links, and `Rule`s that drop or delay chosen packets (the next commit token, all mcasts to one node ...).
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
"""From a node to a node, and which of the links between them."""

_KIND_AT = 3
KIND_OF_BYTE = tuple(Kind)


class Sealed(bytes):
    """A sealed datagram; what network and sockets would see of a plain one stands beside it."""

    kind: int
    source: int
    forged: bool
    """Made by the attacker."""

    @classmethod
    def of(cls, content: bytes, kind: int, source: int, *, forged: bool = False) -> Sealed:
        """A datagram that holds a frame of this kind, from this node, or so it says."""
        made = cls(content)
        made.kind, made.source, made.forged = kind, source, forged
        return made


class OnLink(Sealed):
    """A datagram on one of several links between two nodes (knet). Kind -1: what is no frame of the ring."""

    link: int

    @classmethod
    def on(cls, content: bytes, kind: int, source: int, link: int) -> OnLink:
        """A datagram of this node."""
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
    """Drops or delays packets that match. None matches everything."""

    kind: Kind | None = None
    source: int | None = None
    target: int | None = None
    count: int | None = None
    """How many packets it still applies to; None = until it is removed."""
    delay_ns: int | None = None
    """None drops the packet."""
    matching: Callable[[bytes], bool] | None = None
    hits: int = 0

    def applies(self, source: int, target: int, data: bytes) -> bool:
        """Whether this packet is meant; counts it if so."""
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
    """All links. `deliver(at_ns, target, data)` is how a packet arrives later."""

    random: Random
    deliver: Callable[[int, int, bytes], None]
    delay_ns: int = 200_000
    """Time that a packet takes at least."""
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
    """No packet arrives later than this on account of a fault: where a plan ends its faults."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Packets that a fault took, by kind; OTHER: no frame of the ring."""
    sent: int = 0
    _last_arrival_ns: dict[Path, int] = field(default_factory=dict)
    _link_delay_ns: dict[Path, int] = field(default_factory=dict)

    def send(self, now_ns: int, source: int, target: int, data: bytes, number: int = 0, slow_ns: int = 0) -> None:
        """Put a packet on the link from `source` to `target`; `number`: on which, where there are several. What is
        wrong here is so on all of them; `slow_ns` is what this one takes longer."""
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
        """Arrival of a packet that a fault makes late, but not later than the end of all faults."""
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
        """Cut all links between the groups. Other blocked links stay so."""
        sides = [tuple(group) for group in groups]
        for i, side in enumerate(sides):
            for other in sides[i + 1 :]:
                for a in side:
                    for b in other:
                        self.blocked |= {(a, b), (b, a)}

    def calm(self) -> None:
        """End all faults; all links are sound again."""
        self.loss = self.duplication = self.reordering = 0.0
        self.slow_ns.clear()
        self.rules.clear()
        self.blocked.clear()
