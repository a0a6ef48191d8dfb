"""The loop of the SAM process: descriptors, ZeroMQ sockets and a tick, around one epoll.

Each part registers its descriptors with a function to call. Nothing blocks anywhere else.
"""

import select
import time
from collections.abc import Callable

import zmq

Call = Callable[[], object]
DRAINS_PER_TURN_MAX = 16


class Loop:
    """The functions to call when something is readable. The poll is the chassis's (rondo.node.chassis)."""

    def __init__(self, poll: select.epoll) -> None:
        self._poll = poll
        self._calls: dict[int, Call] = {}
        self._sockets: dict[int, tuple[zmq.Socket[bytes], Call]] = {}

    def watch(self, descriptor: int, call: Call) -> None:
        """Call this function whenever the descriptor is readable."""
        self._poll.register(descriptor, select.EPOLLIN)
        self._calls[descriptor] = call

    def forget(self, descriptor: int) -> None:
        """Stop watching a descriptor. Call it before the descriptor is closed."""
        if self._calls.pop(descriptor, None) is not None:
            self._poll.unregister(descriptor)

    def serve(self, socket: "zmq.Socket[bytes]", call: Call) -> None:
        """Call this function whenever the socket has something to receive. It receives a bounded amount."""
        descriptor = int(socket.getsockopt(zmq.FD))
        self._poll.register(descriptor, select.EPOLLIN)
        self._sockets[descriptor] = (socket, call)

    def turn(self, until_s: float, woken: Call) -> set[int]:
        """Wait until something happens, or until that time (CLOCK_MONOTONIC). Then call `woken`, and the registered
        functions. Returns the readable descriptors."""
        timeout_s = 0.0 if self._serve_sockets() else max(0.0, until_s - time.monotonic())
        ready = self._poll.poll(timeout_s)
        woken()
        for descriptor, _ in ready:
            call = self._calls.get(descriptor)
            if call is not None:
                call()
        self._serve_sockets()
        return {descriptor for descriptor, _ in ready}

    def _serve_sockets(self) -> bool:
        """A ZeroMQ descriptor signals input only once, so all sockets are asked. True if one has more."""
        left_over = False
        for socket, call in self._sockets.values():
            for _ in range(DRAINS_PER_TURN_MAX):
                if not int(socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
                    break
                call()
            else:
                left_over = True
        return left_over
