"""Ignores, for a while, nodes of other rings with which attempts to form a ring keep failing.

A link that is cut in one direction causes that. Some members hear the node, one does not. As the node never agrees, it
is left out of each new ring, and then it is heard again. So after some failed attempts in a row its joins and packets
are ignored for a while. That pause doubles with each further failure. Meanwhile the ring of the other nodes works.

An attempt counts only if joins of the node came during it. A node that ignores us sends no joins. Without this rule two
rings that ignore each other at different times would never merge.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from services.totem.ring.timers import MS
from services.totem.wire.frames import PROCESSORS_MAX

ATTEMPTS_FREE: Final = 2
"""So many failed attempts in a row have no consequence: while many nodes start and stop, attempts also fail for other
reasons."""
PAUSE_MS_MIN: Final = 1_000
PAUSE_MS_MAX: Final = 8_000
FORGIVEN_AFTER_MS: Final = 20_000
"""After so long without a failed attempt the count starts at 0 again."""


class Estrangement:
    """Counts failed attempts, by node."""

    __slots__ = ("_vain",)

    def __init__(self) -> None:
        self._vain: dict[int, tuple[int, int]] = {}
        """(failed attempts in a row, time of the last one, ns) by node, in the order of those times."""

    def __len__(self) -> int:
        """Nodes with a failed attempt. Bounded by the number of processors in a ring."""
        return len(self._vain)

    def note(self, nodes: Iterable[int], now_ns: int) -> None:
        """A ring is installed without these nodes of other rings, although their joins came while it was formed."""
        for node in nodes:
            attempts, last_ns = self._vain.pop(node, (0, now_ns))
            if len(self._vain) >= PROCESSORS_MAX:
                del self._vain[next(iter(self._vain))]
            if now_ns - last_ns > FORGIVEN_AFTER_MS * MS:
                attempts = 0
            self._vain[node] = attempts + 1, now_ns

    def meet(self, members: Iterable[int]) -> None:
        """These nodes are in a ring with us: forget their failed attempts."""
        if self._vain:
            for node in members:
                self._vain.pop(node, None)

    def is_pausing(self, node: int, now_ns: int) -> bool:
        """Whether this node is ignored now."""
        attempts, last_ns = self._vain.get(node, (0, 0))
        if attempts <= ATTEMPTS_FREE:
            return False
        pause_ms = min(PAUSE_MS_MIN << min(attempts - ATTEMPTS_FREE - 1, 8), PAUSE_MS_MAX)
        return now_ns - last_ns < pause_ms * MS
