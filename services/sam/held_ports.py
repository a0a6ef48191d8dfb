"""Keeps the UDP ports of a dead ring process open until the next one runs.

If ICMP tells a C node that a port is closed, it takes knet's link for dead. Then it wants three pongs before it accepts
data again, which takes seconds. If the port stays open, the C node hears a restarted ring process at once.

These sockets are bound to the wildcard address, and the ring's own to a particular one. The kernel delivers a datagram
to the more specific socket, whichever was bound first. So these get nothing while a ring process lives. What they get
afterwards is never read; their buffers are as small as the kernel permits.
"""

from __future__ import annotations

import logging
import socket

PORTS_MAX = 16
"""Eight links, each with one IP version."""

Port = tuple[int, int]
"""IP version, and port."""

log = logging.getLogger("SAM")


class HeldPorts:
    """The open sockets, by port."""

    def __init__(self) -> None:
        self._sockets: dict[Port, socket.socket] = {}

    @property
    def ports(self) -> list[Port]:
        """The ports that are held."""
        return sorted(self._sockets)

    def hold(self, ports: list[Port]) -> None:
        """Hold exactly these ports. One that cannot be bound is left out."""
        for gone in self._sockets.keys() - set(ports):
            self._sockets.pop(gone).close()
        for version, port in ports[:PORTS_MAX]:
            if (version, port) not in self._sockets:
                try:
                    self._sockets[version, port] = _open(version, port)
                except OSError as error:
                    log.info("UDP port %d cannot be held for the ring process: %s", port, error.strerror)

    def close(self) -> None:
        """Close all sockets."""
        self.hold([])


def _open(version: int, port: int) -> socket.socket:
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    made = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(("::" if version == 6 else "", port))
    except OSError:
        made.close()
        raise
    return made
