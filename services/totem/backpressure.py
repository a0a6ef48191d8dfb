"""Backpressure: slowing the ring down while cpg does not keep up: the token waits a little at this node.

The log towards cpg has a bound. Above half of it nothing is taken from this node's own clients, but other nodes go on
sending; and a client of this node that reads, but not as fast as all others send, would soon be cut off
(cpg.client_bytes_max, by default as much as half of the log). As the ring turns only when every member passes the token
on, a short pause before a token is read slows all of them, Corosync's nodes included, without breaking a rule. The
pause grows with what is in the log.
"""

from __future__ import annotations

PAUSE_NS_MAX = 50_000_000
"""Longest pause. It must stay well below the time after which others send the token again or take it for lost."""

PRESSURE_MIN = 0.2
"""How full the log is when the pauses begin; they are longest when it is full. With 0.5, of three clients that sent and
read 256 bytes at 300,000 a second one was cut off within two seconds; with 0.2 all went on at the same rate."""


class Backpressure:
    """Says until when nothing is to be read from the network."""

    def __init__(self, token_retransmit_ms: int) -> None:
        self._pause_ns_max = min(PAUSE_NS_MAX, token_retransmit_ms * 1_000_000 // 4)
        self._tokens = 0
        self.until_ns = 0
        self.pauses = 0
        """Tokens that have waited."""

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
        self.pauses += 1
        return True
