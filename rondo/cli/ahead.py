"""Flow control of commands that send and receive in two threads: limits how far sending may be ahead.

A process that sends faster than it takes events would be cut off as too slow (`cpg.client_bytes_max`).
"""

import threading

AHEAD_BYTES_MAX = 1024 * 1024
"""The bytes that may be sent and not taken, unless a command sets another limit."""


class Ahead:
    """How many bytes sending is ahead of receiving."""

    def __init__(self, bytes_max: int = AHEAD_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._changed = threading.Condition()
        self._bytes = 0
        self._is_over = False

    def sending(self, size: int) -> None:
        """Wait until there is room to send that many more bytes. Any number has room if nothing else is on its way."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_over or self._bytes < self._bytes_max)
            self._bytes += size

    def took(self, size: int) -> None:
        """That many sent bytes have come back and were taken."""
        with self._changed:
            self._bytes = max(0, self._bytes - size)
            self._changed.notify_all()

    def forget(self) -> None:
        """The outcome of what was sent is unknown: count from zero again."""
        self.took(self._bytes)

    def over(self) -> None:
        """Nothing is taken any more."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()
