"""Which keys the other nodes have, as they tell: what decides whether a key may be used, or removed.

A key may seal packets only when every other node takes packets under it, and may go only when no other node seals with
it any more. So while a key is being changed, which is when somebody has more than one, the nodes tell each other their
keys about once a second: who has several tells, and who hears of that answers. With one key everywhere nobody says
anything. What is older than a few seconds does not count: that node may have been restarted since.

Notices travel sealed, so they are as authentic as everything else here. Identities of keys are derived from them and
say nothing about them.
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
    """What a node has said of itself."""

    at_ns: int
    valid: tuple[bytes, ...]
    in_use: bytes


class KeyBook:
    """What others have told, and when to tell them."""

    def __init__(self) -> None:
        self._told: dict[int, Told] = {}
        self.due_ns = NEVER_NS
        """When this node has to tell its keys."""
        self._said_ns = -NEVER_NS

    def heard(self, node: int, valid: tuple[bytes, ...], in_use: bytes, now_ns: int) -> None:
        """A node has told its keys; it wants to know ours."""
        if node in self._told or len(self._told) < NODES_MAX:
            self._told[node] = Told(now_ns, valid, in_use)
        self.tell_soon(now_ns)

    def tell_soon(self, now_ns: int) -> None:
        """There is something to tell, as soon as the pause since the last time allows it."""
        self.due_ns = min(self.due_ns, max(now_ns, self._said_ns + INTERVAL_NS))

    def said(self, now_ns: int, *, again: bool) -> None:
        """This node has told its keys; `again`: it has several and goes on."""
        self._said_ns = now_ns
        self.due_ns = now_ns + INTERVAL_NS if again else NEVER_NS

    def having(self, identity: bytes, now_ns: int) -> list[int]:
        """The nodes that take packets under this key."""
        return [node for node, told in self._fresh(now_ns).items() if identity in told.valid]

    def using(self, identity: bytes, now_ns: int) -> list[int]:
        """The nodes that seal with this key."""
        return [node for node, told in self._fresh(now_ns).items() if identity == told.in_use]

    def silent(self, nodes: Iterable[int], now_ns: int) -> list[int]:
        """Those of `nodes` that have not told anything lately."""
        fresh = self._fresh(now_ns)
        return sorted(node for node in nodes if node not in fresh)

    def _fresh(self, now_ns: int) -> dict[int, Told]:
        return {node: told for node, told in sorted(self._told.items()) if now_ns - told.at_ns < VALID_NS}
