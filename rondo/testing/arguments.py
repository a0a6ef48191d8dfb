"""Checks of what a test gives to `Loopback` and `rondo_cluster`: a wrong number must not look like a quiet network."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from rondo.errors import InvalidParameter


def node_of(node: int, nodes: Collection[int], name: str = "node") -> int:
    """One of these nodes. Raises InvalidParameter."""
    if isinstance(node, bool) or not isinstance(node, int) or node not in nodes:
        raise InvalidParameter(f"{name}: a node from 1 to {len(nodes)}; not {node!r:.80}")
    return node


def sides_of(sides: Iterable[Iterable[int]], nodes: Collection[int]) -> list[frozenset[int]]:
    """Sides of a split: some of these nodes each, and no node on two. Raises InvalidParameter."""
    found: list[frozenset[int]] = []
    for side in sides:
        if isinstance(side, str | bytes) or not isinstance(side, Iterable):
            raise InvalidParameter(f"sides: sets of nodes, as {{1}}, {{2, 3}}; not {side!r:.80}")
        found.append(frozenset(node_of(node, nodes, "sides") for node in side))
    if len(frozenset().union(*found)) != sum(map(len, found)):
        raise InvalidParameter(f"sides: a node is on one side only; not {[sorted(side) for side in found]}")
    return found
