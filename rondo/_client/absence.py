"""How a client looks for a node that is away: quickly at first, and then nearly without cost.

A killed gateway is back within some tenths of a second, so the first attempts to connect follow each other quickly.
After them the client waits for the kernel's notice that the gateway's socket exists (`arrival`), and itself looks for
it only now and then. The worker of a session, the client of asyncio and those who ask control and SAM all do it so.
"""

from collections.abc import Callable
from pathlib import Path

from rondo._client.arrival import ARRIVALS
from rondo.ipc.dealer import Dealer

RETRY_MS = 20
RETRY_MS_MAX = 200
"""A killed gateway is back within some tenths of a second. A longer pause would delay all its clients."""
QUICK_S = 2.0
"""For this time the client tries at these intervals, each twice as long as the one before; ..."""
LOOK_S = 60.0
"""... then it waits for the notice that the socket exists, and tries only at this interval; ..."""
LOOK_UNTOLD_S = 1.0
LOOK_UNTOLD_S_MAX = 8.0
"""... or, where the kernel gives no notice, at the first of these intervals, and at the second after `LONG_S`."""
LONG_S = 60.0


class Absence:
    """The absence of the node, as one connection sees it. Its owner calls `tend` while the node is away, and `end` when
    it is back."""

    def __init__(self, path: Path | None, arrived: Callable[[], object]) -> None:
        """`path`: the gateway's socket; None if it has none on this machine. `arrived` is called when the node may be
        back, by the thread that watches for it. The owner has to call `tend` then."""
        self._path = path
        self._tell = arrived
        self.since_s: float | None = None
        """The time.monotonic() at which it began; None: the node is there."""
        self._quick_until_s = 0.0
        self._retry_ms = RETRY_MS
        self._retry_at_s = 0.0
        self._ticket: int | None = None
        self._has_arrived = False

    def begin(self, now_s: float) -> float:
        """The node is away. Gives the time since when; that is now, if it was there before."""
        if self.since_s is None:
            self.since_s = now_s
            self._try_quickly(now_s)
        return self.since_s

    def tend(self, dealer: Dealer, now_s: float) -> float | None:
        """Connect if that is due. Seconds until the next attempt, as `pause_s` gives them."""
        since_s = self.begin(now_s)
        if self._has_arrived:
            self._has_arrived = False
            self._try_quickly(now_s)
        if dealer.retry_at_s is not None and now_s >= self._retry_at_s:
            # The watch is set first, so that a socket that appears before the attempt is not missed.
            self._retry_at_s = now_s + self._interval_s(now_s, since_s)
            dealer.tend(now_s)
        return self.pause_s(dealer, now_s)

    def pause_s(self, dealer: Dealer, now_s: float) -> float | None:
        """Seconds until the next attempt. None if there is none to make: the socket is connected, or sees to that by
        itself."""
        return None if dealer.retry_at_s is None else max(0.0, self._retry_at_s - now_s)

    def end(self) -> None:
        """The node is there, or nobody needs it any more."""
        self.since_s = None
        self._has_arrived = False
        ticket, self._ticket = self._ticket, None
        if ticket is not None:
            ARRIVALS.forget(ticket)

    def _try_quickly(self, now_s: float) -> None:
        self._quick_until_s = now_s + QUICK_S
        self._retry_ms = RETRY_MS
        self._retry_at_s = now_s

    def _interval_s(self, now_s: float, since_s: float) -> float:
        """How long to wait after an attempt at this time."""
        if now_s < self._quick_until_s:
            interval_ms = self._retry_ms
            self._retry_ms = min(2 * interval_ms, RETRY_MS_MAX)
            return interval_ms / 1000
        # The watch is set again each time, because the directory may have been made anew.
        former = self._ticket
        self._ticket = ARRIVALS.watch(self._path, self._arrived) if self._path is not None else None
        if former is not None:
            ARRIVALS.forget(former)
        if self._ticket is not None:
            return LOOK_S
        return LOOK_UNTOLD_S if now_s < since_s + LONG_S else LOOK_UNTOLD_S_MAX

    def _arrived(self) -> None:
        self._has_arrived = True
        self._tell()
