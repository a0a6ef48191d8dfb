"""The token's rotation as this node sees it: what came, what was passed on, and when it is due back.

Sequence numbers are integers that do not wrap. They belong to the ring that was committed to last, and start again with
each ring.
"""

from __future__ import annotations

from services.totem.ring.options import RingOptions
from services.totem.ring.pace import Pace
from services.totem.ring.rotation_times import RotationTimes
from services.totem.ring.timers import MS
from services.totem.wire.base import U32_MASK


class Rotation:
    """One node's record of the token's visits."""

    __slots__ = (
        "_options", "_this_seqno", "aru_count", "last_aru", "last_frame", "pace", "passed_seq", "sent_aru", "times",
        "token_at_ns", "token_first", "token_seq", "tokens_received", "tokens_sent",
    )  # fmt: skip

    def __init__(self, options: RingOptions, now_ns: int) -> None:
        self._options = options
        self._this_seqno = 0
        self.last_frame = b""
        """The token, or commit token, that was passed on last. The retransmit timer sends it again."""
        self.token_at_ns = now_ns
        """When the token was passed on."""
        self.times = RotationTimes()
        """Rotation times of all rings since the start."""
        self.begin_ring()
        self.last_aru = -1

    def change_options(self, options: RingOptions) -> None:
        """Use other time-outs from now on."""
        self._options = options
        self.pace.limit(options.token_retransmit_ms * MS)

    def begin_ring(self) -> None:
        """A ring is being formed, of which no token has been seen yet."""
        base = self._options.initial_sequence
        self.token_seq = -1
        """token_seq of the last token that was accepted."""
        self.passed_seq = base
        """seq of the token that was passed on last."""
        self.sent_aru = base - 1
        """aru of the token as it was passed on last."""
        self.last_aru = base - 1
        """aru of the token at the previous visit."""
        self.aru_count = 0
        """Visits in a row at which one node held the aru at the same value."""
        self.tokens_sent = 0
        """Tokens passed on in this ring, without repetitions: the round that this node's packets are stamped with."""
        self.tokens_received = 0
        """Tokens accepted in this ring. Equals the predecessor's `tokens_sent`, unless a token is on its way."""
        self.token_first = False
        """The predecessor already sends the packets that follow its token. So the token is here too: read it before
        more data."""
        fixed = self._options.like_corosync
        self.pace = Pace(self._options.token_retransmit_ms * MS, fixed=fixed, times=self.times)

    def accept(self, now_ns: int) -> None:
        """An acceptable token has come."""
        self.pace.came(now_ns)
        self.tokens_received += 1
        self.token_first = False

    def visit(self, aru: int) -> int:
        """A visit begins with this aru. Returns the aru of the previous visit."""
        before, self.last_aru = self.last_aru, aru
        return before

    def count_aru(self, *, stands: bool) -> int:
        """`stands`: whether a node holds the aru at the same value as before. Returns for how many visits in a row one
        has."""
        self.aru_count = self.aru_count + 1 if stands else 0
        return self.aru_count

    def end_visit(self, token_seq: int, seq: int, aru: int) -> None:
        """The token will be passed on with this seq and aru."""
        self.token_seq = token_seq
        self.passed_seq = seq
        self.sent_aru = aru

    def pass_on(self, frame: bytes, now_ns: int) -> None:
        """The token leaves, or is held here instead."""
        self.last_frame = frame
        self.token_at_ns = now_ns
        self.tokens_sent += 1

    def resume(self) -> None:
        """The token that was held here has not left: its visit goes on."""
        self.tokens_sent -= 1

    def originate(self, frame: bytes) -> None:
        """The representative sends the first token of the ring."""
        self.last_frame = frame
        self.tokens_sent = 1

    def pass_commit(self, frame: bytes) -> None:
        """A commit token leaves."""
        self.last_frame = frame

    def announce_token(self) -> None:
        """A token waits to be read."""
        self.token_first = True

    def next_seqno(self) -> int:
        """The next value of this node's packet count (u32)."""
        self._this_seqno = (self._this_seqno + 1) & U32_MASK
        return self._this_seqno
