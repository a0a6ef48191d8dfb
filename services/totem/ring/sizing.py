"""How large packets may be: netmtu, or, where all members are Rondo and the network carries them, some pieces of it.

What a packet costs - sealing, books, system calls, the way through an interpreter - hardly depends on its size, so a
ring is the faster the larger its packets are. A packet beyond the MTU of the path travels in several pieces, and is
lost as soon as one of them is: then all of it is sent again. So there is a size for each loss, and a sender finds it by
what comes of its own packets. Of those that it sends now it counts how many were sent, and how many of them again, by
itself or by others (whose copies it receives). Where that is more than a share for which the next step is cheaper it
goes there: the same size with segments of parity (transport/segments.py), which make up for most losses; a middle size;
netmtu. One step back is tried after a number of rotations that doubles when the try ends soon. So nothing is assumed of
how losses fall: where a network loses a datagram as a whole, whatever its size, large ones remain right.

Where the kernel cuts packets into fragments of IP, any request for a lost packet on the token ends all large ones (see
`LARGE_PACKET_BYTES`), for a number of rotations without a request that doubles likewise.

Flow control counts a large packet as the packets of netmtu that it stands for, so that windows bound bytes as before.
(One that was sent when the windows were wider, and is sent again, takes all that is left.)
A receiver takes packets of any size: this is a decision of each sender alone.
"""

from __future__ import annotations

from typing import NamedTuple

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
"""The size between these and netmtu: six segments, sealed."""

PARITY_FROM_PERCENT = 20
"""Of a hundred packets of `CUT_PACKET_BYTES` so many may be sent again before parity is cheaper, ..."""
MIDDLE_FROM_PERCENT = 40
"""... so many of those with parity before the middle size is, with parity, ..."""
NETMTU_FROM_PERCENT = 100
"""... and of these, before netmtu is. (Measured with one way to send at a time: bench/HISTORY.md, Loss.)"""

SENT_GRACE = 24
"""So many packets are taken to have arrived before any was sent: a share of a few is no share."""
SENT_WINDOW = 64
"""Packets after which what was counted before counts half."""

LATE_UNITS = 9
"""While packets are larger than netmtu the accelerated window counts so many of netmtu as one: with the default of ten
two packets of `CUT_PACKET_BYTES` follow the token. Without that none would, and nodes would only work in turns. (Fewer
where a receive buffer would not hold that of all members.)"""

LARGE_PACKETS_IN_BUFFER = 8
"""So many large packets every member's receive buffer must take."""

VISITS_AT_FIRST = 64
"""Visits of the token after which larger packets are tried (again)."""
VISITS_MAX = 1 << 16
SOON_VISITS = 2048
"""A try that lasted longer counts as a success."""


class Step(NamedTuple):
    """One way to send packets."""

    limit: int
    parity: bool
    again_percent: int
    """Of a hundred packets so many may be sent again; above that the next step is cheaper."""


class PacketSize:
    """One node's decision, for one ring."""

    __slots__ = (
        "_again", "_at", "_base", "_first", "_floor", "_fragile", "_quiet", "_sent", "_steps", "_visits_wanted",
        "limit", "parity",
    )  # fmt: skip

    def __init__(self, base: int) -> None:
        """`base`: largest packet that netmtu admits, bytes."""
        self._base = base
        self._steps = [Step(base, False, 0)]
        """The ways to choose from, the one for the least loss first."""
        self._at = 0
        """Which of them is in force."""
        self._fragile = False
        """Any loss ends large packets."""
        self._sent = self._again = 0
        """Full packets of this node that were sent since this step is in force, and sent again; old ones count less."""
        self._first = -1
        """Number of the first of them; -1 = none yet."""
        self._floor = 0
        """Smaller packets are not counted."""
        self._quiet = 0
        self._visits_wanted = VISITS_AT_FIRST
        self.limit = base
        """Largest packet that may be sent now, bytes."""
        self.parity = False
        """Whether segments of parity go with what is cut."""

    def allow(self, large: int, *, in_segments: bool = False) -> None:
        """In this ring all members take packets up to this size. `in_segments`: and the hosts cut them themselves."""
        base = self._base
        self._steps = []
        if large > base:
            self._steps.append(Step(large, False, PARITY_FROM_PERCENT))
            if in_segments and large > MIDDLE_PACKET_BYTES > base:
                self._steps.append(Step(large, True, MIDDLE_FROM_PERCENT))
                self._steps.append(Step(MIDDLE_PACKET_BYTES, True, NETMTU_FROM_PERCENT))
            elif in_segments:
                self._steps.append(Step(large, True, NETMTU_FROM_PERCENT))
        self._steps.append(Step(base, False, 0))
        self._fragile = not in_segments
        self._visits_wanted = VISITS_AT_FIRST
        self._change(0)

    def sent(self, packet_bytes: int, seq: int) -> None:
        """A packet of this node was sent, with this number."""
        if packet_bytes > self._floor:
            self._sent += 1
            if self._first < 0:
                self._first = seq

    def sent_again(self, packet_bytes: int, seq: int) -> None:
        """A packet of this node was sent again, perhaps by another member."""
        if 0 <= self._first <= seq and packet_bytes > self._floor:
            self._again += 1

    def visited(self, *, lost: bool) -> None:
        """A token was here; `lost`: somebody, this node perhaps, misses a packet."""
        last = len(self._steps) - 1
        if last == 0:
            return
        self._quiet += 1
        if self._at < last and (lost if self._fragile else self._is_too_much()):
            self._give_up(self._at + 1)
        elif lost and self._fragile:
            self._quiet = 0
        elif self._at > 0 and self._quiet >= self._visits_wanted:
            self._change(self._at - 1)
        elif self._sent >= SENT_WINDOW:
            self._sent >>= 1
            self._again >>= 1

    def distrust(self) -> None:
        """What others have sent does not arrive, however often this node sends it again. So its size is given up here:
        then it leaves in several copies. (Who sends nothing itself sees no share of its own.)"""
        if self._at < len(self._steps) - 1:
            self._give_up(len(self._steps) - 1)

    def _give_up(self, to: int) -> None:
        soon = self._quiet < SOON_VISITS
        self._visits_wanted = min(VISITS_MAX, 2 * self._visits_wanted) if soon else VISITS_AT_FIRST
        self._change(to)

    def _is_too_much(self) -> bool:
        """Whether so much is sent again that the next step is cheaper."""
        return self._again * 100 > self._steps[self._at].again_percent * (self._sent + SENT_GRACE)

    def _change(self, to: int) -> None:
        """Another step; what is counted begins anew."""
        self._at = to
        self.limit, self.parity, _ = self._steps[to]
        self._floor = max((step.limit for step in self._steps if step.limit < self.limit), default=0)
        self._sent = self._again = self._quiet = 0
        self._first = -1

    @property
    def is_largest(self) -> bool:
        """Whether packets are larger than netmtu, and none larger are allowed."""
        return self._base < self.limit == self._steps[0].limit

    @property
    def is_large(self) -> bool:
        """Whether packets may be larger than netmtu now."""
        return self.limit > self._base

    def units(self, packet_bytes: int) -> int:
        """How many packets of netmtu a packet counts for."""
        return -(-packet_bytes // self._base) or 1
