"""Flow control: how many packets a node may send at this visit of the token.

The token counts the packets of the last rotation (fcc) and the packets that wait at all nodes (backlog). A node may
send what the window leaves, at most max_messages, and no more than its share of the backlog. To update a count, a node
adds the difference to its own last contribution. The counts wrap at 32 bits, and the wraps cancel out.
"""

from __future__ import annotations

from services.totem.wire.base import U32_MASK


class FlowControl:
    """One node's flow control state."""

    __slots__ = ("backlog_now", "backlog_told", "sent_told")

    def __init__(self) -> None:
        self.backlog_now = 0
        """Packets waiting here at this visit (my_cbl)."""
        self.backlog_told = 0
        """Packets that waited here at the previous visit (my_pbl)."""
        self.sent_told = 0
        """Packets sent at the previous visit (my_trc)."""

    def restart(self) -> None:
        """A ring is being formed: its token does not include our counts yet."""
        self.backlog_now = self.backlog_told = self.sent_told = 0

    def allowance(self, fcc: int, backlog: int, backlog_now: int, window_size: int, max_messages: int) -> int:
        """Packets that may be sent now, new and retransmitted ones together.

        `fcc` and `backlog` are the token's (u32). If fcc has reached the window, nothing may be sent. With a backlog in
        the ring the limit is window * own backlog / total backlog, as written at the last visit. A limit of 0 is not
        applied.
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
