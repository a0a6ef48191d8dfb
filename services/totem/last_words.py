"""What is to be said when this process has been killed: made here on each ring, kept and sent by sam.

A ring process that is killed says nothing, and the others would wait for the token time-out. sam, which watches
processes anyway, sees the death at once. It is left a LEAVE frame of the present ring, sealed where there is a key, and
the addresses to which it should go; it knows nothing else about them. docs/PROTOCOL.md: "Last words".
"""

from __future__ import annotations

import os
from typing import Any

from services.totem.node import Node


def last_words(node: Node) -> dict[str, Any]:
    """For `rondo.ipc.control`: this process, the datagram, its source, where it goes, and the ports to be held."""
    ring, link = node.ring, node.link
    others = link.addresses_of(member for member in ring.members if member != node.config.node_id)
    return {
        "pid": os.getpid(),
        "datagram": link.seal_to_keep(ring.last_words()),
        "source": list(link.source()),
        "addresses": [list(address) for _, address in sorted(others.items())],
        "ports": [list(port) for port in link.ports_to_hold()],
    }
