"""How large packets may be: netmtu, or, where all members are Rondo and little is lost, some fragments of it.

What a packet costs - sealing, books, system calls, the way through an interpreter - hardly depends on its size, so a
ring is the faster the larger its packets are. A packet beyond the MTU of the path travels in several pieces, and is
lost as soon as one of them is. So large packets are for quiet networks: whoever sees a request for
a lost packet on the token goes back to netmtu, for a number of rotations that doubles when the next try ends soon, too.

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

LARGE_PACKETS_IN_BUFFER = 8
"""So many large packets every member's receive buffer must take."""

VISITS_AT_FIRST = 64
"""Visits of the token without a request after which large packets are tried (again)."""
VISITS_MAX = 1 << 16
SOON_VISITS = 2048
"""A try that lasted longer counts as a success."""


class PacketSize:
    """One node's decision, for one ring."""

    __slots__ = ("_base", "_large", "_quiet", "_visits_wanted", "limit")

    def __init__(self, base: int) -> None:
        """`base`: largest packet that netmtu admits, bytes."""
        self._base = base
        self._large = base
        self._quiet = 0
        self._visits_wanted = VISITS_AT_FIRST
        self.limit = base
        """Largest packet that may be sent now, bytes."""

    def allow(self, large: int) -> None:
        """In this ring all members take packets up to this size."""
        self.limit = self._large = max(self._base, large)
        self._quiet = 0
        self._visits_wanted = VISITS_AT_FIRST

    def visited(self, *, lost: bool) -> None:
        """A token was here; `lost`: somebody, this node perhaps, misses a packet."""
        if self._large == self._base:
            return
        self._quiet += 1
        if lost:
            if self.limit > self._base:
                soon = self._quiet < SOON_VISITS
                self._visits_wanted = min(VISITS_MAX, 2 * self._visits_wanted) if soon else VISITS_AT_FIRST
            self.limit = self._base
            self._quiet = 0
        elif self.limit == self._base and self._quiet >= self._visits_wanted:
            self.limit = self._large
            self._quiet = 0

    @property
    def is_large(self) -> bool:
        """Whether packets may be larger than netmtu now."""
        return self.limit > self._base

    def units(self, packet_bytes: int) -> int:
        """How many packets of netmtu a packet counts for."""
        return -(-packet_bytes // self._base) or 1
