"""The loop of the SAM process: descriptors and a tick, around one epoll.

Each part registers its descriptors with a function to call. Nothing blocks anywhere else.
"""

import select
import time
from collections.abc import Callable

Call = Callable[[], object]


class Loop:
    """The functions to call when something is readable. The poll is the chassis's (rondo.node.chassis)."""

    def __init__(self, poll: select.epoll) -> None:
        self._poll = poll
        self._calls: dict[int, Call] = {}

    def watch(self, descriptor: int, call: Call) -> None:
        """Call this function whenever the descriptor is readable."""
        self._poll.register(descriptor, select.EPOLLIN)
        self._calls[descriptor] = call

    def forget(self, descriptor: int) -> None:
        """Stop watching a descriptor. Call it before the descriptor is closed."""
        if self._calls.pop(descriptor, None) is not None:
            self._poll.unregister(descriptor)

    def turn(self, until_s: float, woken: Call) -> set[int]:
        """Wait until something happens, or until that time (CLOCK_MONOTONIC). Then call `woken`, and the registered
        functions. Returns the readable descriptors."""
        ready = self._poll.poll(max(0.0, until_s - time.monotonic()))
        woken()
        for descriptor, _ in ready:
            call = self._calls.get(descriptor)
            if call is not None:
                call()
        return {descriptor for descriptor, _ in ready}
