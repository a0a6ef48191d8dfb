"""Which keys the other nodes have, by their key notices: decides whether a key may be used, or removed.

A key may seal packets only when every other node accepts packets under it. It may be removed only when no other node
seals with it any more. So while a key is being changed, the nodes send each other key notices about once a second: a
node with several keys sends notices, and nodes that get one answer. With a single key everywhere nobody sends any. A
notice older than a few seconds does not count: that node may have restarted since.

Notices are sealed, so they are as authentic as other packets. Key identities are derived from the keys and reveal
nothing about them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

INTERVAL_NS = 1_000_000_000
"""Pause between two notices of one node."""

VALID_NS = 5_000_000_000
"""How long a notice counts."""

NODES_MAX = 384

NEVER_NS = 1 << 62


class Told(NamedTuple):
    """The contents of a node's last key notice."""

    at_ns: int
    valid: tuple[bytes, ...]
    in_use: bytes


class KeyBook:
    """The key notices of others, and when to send our own."""

    def __init__(self) -> None:
        self._told: dict[int, Told] = {}
        self.due_ns = NEVER_NS
        """When this node must send a key notice."""
        self._said_ns = -NEVER_NS

    def heard(self, node: int, valid: tuple[bytes, ...], in_use: bytes, now_ns: int) -> None:
        """A node's key notice has come. It wants ours."""
        if node in self._told or len(self._told) < NODES_MAX:
            self._told[node] = Told(now_ns, valid, in_use)
        self.tell_soon(now_ns)

    def tell_soon(self, now_ns: int) -> None:
        """Send a key notice as soon as the interval since the last one allows it."""
        self.due_ns = min(self.due_ns, max(now_ns, self._said_ns + INTERVAL_NS))

    def said(self, now_ns: int, *, again: bool) -> None:
        """This node has sent a key notice. `again`: it has several keys, so it goes on."""
        self._said_ns = now_ns
        self.due_ns = now_ns + INTERVAL_NS if again else NEVER_NS

    def having(self, identity: bytes, now_ns: int) -> list[int]:
        """The nodes that accept packets under this key."""
        return [node for node, told in self._fresh(now_ns).items() if identity in told.valid]

    def using(self, identity: bytes, now_ns: int) -> list[int]:
        """The nodes that seal with this key."""
        return [node for node, told in self._fresh(now_ns).items() if identity == told.in_use]

    def silent(self, nodes: Iterable[int], now_ns: int) -> list[int]:
        """Those of `nodes` without a key notice lately."""
        fresh = self._fresh(now_ns)
        return sorted(node for node in nodes if node not in fresh)

    def _fresh(self, now_ns: int) -> dict[int, Told]:
        return {node: told for node, told in sorted(self._told.items()) if now_ns - told.at_ns < VALID_NS}
