"""Nodes with several links between them, on a virtual clock: each link of a pair loses, delays, and cuts by itself."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from services.totem.transport.knet.crypto import PacketCipher, make_cipher
from services.totem.transport.knet.effects import LinkEvent
from services.totem.transport.knet.knet import Knet
from services.totem.transport.knet.link_options import KnetOptions, LinkMode, LinkOptions

MS = 1_000_000
KEY = bytes(range(256)) * 2
LINKS = {0: LinkOptions(port=5405), 1: LinkOptions(port=5406)}


@dataclass
class Path:
    """One direction of a link between two nodes."""

    cut: bool = False
    loss: float = 0.0
    delay_ns: int = MS // 10
    jitter_ns: int = 0
    size_max: int = 65_507


def address(node: int, link: int) -> tuple[str, int]:
    return f"10.0.{link}.{node}", 5405 + link


def cipher(seed: int = 0) -> PacketCipher:
    return make_cipher("aes256", "sha256", KEY, seed.to_bytes(16, "big"))


class Network:
    """Steps in virtual time; `received` holds what each node was handed, with its time."""

    def __init__(
        self, nodes: Sequence[int] = (1, 2, 3), seed: int = 1, mode: LinkMode = LinkMode.PASSIVE,
        make: Callable[[int], PacketCipher] = cipher,
    ) -> None:  # fmt: skip
        self.now_ns = 10_000 * MS
        self.random = random.Random(seed)
        self.paths = {(a, b, link): Path() for a in nodes for b in nodes if a != b for link in LINKS}
        self.received: dict[int, list[tuple[int, bytes]]] = {node: [] for node in nodes}
        self.events: dict[int, list[LinkEvent]] = {node: [] for node in nodes}
        self.knets: dict[int, Knet] = {}
        self.moved: dict[tuple[int, int], tuple[str, int]] = {}
        """Changed addresses, by node and link."""
        self._flying: list[tuple[int, int, int, int, int, bytes]] = []
        self._count = 0
        self._mode, self._make = mode, make
        self._nodes = tuple(nodes)
        for node in nodes:
            self.start(node)

    def start(self, node: int, **options: object) -> Knet:
        """Start a node anew."""
        made = KnetOptions(node, LINKS, self._mode)
        offset_ns = self.random.randrange(1 << 60)
        knet = Knet(replace(made, **options), self._make(node), self.now_ns, offset_ns)  # type: ignore[arg-type]
        others = {other: {link: address(other, link) for link in LINKS} for other in self._nodes if other != node}
        knet.set_hosts(others, dict.fromkeys(LINKS, 1500), self.now_ns)
        self.knets[node] = knet
        return knet

    def stop(self, node: int) -> None:
        del self.knets[node]

    def send(self, node: int, target: int, *frames: bytes) -> None:
        self.knets[node].send(target, frames, self.now_ns)
        self._collect(node)

    def run(self, ms: float, each_ms: Callable[[], None] | None = None) -> None:
        """Let this much time pass."""
        end_ns = self.now_ns + int(ms * MS)
        next_ns = self.now_ns
        while True:
            due_ns = min((knet.due_ns for knet in self.knets.values()), default=end_ns)
            arrival_ns = self._flying[0][0] if self._flying else end_ns
            tick_ns = next_ns if each_ms is not None else end_ns
            at_ns = min(due_ns, arrival_ns, tick_ns, end_ns)
            self.now_ns = max(self.now_ns, at_ns)
            if at_ns >= end_ns:
                return
            if each_ms is not None and at_ns == tick_ns:
                each_ms()
                next_ns += MS
            elif at_ns == arrival_ns and arrival_ns <= due_ns:
                self._arrive()
            else:
                self._advance()

    def _advance(self) -> None:
        for node, knet in list(self.knets.items()):
            if knet.due_ns <= self.now_ns:
                knet.advance(self.now_ns)
                assert knet.due_ns > self.now_ns
                self._collect(node)

    def _arrive(self) -> None:
        _, _, source, node, link, datagram = heapq.heappop(self._flying)
        if (knet := self.knets.get(node)) is not None:
            for frame in knet.receive([datagram], link, self._source(source, link), self.now_ns):
                self.received[node].append((self.now_ns, frame))
            self._collect(node)

    def _source(self, node: int, link: int) -> tuple[str, int]:
        return self.moved.get((node, link)) or address(node, link)

    def _collect(self, node: int) -> None:
        for link, to, datagrams in self.knets[node].take_outbox():
            target = int(to[0].rpartition(".")[2])
            path = self.paths[node, target, link]
            for each in datagrams:
                if path.cut or len(each) > path.size_max or self.random.random() < path.loss:
                    continue
                at_ns = self.now_ns + path.delay_ns + (self.random.randrange(path.jitter_ns) if path.jitter_ns else 0)
                self._count += 1
                heapq.heappush(self._flying, (at_ns, self._count, node, target, link, each))
        self.events[node] += self.knets[node].take_events()

    def cut(self, node: int, link: int, *, healed: bool = False) -> None:
        """The cable of a node."""
        for (a, b, number), path in self.paths.items():
            if number == link and node in (a, b):
                path.cut = not healed

    def frames(self, node: int) -> list[bytes]:
        return [frame for _, frame in self.received[node]]
