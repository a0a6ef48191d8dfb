"""How whoever asks looks for a node that is away: quickly at first, and then told when it comes, at no cost.

The worker of a session does the same (`worker`), with more to think of.
"""

from collections.abc import Callable
from pathlib import Path

from rondo._client import worker
from rondo._client.arrival import ARRIVALS
from rondo.ipc.dealer import Dealer


class Absence:
    """Of the node, as one connection sees it."""

    def __init__(self, path: Path | None, arrived: Callable[[], object]) -> None:
        """`path`: the gateway's socket, where it has one here. `arrived` is called by another thread when the node may
        be back: `tend` is to be called then."""
        self._path = path
        self._tell = arrived
        self._since_s: float | None = None
        self._quick_until_s = 0.0
        self._retry_ms = worker.RETRY_MS
        self._retry_at_s = 0.0
        self._ticket: int | None = None
        self._has_arrived = False

    def tend(self, dealer: Dealer, now_s: float) -> float | None:
        """Connect again if that is due. Seconds until the next attempt; None if none has to be made."""
        if _needs_nothing(dealer):
            self.end()
            return None
        if self._since_s is None:
            self._since_s = now_s
            self._try_quickly(now_s)
        if self._has_arrived:
            self._has_arrived = False
            self._try_quickly(now_s)
        if now_s >= self._retry_at_s:
            # First the watch: what comes between it and the attempt is then not missed.
            self._retry_at_s = now_s + self._pause_s(now_s, self._since_s)
            dealer.tend(now_s)
            if _needs_nothing(dealer):
                self.end()
                return None
        return self._retry_at_s - now_s

    def end(self) -> None:
        """The node is there, or nobody asks any more."""
        self._since_s = None
        self._has_arrived = False
        ticket, self._ticket = self._ticket, None
        if ticket is not None:
            ARRIVALS.forget(ticket)

    def _try_quickly(self, now_s: float) -> None:
        self._quick_until_s = now_s + worker.QUICK_S
        self._retry_ms = worker.RETRY_MS
        self._retry_at_s = now_s

    def _pause_s(self, now_s: float, since_s: float) -> float:
        if now_s < self._quick_until_s:
            self._retry_ms = min(2 * self._retry_ms, worker.RETRY_MS_MAX)
            return self._retry_ms / 1000
        # Again each time: the directory may have been made anew.
        former = self._ticket
        self._ticket = ARRIVALS.watch(self._path, self._arrived) if self._path is not None else None
        if former is not None:
            ARRIVALS.forget(former)
        if self._ticket is not None:
            return worker.LOOK_S
        return worker.LOOK_UNTOLD_S if now_s < since_s + worker.LONG_S else worker.LOOK_UNTOLD_S_MAX

    def _arrived(self) -> None:
        self._has_arrived = True
        self._tell()


def _needs_nothing(dealer: Dealer) -> bool:
    """Whether it is connected, or sees to that by itself."""
    return dealer.retry_at_s is None
