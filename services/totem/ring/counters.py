"""Counters of the ring, under the names that Corosync gives in stats.srp; and refused input by reason."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from services.totem.wire.base import Reason

NODES_MAX: Final = 512
"""So many nodes are counted apart in the life of a process, more than a ring can have; further ones are not."""


@dataclass(slots=True)
class Counters:
    """Counts since the start of the process; none is ever reset."""

    orf_token_tx: int = 0
    orf_token_rx: int = 0
    token_retransmitted: int = 0
    """Tokens sent again by the retransmit timer."""
    token_duplicate_rx: int = 0
    memb_merge_detect_tx: int = 0
    memb_merge_detect_rx: int = 0
    memb_join_tx: int = 0
    memb_join_rx: int = 0
    memb_commit_token_tx: int = 0
    memb_commit_token_rx: int = 0
    token_hold_cancel_tx: int = 0
    token_hold_cancel_rx: int = 0
    mcast_tx: int = 0
    mcast_rx: int = 0
    mcast_after_token_tx: int = 0
    """New packets that followed the token (accelerated ring)."""
    mcast_retx: int = 0
    """Packets sent again because the token asked for them."""
    mcast_duplicate_rx: int = 0
    mcast_late_rx: int = 0
    """Packets of a ring that this one has replaced."""
    operational_entered: int = 0
    operational_token_lost: int = 0
    gather_entered: int = 0
    gather_token_lost: int = 0
    commit_entered: int = 0
    commit_token_lost: int = 0
    recovery_entered: int = 0
    recovery_token_lost: int = 0
    consensus_timeouts: int = 0
    consensus_early: int = 0
    stranger_early: int = 0
    """Joins and packets of other rings that were ignored because some members had not installed this ring yet."""
    stranger_estranged: int = 0
    """Joins and packets that were ignored for a while, because attempts to form a ring with their sender kept
    failing."""
    continuous_gather: int = 0
    """Times in a row that Gather was entered without reaching Operational."""
    rx_msg_dropped: int = 0
    """All refused input; `dropped` says why."""
    join_flushed: int = 0
    """Joins thrown away because this process had been paused."""
    messages_tx: int = 0
    messages_rx: int = 0
    dropped: dict[Reason, int] = field(default_factory=dict)
    packets_again: dict[int, int] = field(default_factory=dict)
    """mcast_retx by the node whose packets they are, of up to `NODES_MAX` nodes."""
    tokens_again: dict[int, int] = field(default_factory=dict)
    """token_retransmitted by the node to which they go."""

    def packet_again(self, sender: int) -> None:
        """Count a packet of that node that is sent again."""
        self.mcast_retx += 1
        _count(self.packets_again, sender)

    def token_again(self, target: int) -> None:
        """Count a token that is sent again to that node."""
        self.token_retransmitted += 1
        _count(self.tokens_again, target)

    def drop(self, reason: Reason) -> None:
        """Count input that is refused."""
        self.rx_msg_dropped += 1
        self.dropped[reason] = self.dropped.get(reason, 0) + 1


def _count(by_node: dict[int, int], node: int) -> None:
    if node in by_node or len(by_node) < NODES_MAX:
        by_node[node] = by_node.get(node, 0) + 1
