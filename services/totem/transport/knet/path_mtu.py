"""The largest datagram that passes one link: searched for at the start, verified with each ping, looked for again at
intervals.

A probe of the size that is tried goes out together with one of the least size. Only where the small one is answered and
the large one is not, several times, is the size held to be too large: a link that is down, or loses this and that, says
nothing of sizes. Between what passes and what does not the search halves the distance.
"""

from __future__ import annotations

from enum import Enum

from services.totem.transport.knet.link_options import KnetOptions

TRIES = 4
TRY_NS = 75_000_000
"""Pause between two tries of one size."""
STEP_BYTES = 16
"""A block of AES: closer it need not be."""
UNVERIFIED_MAX = 2
"""Verifications in a row without an answer, before the size is tried in earnest."""
NEVER_NS = 1 << 62

HEADERS_BYTES_IPV4, HEADERS_BYTES_IPV6 = 28, 48
FLOOR_IPV4, FLOOR_IPV6 = 548, 1232
"""UDP payload that every path carries (RFC 791, RFC 8200)."""


class Phase(Enum):
    """What is being done."""

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
        """What every path of this IP version carries."""
        self.ceiling = ceiling
        """What the interface carries."""
        self.interval_ns = interval_ns
        """After this time more is tried again."""
        self.size = floor
        """What is known to pass."""
        self.phase = Phase.IDLE
        self.due_ns = NEVER_NS
        """When `probes` wants to be called."""
        self.trying = 0
        self._low = self._high = self._tries = self._floor_answers = self._unverified = 0
        self._next_ns = NEVER_NS

    def start(self, now_ns: int) -> None:
        """Nothing is known of this path: begin with the largest size."""
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
        """The next size to try, or the end."""
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
    """The search on the way to an IP address, over an interface with this MTU; of a configured one all is known."""
    headers, floor = (HEADERS_BYTES_IPV6, FLOOR_IPV6) if ":" in address else (HEADERS_BYTES_IPV4, FLOOR_IPV4)
    ceiling = max(floor, min(options.mtu or mtu, 65_535) - headers)
    return PathMtu(ceiling if options.mtu else floor, ceiling, options.pmtud_interval_ms * 1_000_000)
