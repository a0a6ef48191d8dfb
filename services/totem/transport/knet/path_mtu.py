"""Path MTU discovery on one link: finds the largest datagram at the start, verifies it with each ping, and searches
again at intervals.

Each probe of the tried size goes out together with one of the smallest size. A size counts as too large only if the
small probe is answered several times and the large one never. A link that is down or lossy says nothing about sizes.
The search is a bisection between a size that passes and one that does not.
"""

from __future__ import annotations

from enum import Enum

from services.totem.transport.knet.link_options import KnetOptions

TRIES = 4
TRY_NS = 75_000_000
"""Pause between two tries of one size."""
STEP_BYTES = 16
"""Precision of the search: a block of AES."""
UNVERIFIED_MAX = 2
"""After so many unanswered verifications in a row the search starts again."""
NEVER_NS = 1 << 62

HEADERS_BYTES_IPV4, HEADERS_BYTES_IPV6 = 28, 48
FLOOR_IPV4, FLOOR_IPV6 = 548, 1232
"""UDP payload that every path carries (RFC 791, RFC 8200)."""


class Phase(Enum):
    """Phase of the search."""

    IDLE = "idle"
    SEARCH = "search"
    REST = "rest"


class PathMtu:
    """The search on one link. Sizes are those of UDP payloads, bytes."""

    __slots__ = (
        "_floor_answers", "_high", "_low", "_next_ns", "_tries", "_unverified", "ceiling", "due_ns",
        "floor", "interval_ns", "phase", "size", "trying",
    )  # fmt: skip

    def __init__(self, floor: int, ceiling: int, interval_ns: int) -> None:
        self.floor = floor
        """The size that every path of this IP version carries."""
        self.ceiling = ceiling
        """The size that the interface carries."""
        self.interval_ns = interval_ns
        """After this time larger sizes are tried again."""
        self.size = floor
        """The size that is known to pass."""
        self.phase = Phase.IDLE
        self.due_ns = NEVER_NS
        """When to call `probes`."""
        self.trying = 0
        self._low = self._high = self._tries = self._floor_answers = self._unverified = 0
        self._next_ns = NEVER_NS

    def start(self, now_ns: int) -> None:
        """Nothing is known about this path: search from the largest size."""
        self.size = self.floor
        self._search(self.floor, self.ceiling, now_ns)

    def stop(self) -> None:
        """The link is down."""
        self.phase, self.due_ns = Phase.IDLE, NEVER_NS

    def probes(self, now_ns: int) -> tuple[int, ...]:
        """Sizes to probe now."""
        if self.due_ns > now_ns:
            return ()
        if self.phase is Phase.REST:
            if self.size >= self.ceiling:
                self.due_ns = now_ns + self.interval_ns
                return ()
            self._search(self.size, self.ceiling, now_ns)
        if self._tries >= TRIES:
            if self._floor_answers >= 2:
                self._refuted(now_ns)
                if self.phase is not Phase.SEARCH:
                    return ()
            self._tries = self._floor_answers = 0
        self._tries += 1
        self.due_ns = now_ns + TRY_NS
        return (self.floor, self.trying)

    def verify(self, now_ns: int) -> int:
        """The size to probe along with a ping; 0: none."""
        if self.phase is not Phase.REST or self.size <= self.floor:
            return 0
        self._unverified += 1
        if self._unverified > UNVERIFIED_MAX:
            self._search(self.floor, self.size, now_ns)
            return 0
        return self.size

    def answered(self, size: int, now_ns: int) -> None:
        """A probe of this size was answered."""
        if size == self.size:
            self._unverified = 0
        if self.phase is not Phase.SEARCH:
            return
        if size == self.floor:
            self._floor_answers += 1
        if size == self.trying:
            self._low = size
            self.size = max(self.size, size)
            self._narrow(now_ns)

    def too_large(self, size: int, now_ns: int) -> None:
        """The kernel refused a datagram of this size, without sending it."""
        if size <= self.floor:
            return
        if self.size >= size:
            self.size = self.floor
            self._search(self.floor, size - 1, now_ns)
        elif self.phase is Phase.SEARCH and self.trying >= size:
            self._high = min(self._high, size)
            self._narrow(now_ns)

    def _refuted(self, now_ns: int) -> None:
        self._high = self.trying
        if self.size >= self.trying:
            self.size = self._low
        self._narrow(now_ns)

    def _search(self, low: int, high: int, now_ns: int) -> None:
        self.phase = Phase.SEARCH
        self._low, self._high, self.trying = low, high + 1, high
        self._tries = self._floor_answers = self._unverified = 0
        self.due_ns = now_ns
        if high <= low:
            self._rest(now_ns)

    def _narrow(self, now_ns: int) -> None:
        """Choose the next size to try, or end the search."""
        if self._high - self._low <= STEP_BYTES or self._low >= self.ceiling:
            self._rest(now_ns)
            return
        self.trying = (self._low + self._high) // 2
        self._tries = self._floor_answers = 0
        self.due_ns = now_ns

    def _rest(self, now_ns: int) -> None:
        self.size = max(self._low, self.floor)
        self.phase, self.due_ns = Phase.REST, now_ns + self.interval_ns
        self._unverified = 0


def path_mtu(address: str, mtu: int, options: KnetOptions) -> PathMtu:
    """The search towards an IP address over an interface with this MTU. A configured MTU needs no search."""
    headers, floor = (HEADERS_BYTES_IPV6, FLOOR_IPV6) if ":" in address else (HEADERS_BYTES_IPV4, FLOOR_IPV4)
    ceiling = max(floor, min(options.mtu or mtu, 65_535) - headers)
    return PathMtu(ceiling if options.mtu else floor, ceiling, options.pmtud_interval_ms * 1_000_000)
