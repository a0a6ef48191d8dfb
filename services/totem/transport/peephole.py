"""Finds out who sends from unlisted addresses: the kernel drops such datagrams, and does not tell their sources.

The kernel's count grows if a node of this cluster is missing in the nodelist. Once it has grown by a few, datagrams
from all addresses are accepted for a moment, until one from an unlisted address was seen. The log can then name its
address. During a flood this is not done, because it would let the flood in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

INTERVAL_NS: Final = 1_000_000_000
OPEN_NS: Final = 500_000_000
"""A node that looks for others sends at least ten datagrams in this time."""
PAUSE_NS: Final = 10_000_000_000
"""Pause between two looks."""
DROPPED_MAX: Final = 500
"""More dropped datagrams than this per interval are a flood."""


class Peephole:
    """Decides when to accept all addresses. `dropped` returns the kernel's count; `open_to_all` and `close` change its
    filter."""

    def __init__(self, dropped: Callable[[], int], open_to_all: Callable[[], None], close: Callable[[], None]) -> None:
        self._dropped = dropped
        self._open_to_all = open_to_all
        self._close = close
        self._due_ns = 0
        self._last: int | None = None
        self.is_open = False
        self.is_wary = False
        """Received datagrams may be from unlisted addresses: from the opening until all that was let in has been
        read."""

    def tend(self, now_ns: int) -> None:
        """Open or close if it is due. Call this often: it costs one comparison."""
        if now_ns < self._due_ns:
            return
        if self.is_open:
            self.shut(now_ns)
            return
        self.is_wary = False
        count, last = self._dropped(), self._last
        self._last, self._due_ns = count, now_ns + INTERVAL_NS
        if last is not None and 0 < count - last <= DROPPED_MAX:
            self.is_open = self.is_wary = True
            self._due_ns = now_ns + OPEN_NS
            self._open_to_all()

    def shut(self, now_ns: int) -> None:
        """A stranger was seen, or none came."""
        if self.is_open:
            self.is_open = False
            self._close()
            self._last, self._due_ns = None, now_ns + PAUSE_NS
