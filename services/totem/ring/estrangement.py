"""Nodes of other rings with which no ring comes about, again and again, although they are heard.

A link that is cut in one direction alone does that: some hear a node, one does not, and as it never agrees it is left
out each time; then it is heard again. So after some vain attempts in a row its joins and packets are passed over for a
while, which doubles with each attempt that follows, and the ring of those who hear each other does its work.

It counts only if joins of the node came during the attempt. A node that passes us over sends none: else two rings that
pass each other over at different times would never meet.
"""

from __future__ import annotations

from collections.abc import Iterable

from services.totem.ring.timers import MS
from services.totem.wire.frames import PROCESSORS_MAX

ATTEMPTS_FREE = 2
"""So many in a row pass without consequence: while many nodes come and go rings are begun anew for other reasons."""
PAUSE_MS_MIN = 1_000
PAUSE_MS_MAX = 8_000
FORGIVEN_AFTER_MS = 20_000
"""Without a vain attempt for so long a node begins with none."""


class Estrangement:
    """Counts vain attempts, by node."""

    __slots__ = ("_vain",)

    def __init__(self) -> None:
        self._vain: dict[int, tuple[int, int]] = {}
        """(attempts in a row, time of the last of them, ns); the one longest ago stands first."""

    def __len__(self) -> int:
        """Nodes of which there is a vain attempt: as many as a ring may have at most."""
        return len(self._vain)

    def note(self, nodes: Iterable[int], now_ns: int) -> None:
        """A ring is installed without these, who are of other rings and spoke while it was formed."""
        for node in nodes:
            attempts, last_ns = self._vain.pop(node, (0, now_ns))
            if len(self._vain) >= PROCESSORS_MAX:
                del self._vain[next(iter(self._vain))]
            if now_ns - last_ns > FORGIVEN_AFTER_MS * MS:
                attempts = 0
            self._vain[node] = attempts + 1, now_ns

    def meet(self, members: Iterable[int]) -> None:
        """These are in one ring with us."""
        if self._vain:
            for node in members:
                self._vain.pop(node, None)

    def is_pausing(self, node: int, now_ns: int) -> bool:
        """Whether this node is passed over now."""
        attempts, last_ns = self._vain.get(node, (0, 0))
        if attempts <= ATTEMPTS_FREE:
            return False
        pause_ms = min(PAUSE_MS_MIN << min(attempts - ATTEMPTS_FREE - 1, 8), PAUSE_MS_MAX)
        return now_ns - last_ns < pause_ms * MS
