"""UDP ports for tests that may run beside each other."""

from __future__ import annotations

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
