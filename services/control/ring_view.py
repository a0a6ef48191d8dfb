"""What totem says of the ring and its links, as clients are shown it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rondo import __version__
from services.control.setup import Setup

_LINK_KEYS = (("link", "link"), ("local", "local"), ("remote", "remote"), ("up", "up"), ("mtu", "mtu"))


def nodes(
    setup: Setup, members: tuple[int, ...], totem: Mapping[str, Any], told: Mapping[int, str]
) -> list[dict[str, Any]]:
    """Configured nodes and members, by ascending id, as `rondo nodes --json` prints them. `told`: what Rondo members
    have told of their software."""
    rondo = set(totem.get("rondo_members", ()))
    links: dict[str, list[dict[str, Any]]] = totem.get("links", {})
    found = []
    for node in sorted({setup.node, *setup.addresses, *members}):
        software = None
        if node == setup.node:
            software = f"rondo {__version__}"
        elif node in members:
            software = told.get(node) or ("rondo" if node in rondo else "corosync")
        found.append(
            {
                "node": node,
                "name": setup.names.get(node, ""),
                "member": node in members,
                "software": software,
                "addresses": list(setup.addresses.get(node, ())),
                "links": [_link(link) for link in links.get(str(node), ())],
            }
        )
    return found


def _link(link: dict[str, Any]) -> dict[str, Any]:
    shown = {name: link.get(key) for name, key in _LINK_KEYS}
    return shown | {"latency_us": link.get("latency_us"), "downs": link.get("downs", 0)}
