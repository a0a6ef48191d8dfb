"""Totem's status of the ring and its links, in the form for clients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rondo import __version__
from services.control.setup import Setup

_LINK_KEYS = (
    "link", "local", "remote", "port", "priority", "up", "since_ms", "ups", "downs", "mtu", "latency_us", "tx_errors",
    "rx_errors",
)  # fmt: skip
_PACKETS = ("data", "ping", "pong", "pmtu")


def nodes(
    setup: Setup, members: tuple[int, ...], totem: Mapping[str, Any], told: Mapping[int, str]
) -> list[dict[str, Any]]:
    """Configured nodes and members, by ascending id, as `rondo nodes --json` prints them. `told`: the software that
    Rondo members have announced."""
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
    """A link from totem's status, with packets of all kinds added up."""
    shown = {name: link[name] for name in _LINK_KEYS}
    for way in ("tx", "rx"):
        shown[f"{way}_packets"] = sum(link[f"{way}_{kind}"] for kind in _PACKETS)
        shown[f"{way}_data_bytes"] = link[f"{way}_bytes"]
    return shown
