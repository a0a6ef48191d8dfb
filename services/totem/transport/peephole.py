"""A look at who is refused: the kernel drops datagrams from unlisted addresses, and does not say which these are.

The kernel's count grows when a node of this cluster is missing in the nodelist. Once it has grown by a few, everybody
is let in for a moment, until one datagram of a stranger was seen, so that the log can name its address. During a flood
nobody is let in: to look at it would be to let it in.
"""

from __future__ import annotations

from collections.abc import Callable

INTERVAL_NS = 1_000_000_000
OPEN_NS = 500_000_000
"""A node that looks for others sends ten datagrams meanwhile, at the least."""
PAUSE_NS = 10_000_000_000
"""From one look to the next."""
DROPPED_MAX = 500
"""Datagrams of an interval: more than that is a flood."""


class Peephole:
    """Decides when to open. `dropped` is the kernel's count; `open_to_all` and `close` change who is let in."""

    def __init__(self, dropped: Callable[[], int], open_to_all: Callable[[], None], close: Callable[[], None]) -> None:
        self._dropped = dropped
        self._open_to_all = open_to_all
        self._close = close
        self._due_ns = 0
        self._last: int | None = None
        self.is_open = False
        self.is_wary = False
        """Strangers may be among what is read: from the opening until what was let in has certainly been read."""

    def tend(self, now_ns: int) -> None:
        """Call it often; it costs one comparison."""
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
