"""auto_tie_breaker: of two halves, the one with a certain node continues."""

from __future__ import annotations

from collections.abc import Container

from services.control.quorum.events import NodeState
from services.control.quorum.nodes import Nodes
from services.control.quorum.settings import Settings, TieBreaker


def has_tie_breaker(
    settings: Settings,
    members: Container[int],
    previous_members: Container[int],
    nodes: Nodes,
    bounds: tuple[int | None, int | None],
) -> bool:
    """Whether this half has the deciding node. `members`, `previous_members`: of this ring and the previous one;
    `bounds`: the lowest and the highest node id when this node was last quorate (None: it never was)."""
    kind = settings.tie_breaker
    if kind == TieBreaker.LIST:
        for at, entry in enumerate(settings.tie_breaker_nodes):
            if entry in members:
                return not any(earlier in previous_members for earlier in settings.tie_breaker_nodes[:at])
        return False
    decides = bounds[0] if kind == TieBreaker.LOWEST else bounds[1]
    node = None if decides is None else nodes.get(decides)
    return node is not None and node.state == NodeState.MEMBER
