"""Notices a flood of what does not even begin as a packet of this ring, and lets the kernel drop it for a while.

Such packets from a node's address, forged, pass the filter of addresses. Each costs the ring process a read and a
refusal, and takes room in the receive buffer, so that true packets are lost. The kernel drops them at a small part of
that. Without a flood every packet is looked at here: then the log can say who sends it, and which line to change there.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable

from services.totem.security.envelope import MAGIC, PLAIN_MAGIC, RING_VERSION, VERSION
from services.totem.transport.segments import MAGIC as SEGMENT
from services.totem.transport.segments import PARITY, SHARE
from services.totem.transport.sources import Head

INTERVAL_NS = 20_000_000
"""Between two looks at the count of refused packets."""
FLOOD_MIN = 50
FLOOD_PER_S = 2500
"""So many refused packets since the last look, at this rate, are a flood. That is 1 or 2 % of a processor."""
CLOSED_NS = 10_000_000_000
"""After this time the sieve is taken away. If the flood goes on, it is back after an `INTERVAL_NS`."""
QUIET_NS = 60_000_000_000
"""A flood is logged again after a pause of this length."""

_log = logging.getLogger("TOTEM")

PLAIN_HEADS: tuple[Head, ...] = tuple(((0, int.from_bytes(magic)),) for magic in PLAIN_MAGIC)
"""How packets in the clear begin."""


def sealed_heads(cluster: int) -> tuple[Head, ...]:
    """How sealed packets and segments of a cluster begin. `cluster`: its number in envelopes of version 1."""
    envelopes = tuple(((0, MAGIC << 8 | version), (6, cluster >> 16)) for version in (VERSION, RING_VERSION))
    return (*envelopes, *(((0, SEGMENT[0] << 8 | kind),) for kind in (SHARE, PARITY)))


class Sieve:
    """Decides when the kernel drops. `refused` counts packets that were refused for their first bytes; `close` and
    `open_again` change the kernel's filter. `counters["floods_sieved"]`: how often it was closed."""

    def __init__(
        self,
        refused: Callable[[], int],
        close: Callable[[], None],
        open_again: Callable[[], None],
        counters: Counter[str],
    ) -> None:
        self._refused = refused
        self._close = close
        self._open_again = open_again
        self._counters = counters
        self.is_closed = False
        self._due_ns = 0
        self._looked_ns = 0
        self._last = 0
        self._closed_ns = -QUIET_NS

    def tend(self, now_ns: int) -> None:
        """Look at the count if it is due. Call this often: it costs one comparison."""
        if now_ns < self._due_ns:
            return
        if self.is_closed:
            self.is_closed = False
            self._open_again()
        count, elapsed_ns = self._refused(), now_ns - self._looked_ns
        more, self._last, self._looked_ns = count - self._last, count, now_ns
        self._due_ns = now_ns + INTERVAL_NS
        if more < FLOOD_MIN or more * 1_000_000_000 < FLOOD_PER_S * elapsed_ns:
            return
        self.is_closed = True
        self._due_ns = now_ns + CLOSED_NS
        self._counters["floods_sieved"] += 1
        self._close()
        if now_ns - self._closed_ns >= QUIET_NS:
            _log.warning(
                "A flood of packets that are none of this ring comes from addresses of nodes (%d in %d ms). The kernel "
                "drops them while it lasts.",
                more, elapsed_ns // 1_000_000,
            )  # fmt: skip
        self._closed_ns = now_ns
