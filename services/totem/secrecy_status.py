"""Forward secrecy for `rondo status`: whether the ring has a secret of its own, and if not, why."""

from __future__ import annotations

from typing import Any

from rondo.config import NodeConfig
from services.totem.ring.ring import Ring


def secrecy_status(config: NodeConfig, ring: Ring) -> dict[str, Any]:
    """`mode`: totem.forward_secrecy of this node; `on`: whether the present ring is forward secret."""
    secrecy = ring.secrecy
    return {
        "mode": config.security.forward_secrecy,
        "on": secrecy.in_force,
        "why": _why_not(config, ring),
        "nodes_without": _without(ring),
        "nodes_refused": sorted(secrecy.refused),
    }


def _why_not(config: NodeConfig, ring: Ring) -> str:
    """Why the present ring is not forward secret; empty if it is."""
    if ring.secrecy.in_force:
        return ""
    if config.transport == "knet":
        return "transport: knet has no forward secrecy; if all nodes run Rondo, transport: udpu has it"
    if not config.security.enabled:
        return "packet security is off"
    if config.security.forward_secrecy == "no":
        return "totem.forward_secrecy is no"
    if nodes := _without(ring):
        return f"nodes without it: {' '.join(map(str, nodes))} (an earlier version, or forward_secrecy: no)"
    return "there is no ring yet" if len(ring.members) == 1 else "a member does not have it"


def _without(ring: Ring) -> list[int]:
    """Members of the present ring without forward secrecy, according to their last joins."""
    return [] if ring.secrecy.in_force else [node for node in ring.members if node in ring.secrecy.without]
