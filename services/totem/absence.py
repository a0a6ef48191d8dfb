"""Which nodes of the nodelist are not in the ring, and since when."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class Absence:
    """Follows the memberships. Times are those of the caller's clock."""

    def __init__(self, nodes: Iterable[int], now_ns: int) -> None:
        """All of these nodes are absent until a ring has them."""
        self._nodes = tuple(nodes)
        self._seen: set[int] = set()
        self._since_ns = dict.fromkeys(self._nodes, now_ns)

    def set_nodes(self, nodes: Iterable[int], members: Iterable[int], now_ns: int) -> None:
        """The nodelist changes to these nodes. `members`: the nodes in the ring."""
        self._nodes = tuple(nodes)
        self._seen.intersection_update(self._nodes)
        self._since_ns = {node: since_ns for node, since_ns in self._since_ns.items() if node in self._nodes}
        self.ring(members, now_ns)

    def ring(self, members: Iterable[int], now_ns: int) -> None:
        """A new ring with these members."""
        there = set(members)
        self._seen |= there
        for node in self._nodes:
            if node in there:
                self._since_ns.pop(node, None)
            else:
                self._since_ns.setdefault(node, now_ns)

    def status(self, now_ns: int) -> list[dict[str, Any]]:
        """The absent nodes for `rondo status`. `seen`: whether the node was in a ring since this node started."""
        return [
            {"node": node, "seconds": round((now_ns - since_ns) / 1e9, 1), "seen": node in self._seen}
            for node, since_ns in sorted(self._since_ns.items())
        ]
