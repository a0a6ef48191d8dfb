"""Nodes that exchange sealed packets by hand, without network, clock or true randomness."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from services.totem.security.packets import PacketSecurity
from services.totem.security.suites import SUITES, Suite

GCM = SUITES["aes256-gcm", "none"]
KEY, OTHER_KEY = bytes(range(256)), bytes(range(1, 256)) + b"\0"
MEMBERS = frozenset({1, 2, 3})
MS = 1_000_000


def drawn(seed: str) -> Iterator[bytes]:
    """16 bytes and 16 bytes ... that depend on the seed alone."""
    number = 0
    while True:
        number += 1
        yield hashlib.sha256(f"{seed} {number}".encode()).digest()[:16]


class Node:
    """A node from its start to its end."""

    def __init__(
        self, node: int, life: int = 1, *, suite: Suite = GCM, key: bytes = KEY, cluster: str = "test",
        members: frozenset[int] | None = MEMBERS,
    ) -> None:  # fmt: skip
        random = drawn(f"{node} {life}")
        self.node = node
        self.security = PacketSecurity(suite, key, cluster, node, members, next(random), lambda: next(random))
        self.now_ns = 1_000_000_000_000

    @property
    def address(self) -> str:
        return f"10.0.0.{self.node}"

    def seal(self, frame: bytes) -> bytes:
        return self.security.seal(frame)

    def open(self, datagram: bytes, source: str = "10.9.9.9") -> bytes | None:
        return self.security.open(datagram, source, self.now_ns)

    def count(self, name: str) -> int:
        return self.security.counters[name]

    def replies_to(self, node: Node) -> list[bytes]:
        """The replies that are there, all of which must be for that node."""
        replies = self.security.take_replies()
        assert {reply.node for reply in replies} <= {node.node}
        return [reply.datagram for reply in replies]

    def released(self) -> list[bytes]:
        return [frame for frame, _ in self.security.take_released()]


def converse(*nodes: Node) -> None:
    """Deliver all replies, and the replies to them, until there are none."""
    by_number = {node.node: node for node in nodes}
    for _ in range(20):
        pending = [(node, reply) for node in nodes for reply in node.security.take_replies()]
        if not pending:
            return
        for node, reply in pending:
            if reply.node in by_number:
                assert by_number[reply.node].open(reply.datagram, node.address) is None
    raise AssertionError("they talk for ever")


def acquaint(*nodes: Node) -> None:
    """Every node knows every other one's boot."""
    for sender in nodes:
        for receiver in nodes:
            if sender is not receiver:
                receiver.open(sender.seal(b"hello"), sender.address)
    converse(*nodes)
    for node in nodes:
        node.released()
        node.now_ns += 1000 * MS
        node.security.take_complaints()


def state_of(thing: Any, skip: tuple[str, ...] = ("counters", "complaints", "_tries")) -> Any:
    """All that an object of the security package remembers, for comparison; counters, log lines and how much may still
    be tried are left out."""
    if isinstance(thing, dict):
        return {key: state_of(value) for key, value in thing.items()}
    if isinstance(thing, list | tuple | set):
        return [state_of(each) for each in thing]
    if not type(thing).__module__.startswith("services.totem.security"):
        return thing.tobytes() if hasattr(thing, "tobytes") else thing
    names = list(getattr(thing, "__dict__", ())) + [n for c in type(thing).__mro__ for n in getattr(c, "__slots__", ())]
    return {name: state_of(getattr(thing, name)) for name in names if name not in skip and not name.endswith("codec")}
