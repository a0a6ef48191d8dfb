"""How large packets may be: netmtu, or, where all members are Rondo and the network carries them, some pieces of it.

What a packet costs - sealing, books, system calls, the way through an interpreter - hardly depends on its size, so a
ring is the faster the larger its packets are. A packet beyond the MTU of the path travels in several pieces, and is
lost as soon as one of them is: then all of it is sent again. So there is a size for each loss, and a sender finds it by
what comes of its own packets. Of those of the present size it counts how many were sent, and how many of them again, by
itself or by others (whose copies it receives): where that is more than a share for which the next smaller size is
cheaper it goes one size down. The next larger one is tried after a number of rotations that doubles when the try ends
soon. So nothing is assumed of how losses fall: where a network loses a datagram as a whole, whatever its size, the
largest remains right.

Where the kernel cuts packets into fragments of IP, any request for a lost packet on the token ends all large ones (see
`LARGE_PACKET_BYTES`), for a number of rotations without a request that doubles likewise.

Flow control counts a large packet as the packets of netmtu that it stands for, so that windows bound bytes as before.
(One that was sent when the windows were wider, and is sent again, takes all that is left.)
A receiver takes packets of any size: this is a decision of each sender alone.
"""

from __future__ import annotations

LARGE_PACKET_BYTES = 8_600
"""Largest totempg packet: six fragments on Ethernet, with its headers, wrapped in recovery and sealed.

UDP would carry 60,000 bytes. But a receiver's kernel keeps what it has of an incomplete datagram for 30 s, in 4 MiB
for all of them, and drops every fragment when that is full. With forty fragments a datagram a few seconds of heavy loss
filled it, so that none of the packets that were sent again came through: the ring stood for half a minute after the
loss had ended (`make chaos SEED=1`). Of six fragments most get through, and what does not takes little."""

CUT_PACKET_BYTES = 60_000
"""The same where the hosts cut large datagrams into segments themselves (transport/segments.py), and no memory of the
kernel fills: what goes with one call, with its headers, wrapped in recovery and sealed."""

MIDDLE_PACKET_BYTES = 8_400
"""The size between these and netmtu: six segments, sealed. At 1 % loss of frames each, a third of what has
`CUT_PACKET_BYTES` is lost, and 6 % of these."""

AGAIN_PERCENT_LARGE = 50
"""Of a hundred packets of `CUT_PACKET_BYTES` so many may be sent again before the middle size is cheaper: it costs
nearly twice as much for the same content (measured on three nodes; bench/RESULTS.md, Loss)."""
AGAIN_PERCENT_MIDDLE = 120
"""... and of the middle size, before netmtu is, which costs more than twice as much again."""

SENT_GRACE = 24
"""So many packets are taken to have arrived before any was sent: a share of a few is no share."""
SENT_WINDOW = 256
"""Packets after which what was counted before counts half."""

LARGE_PACKETS_IN_BUFFER = 8
"""So many large packets every member's receive buffer must take."""

VISITS_AT_FIRST = 64
"""Visits of the token after which larger packets are tried (again)."""
VISITS_MAX = 1 << 16
SOON_VISITS = 2048
"""A try that lasted longer counts as a success."""


class PacketSize:
    """One node's decision, for one ring."""

    __slots__ = ("_again", "_again_percents", "_at", "_limits", "_quiet", "_sent", "_visits_wanted", "limit")

    def __init__(self, base: int) -> None:
        """`base`: largest packet that netmtu admits, bytes."""
        self._limits = [base]
        """The sizes to choose from, ascending."""
        self._again_percents: list[int] = []
        """For each of them but the first: when to go down. Empty: at any loss."""
        self._at = 0
        """Which of them is in force."""
        self._sent = self._again = 0
        """Own packets of the present size that were sent, and sent again, since it is in force; old ones count less."""
        self._quiet = 0
        self._visits_wanted = VISITS_AT_FIRST
        self.limit = base
        """Largest packet that may be sent now, bytes."""

    def allow(self, large: int, *, in_segments: bool = False) -> None:
        """In this ring all members take packets up to this size. `in_segments`: and the hosts cut them themselves."""
        base = self._limits[0]
        self._limits, self._again_percents = [base], []
        if in_segments and large > MIDDLE_PACKET_BYTES > base:
            self._limits.append(MIDDLE_PACKET_BYTES)
            self._again_percents.append(AGAIN_PERCENT_MIDDLE)
        if large > base:
            self._limits.append(large)
            if in_segments:
                self._again_percents.append(AGAIN_PERCENT_LARGE)
        self._visits_wanted = VISITS_AT_FIRST
        self._change(len(self._limits) - 1)

    def sent(self, packet_bytes: int, *, again: bool = False) -> None:
        """A packet of this node was sent: by itself, or, `again`, perhaps by another member."""
        if packet_bytes <= self.limit and (self._at == 0 or packet_bytes > self._limits[self._at - 1]):
            if again:
                self._again += 1
            else:
                self._sent += 1

    def visited(self, *, lost: bool) -> None:
        """A token was here; `lost`: somebody, this node perhaps, misses a packet."""
        if len(self._limits) == 1:
            return
        self._quiet += 1
        if not self._again_percents:
            if lost:
                self._go_down(0)
            elif self._at == 0 and self._quiet >= self._visits_wanted:
                self._change(1)
        elif self._at > 0 and self._is_too_much():
            self._go_down(self._at - 1)
        elif self._at + 1 < len(self._limits) and self._quiet >= self._visits_wanted:
            self._change(self._at + 1)
        elif self._sent >= SENT_WINDOW:
            self._sent >>= 1
            self._again >>= 1

    def _is_too_much(self) -> bool:
        """Whether so much is sent again that the next smaller size is cheaper."""
        return self._again * 100 > self._again_percents[self._at - 1] * (self._sent + SENT_GRACE)

    def _go_down(self, to: int) -> None:
        if self._at > to:
            soon = self._quiet < SOON_VISITS
            self._visits_wanted = min(VISITS_MAX, 2 * self._visits_wanted) if soon else VISITS_AT_FIRST
        self._change(to)

    def _change(self, to: int) -> None:
        """Another size; what is counted begins anew."""
        self._at = to
        self.limit = self._limits[to]
        self._sent = self._again = self._quiet = 0

    @property
    def is_largest(self) -> bool:
        """Whether packets are larger than netmtu, and none larger are allowed."""
        return 0 < self._at == len(self._limits) - 1

    def units(self, packet_bytes: int) -> int:
        """How many packets of netmtu a packet counts for."""
        return -(-packet_bytes // self._limits[0]) or 1
