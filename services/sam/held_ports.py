"""Keeps the UDP ports of a ring process that is dead open until the next one is there.

A C node that is told by ICMP that nobody listens at a port takes knet's link for dead, and wants three pongs before it
takes data again: seconds. Where the port is open, a ring process that is started again at once is heard at once.

The sockets here are bound to no address in particular, and the ring's own are: the kernel gives a datagram to the more
specific one, whichever was bound first. So these get nothing while a ring process lives. What they get afterwards is
never read; their buffers are as small as the kernel has them.
"""

from __future__ import annotations

import logging
import socket

PORTS_MAX = 16
"""Eight links, each of one IP version."""

Port = tuple[int, int]
"""IP version, and port."""

log = logging.getLogger("SAM")


class HeldPorts:
    """The sockets, by port."""

    def __init__(self) -> None:
        self._sockets: dict[Port, socket.socket] = {}

    @property
    def ports(self) -> list[Port]:
        """What is held."""
        return sorted(self._sockets)

    def hold(self, ports: list[Port]) -> None:
        """Hold these and no others. What cannot be held is left."""
        for gone in self._sockets.keys() - set(ports):
            self._sockets.pop(gone).close()
        for version, port in ports[:PORTS_MAX]:
            if (version, port) not in self._sockets:
                try:
                    self._sockets[version, port] = _open(version, port)
                except OSError as error:
                    log.info("UDP port %d cannot be held for the ring process: %s", port, error.strerror)

    def close(self) -> None:
        """Let go of all."""
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
