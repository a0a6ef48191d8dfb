"""Last words: a LEAVE that sam sends if this process is killed. It is made anew for each ring.

A killed ring process sends no LEAVE, so the others would wait for the token time-out. sam watches processes anyway and
sees the death at once. So it holds a LEAVE frame of the present ring, sealed if there is a key, and the addresses to
send it to. sam knows nothing else about them. docs/PROTOCOL.md: "Last words".
"""

from __future__ import annotations

import os
from typing import Any

from services.totem.node import Node


def last_words(node: Node) -> dict[str, Any]:
    """The request for `rondo.ipc.control`: this pid, the datagram, its source, its destinations, and the ports to
    hold."""
    ring, link = node.ring, node.link
    others = link.addresses_of(member for member in ring.members if member != node.config.node_id)
    return {
        "pid": os.getpid(),
        "datagram": link.seal_to_keep(ring.last_words()),
        "source": list(link.source()),
        "addresses": [list(address) for _, address in sorted(others.items())],
        "ports": [list(port) for port in link.ports_to_hold()],
    }
