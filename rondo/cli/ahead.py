"""Flow control of commands that send and take in two threads: by how much the one may be ahead of the other.

Who sends faster than he takes would be cut off as too slow (`cpg.client_bytes_max`).
"""

import threading

AHEAD_BYTES_MAX = 1024 * 1024
"""So much may have been sent and not been taken, unless a command says otherwise."""


class Ahead:
    """By how many bytes what was sent is ahead of what was taken."""

    def __init__(self, bytes_max: int = AHEAD_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._changed = threading.Condition()
        self._bytes = 0
        self._is_over = False

    def sending(self, size: int) -> None:
        """Wait until there is room to send so many bytes more. Any number has room when nothing else waits."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_over or self._bytes < self._bytes_max)
            self._bytes += size

    def took(self, size: int) -> None:
        """So many bytes of those that were sent have come back, and were taken."""
        with self._changed:
            self._bytes = max(0, self._bytes - size)
            self._changed.notify_all()

    def forget(self) -> None:
        """Nobody knows what still comes of what was sent: it begins anew."""
        self.took(self._bytes)

    def over(self) -> None:
        """Nothing is taken any more."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()
