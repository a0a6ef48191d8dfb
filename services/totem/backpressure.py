"""Backpressure slows the ring down while cpg does not keep up: the token waits a little at this node.

The log towards cpg has a bound. Above half of it totem takes nothing from this node's own clients, but other nodes go
on sending. A client of this node that reads more slowly than all others send would soon be cut off
(cpg.client_bytes_max, by default half of the log). The ring turns only as fast as every member passes the token on. So
a short pause before a token is read slows all members, Corosync's nodes included, without breaking a rule. The pause
grows with the log.

When the log has reached its bound nothing is read until cpg has taken something, or a fifth of the token time-out is
over. This is for a cpg that is being started again. Pauses alone would not keep the bound, since each of them lets one
rotation of messages through. A cpg that takes nothing any more must not hold up the whole ring: see `FullLog`.
"""

from __future__ import annotations

from typing import Final

PAUSE_NS_MAX: Final = 50_000_000
"""Longest pause. It must stay well below the time after which others send the token again or take it for lost."""

PRESSURE_MIN: Final = 0.2
"""How full the log is when the pauses begin; they are longest when it is full. With 0.5, of three clients that sent and
read 256 bytes at 300,000 a second one was cut off within two seconds; with 0.2 all went on at the same rate."""

FULL_PAUSES_PER_TOKEN_TIMEOUT: Final = 5
"""The token of a ring whose log is full here is held up for no longer than this part of the token time-out."""


class Backpressure:
    """Says until when nothing is to be read from the network."""

    def __init__(self, token_retransmit_ms: int, token_timeout_ms: int) -> None:
        self.change_timers(token_retransmit_ms, token_timeout_ms)
        self._full_until_ns = 0
        """Until when a full log may hold up the token that is being held up."""
        self._tokens = 0
        self.until_ns = 0
        self.pauses = 0
        """Tokens that have waited."""

    def change_timers(self, token_retransmit_ms: int, token_timeout_ms: int) -> None:
        """Other time-outs of the ring, from the next pause on."""
        self._full_ns_max = token_timeout_ms * 1_000_000 // FULL_PAUSES_PER_TOKEN_TIMEOUT
        self._pause_ns_max = min(PAUSE_NS_MAX, token_retransmit_ms * 1_000_000 // 4)

    def holds(self, now_ns: int) -> bool:
        """Whether nothing is to be read now."""
        return now_ns < self.until_ns

    def update(self, pressure: float, tokens: int, now_ns: int) -> bool:
        """Once a turn: `pressure` of the log, tokens received so far. True: a pause begins now."""
        visited = tokens != self._tokens
        self._tokens = tokens
        if not visited or pressure <= PRESSURE_MIN or now_ns < self.until_ns:
            return False
        share = min(1.0, (pressure - PRESSURE_MIN) / (1 - PRESSURE_MIN))
        self.until_ns = now_ns + int(self._pause_ns_max * share)
        self._full_until_ns = now_ns + self._full_ns_max
        self.pauses += 1
        return True

    def prolong(self, pressure: float, now_ns: int) -> bool:
        """A pause is over. True: the log is still full, and another one begins."""
        if pressure < 1.0 or now_ns >= self._full_until_ns:
            return False
        self.until_ns = min(now_ns + self._pause_ns_max, self._full_until_ns)
        return True
