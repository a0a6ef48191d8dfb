"""One ring of a loopback: messages on their way, their order, and how far each node has got with them.

A message is first on its way, then ordered, then received by one node after the other, then delivered by each. SAFE
ones are delivered once all nodes of the ring have received them. Nothing here happens by itself: the network says what
is next.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rondo.events import Member, Reason, Ring
    from rondo.testing.loopback.session import LoopbackRequest, Session

Kind = Literal["message", "join", "out"]


@dataclass(slots=True)
class Parcel:
    """What is put into the order: a message, a join, or that a process is out of a group."""

    kind: Kind
    group: str
    member: Member
    node: int
    """Where it is put into the order."""
    data: bytes = b""
    is_safe: bool = False
    request: LoopbackRequest | None = None
    reason: Reason | None = None
    session: Session | None = None
    """Who joins."""


@dataclass(slots=True)
class LoopbackRing:
    """The ring `ring` of `nodes`."""

    ring: Ring
    nodes: frozenset[int]
    on_the_way: deque[Parcel] = field(default_factory=deque)
    log: list[Parcel] = field(default_factory=list)
    received: dict[int, int] = field(default_factory=dict)
    """By node: how many of the log it has."""
    delivered: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.received = dict.fromkeys(self.nodes, 0)
        self.delivered = dict.fromkeys(self.nodes, 0)

    @property
    def stable(self) -> int:
        """So many of the log has every node."""
        return min(self.received.values())

    def order(self) -> None:
        """The next parcel gets its place; its node has it."""
        parcel = self.on_the_way.popleft()
        self.log.append(parcel)
        self.received[parcel.node] = len(self.log)

    def may_deliver(self, node: int) -> bool:
        """Whether there is something that this node may deliver in this configuration."""
        at = self.delivered[node]
        return at < self.received[node] and (at < self.stable or not self.log[at].is_safe)

    def steps(self) -> list[tuple[str, int]]:
        """All that can happen next: ("order", 0), ("receive", node), ("deliver", node)."""
        found = [("order", 0)] if self.on_the_way else []
        found += [("receive", node) for node in sorted(self.nodes) if self.received[node] < len(self.log)]
        return found + [("deliver", node) for node in sorted(self.nodes) if self.may_deliver(node)]

    def forget_delivered(self) -> None:
        """Drop what all nodes have delivered, so that the log stays short."""
        done = min(self.delivered.values())
        if done:
            del self.log[:done]
            for each in (self.received, self.delivered):
                for node in each:
                    each[node] -= done
