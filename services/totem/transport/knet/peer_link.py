"""One link to one host: pinged by a timer, up when pongs come, down when they stay away.

A pong proves both directions. It returns the ping's time stamp. If the ping was sent longer ago than `ping_timeout`,
the pong proves nothing, so a replayed pong does not keep a dead link up.

The first pong brings a link up. But if the link went down before, and another link carries data, it needs `pong_count`
+ 1 pongs. So an unstable link is not used each time it comes back. (Both are this node's own decision; C nodes always
wait for `pong_count` + 1.)
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

from services.totem.transport.knet.link_options import LinkOptions
from services.totem.transport.knet.path_mtu import NEVER_NS, PathMtu

Address = tuple[str, int]
"""IP address and UDP port."""

SEARCH_INTERVAL_NS: Final = 100_000_000
"""Interval between the first pings of a link that is down."""
SEARCH_PINGS: Final = 20
"""After so many pings at this interval the normal interval is used: the host may be off for days."""

LATE_NS: Final = 200_000_000
"""If a timer is later than this, the process was stopped, and pongs may still wait to be read."""

_MS_NS: Final = 1_000_000
_LATENCY_WEIGHT: Final = 16


@dataclass(slots=True)
class LinkCounters:
    """Traffic over a link. Data counts fragments."""

    tx_data: int = 0
    tx_ping: int = 0
    tx_pong: int = 0
    tx_pmtu: int = 0
    tx_bytes: int = 0
    """Of data."""
    rx_data: int = 0
    rx_ping: int = 0
    rx_pong: int = 0
    rx_pmtu: int = 0
    rx_bytes: int = 0
    """Of data."""
    tx_errors: int = 0
    """Datagrams that the kernel refused to send."""
    rx_errors: int = 0
    """Datagrams from its address that were refused."""
    ups: int = 0
    downs: int = 0


class PeerLink:
    """State of one link."""

    __slots__ = (
        "_last_took_ns",
        "_pings_while_down",
        "_pongs",
        "address",
        "asked_ns",
        "changed_ns",
        "copies_seen",
        "counters",
        "heard_ns",
        "latency_max_ns",
        "latency_min_ns",
        "latency_ns",
        "latency_samples",
        "missed_tokens",
        "number",
        "options",
        "path",
        "ping_due_ns",
        "refused",
        "up",
        "was_up",
    )  # fmt: skip

    def __init__(self, number: int, address: Address, options: LinkOptions, path: PathMtu, now_ns: int) -> None:
        self.number = number
        self.address = address
        self.options = options
        self.path = path
        self.counters = LinkCounters()
        self.up = False
        self.was_up = False
        self.changed_ns = now_ns
        """When it last went up or down."""
        self.ping_due_ns = now_ns
        self.heard_ns = now_ns
        """When the last valid pong came."""
        self.asked_ns = NEVER_NS
        """When a doubt began. A pong to a ping sent since then shows that the link works, and resets this."""
        self.refused = False
        """Whether ICMP says that nobody listens there."""
        self.latency_ns = 0
        """Running mean of the time between ping and pong; 0: none yet."""
        self.latency_min_ns = NEVER_NS
        """The shortest time between ping and pong since the start; NEVER_NS: none yet."""
        self.latency_max_ns = 0
        self.latency_samples = 0
        """Pongs that were measured since the start."""
        self.copies_seen = False
        """Whether copies of tokens come on this link."""
        self.missed_tokens = 0
        """Tokens in a row that came on another link and not on this one."""
        self._last_took_ns = 0
        self._pongs = 0
        self._pings_while_down = 0

    @property
    def expected_ns(self) -> int:
        """The expected time of a pong: the mean, or the last one if that was faster. The mean remembers delays for
        long."""
        return min(self.latency_ns, self._last_took_ns)

    @property
    def due_ns(self) -> int:
        """When a ping or probe is due, or `is_silent` may become true."""
        due_ns = min(self.ping_due_ns, self.path.due_ns)
        return min(due_ns, self.heard_ns + self.options.ping_timeout_ms * _MS_NS) if self.up else due_ns

    def pinged(self, now_ns: int) -> None:
        """The timer's ping is sent: set the time of the next one."""
        interval_ns = self.options.ping_interval_ms * _MS_NS
        if not self.up:
            self._pings_while_down += 1
            if self._pings_while_down <= SEARCH_PINGS:
                interval_ns = min(interval_ns, SEARCH_INTERVAL_NS)
        self.ping_due_ns = now_ns + interval_ns

    def is_silent(self, now_ns: int) -> bool:
        """Whether an up link has not answered for too long."""
        return self.up and now_ns - self.heard_ns >= self.options.ping_timeout_ms * _MS_NS

    def ponged(self, sent_ns: int, now_ns: int, *, others_up: bool) -> bool:
        """A pong to the ping of `sent_ns` came. True: the link is up now, and was not."""
        took_ns = now_ns - sent_ns
        if not 0 <= took_ns <= self.options.ping_timeout_ms * _MS_NS:
            return False
        self.heard_ns = now_ns
        self.refused = False
        if sent_ns >= self.asked_ns:
            self.asked_ns = NEVER_NS
        # A ping sent while the link was down may have waited for the link itself, so it is no measure of the network.
        self.latency_ns += (took_ns - self.latency_ns) // (_LATENCY_WEIGHT if self.latency_ns and self.up else 1)
        self._last_took_ns = took_ns
        self.latency_samples += 1
        self.latency_min_ns = min(self.latency_min_ns, took_ns)
        self.latency_max_ns = max(self.latency_max_ns, took_ns)
        if self.up:
            return False
        self._pongs += 1
        if self._pongs <= (self.options.pong_count if self.was_up and others_up else 0):
            return False
        self.up = self.was_up = True
        self.changed_ns = now_ns
        self.counters.ups += 1
        return True

    def go_down(self, now_ns: int) -> None:
        """The link does not work any more."""
        self.up = False
        self.changed_ns = now_ns
        self.counters.downs += 1
        self.asked_ns = NEVER_NS
        self._pongs = self._pings_while_down = self.missed_tokens = 0
        self.copies_seen = self.refused = False
        self.ping_due_ns = now_ns + min(self.options.ping_interval_ms * _MS_NS, SEARCH_INTERVAL_NS)
        self.path.stop()

    def look_again(self, now_ns: int) -> None:
        """The link's host was heard, so it may have been started: ping often again."""
        if not self.up and self._pings_while_down > SEARCH_PINGS:
            self._pings_while_down = 0
            self.ping_due_ns = min(self.ping_due_ns, now_ns)

    def status(self, now_ns: int) -> dict[str, Any]:
        """The link for `rondo status`."""
        return {
            "link": self.number,
            "remote": self.address[0],
            "port": self.address[1],
            "up": self.up,
            "since_ms": (now_ns - self.changed_ns) // _MS_NS,
            "mtu": self.path.size,
            "latency_us": self.latency_ns // 1000,
            "latency_min_us": self.latency_min_ns // 1000 if self.latency_samples else 0,
            "latency_max_us": self.latency_max_ns // 1000,
            "latency_samples": self.latency_samples,
            "priority": self.options.priority,
        } | asdict(self.counters)
