"""Flow control: how much a node may send at this visit of the token.

The token counts the packets of the last rotation (fcc) and what waits at all nodes (backlog). A node may send what the
window leaves, at most max_messages, and of a backlog no more than its share. Both counts are kept by adding the
difference to one's last contribution, in 32 bits that wrap and cancel.
"""

from __future__ import annotations

from services.totem.wire.base import U32_MASK


class FlowControl:
    """One node's books of flow control."""

    __slots__ = ("backlog_now", "backlog_told", "sent_told")

    def __init__(self) -> None:
        self.backlog_now = 0
        """Packets waiting here at this visit (my_cbl)."""
        self.backlog_told = 0
        """... at the visit before (my_pbl)."""
        self.sent_told = 0
        """Packets sent at the visit before (my_trc)."""

    def restart(self) -> None:
        """A ring is being formed: its token knows nothing of us yet."""
        self.backlog_now = self.backlog_told = self.sent_told = 0

    def allowance(self, fcc: int, backlog: int, backlog_now: int, window_size: int, max_messages: int) -> int:
        """Packets that may be sent now, new and retransmitted ones together.

        `fcc` and `backlog` are the token's (u32). At and above the window nothing may be sent. With a backlog in the
        ring the share is window * mine / all, as told at the last visit; a share of 0 does not bind.
        """
        self.backlog_now = backlog_now
        allowed = max(0, min(max_messages, window_size - _signed(fcc)))
        others_and_mine = _signed(backlog + backlog_now - self.backlog_told)
        if others_and_mine > 0:
            share = window_size * self.backlog_told // others_and_mine
            if share > 0:
                allowed = min(allowed, share)
        return allowed

    def settle(self, fcc: int, backlog: int, sent: int) -> tuple[int, int]:
        """The token's new `(fcc, backlog)` after `sent` packets of this visit."""
        fcc = (fcc + sent - self.sent_told) & U32_MASK
        backlog = (backlog + self.backlog_now - self.backlog_told) & U32_MASK
        self.sent_told = sent
        self.backlog_told = self.backlog_now
        return fcc, backlog


def _signed(value: int) -> int:
    """A u32 difference as a signed number."""
    value &= U32_MASK
    return value - (1 << 32) if value >= 1 << 31 else value
