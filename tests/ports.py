"""Ports for tests that may run beside each other.

They are below those that the kernel gives out by itself: such a one, bound once and closed, may be somebody else's at
the next moment, and who connects to it while nobody listens may even reach itself.
"""

from __future__ import annotations

import contextlib
import random
import socket
from contextlib import ExitStack

FIRST, LAST = 20000, 32000
"""Below the ports that the kernel gives out by itself."""


def reserve_port(stack: ExitStack) -> int:
    """A port P, free for UDP together with P-1, that no other test takes while `stack` is open.

    Listening on the same number over TCP is the sign to other tests that it is taken.
    """
    for _ in range(1000):
        port = random.randrange(FIRST, LAST, 2)
        sign = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            sign.bind(("127.0.0.1", port))
            sign.listen()
            for each in (port, port - 1):
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                    probe.bind(("", each))
        except OSError:
            sign.close()
            continue
        stack.callback(sign.close)
        return port
    raise AssertionError("no free port")


def free_tcp_port(address: str = "127.0.0.1") -> int:
    """A port that is free for TCP. Chosen at random, so that two tests hardly ever come to the same one."""
    for _ in range(1000):
        port = random.randrange(FIRST + 1, LAST, 2)  # those for UDP above are even
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((address, port))
            return port
    raise AssertionError("no free port")
