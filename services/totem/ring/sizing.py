"""The size of packets: netmtu, or a multiple of it if all members are Rondo and the network carries such packets.

The cost of a packet - sealing, bookkeeping, system calls, interpreter time - hardly depends on its size. So a ring is
faster with larger packets. But a packet beyond the path MTU travels in several pieces. If one piece is lost, the packet
is lost, and all of it is sent again. So each loss rate has its best size, and a sender finds it from the fate of its
own packets. It counts how many it sent, and how many of those were sent again, by itself or by others (it receives
their copies). If that share is so large that the next step is cheaper, it takes that step. The steps: segments of
parity at the same size (transport/segments.py), which make up for most losses; a middle size; netmtu. After a number of
rotations the sender tries one step back. That number doubles if the try ends soon. Nothing is assumed about the pattern
of losses: on a network that loses datagrams as a whole, whatever their size, large ones remain right.

If the kernel cuts packets into IP fragments, any request for a lost packet on the token ends all large ones (see
`LARGE_PACKET_BYTES`). They are tried again after a number of rotations without a request, which doubles likewise.

Flow control counts a large packet as the number of netmtu packets that it stands for, so windows bound bytes as before.
(A packet that was sent when the windows were wider, and is sent again, uses up the rest of the window.)

Receivers accept packets of any size, so each sender decides alone.
"""

from __future__ import annotations

from typing import Final, NamedTuple

LARGE_PACKET_BYTES: Final = 8_600
"""Largest totempg packet if the kernel cuts datagrams: six fragments on Ethernet, with its headers, wrapped in recovery
and sealed.

UDP would carry 60,000 bytes. But a receiver's kernel keeps the parts of an incomplete datagram for 30 s, in 4 MiB for
all datagrams, and drops every fragment when that is full. With forty fragments a datagram, a few seconds of heavy loss
filled it, and none of the packets that were sent again came through. The ring stood still for half a minute after the
loss had ended (`make chaos SEED=1`). With six fragments most datagrams are complete, and the rest takes little memory.
"""

CUT_PACKET_BYTES: Final = 60_000
"""Largest totempg packet if the hosts cut datagrams into segments (transport/segments.py), so no kernel memory fills:
what one system call sends, with its headers, wrapped in recovery and sealed."""

MIDDLE_PACKET_BYTES: Final = 8_400
"""The size between `CUT_PACKET_BYTES` and netmtu: six segments, sealed."""

PARITY_FROM_PERCENT: Final = 20
"""Parity is cheaper once more than so many of a hundred packets of `CUT_PACKET_BYTES` are sent again."""
MIDDLE_FROM_PERCENT: Final = 40
"""The middle size, with parity, is cheaper once more than so many of a hundred packets with parity are sent again."""
NETMTU_FROM_PERCENT: Final = 100
"""netmtu is cheaper once more than so many of a hundred packets of middle size are sent again. (All three were measured
with one way of sending at a time: bench/HISTORY.md, Loss.)"""

SENT_GRACE: Final = 24
"""So many packets count as sent without a loss at the start: a share of only a few packets means nothing."""
SENT_WINDOW: Final = 64
"""After so many packets the counts so far are halved."""

LATE_UNITS: Final = 9
"""While packets are larger than netmtu the accelerated window is so many times wider: with the default of ten, two
packets of `CUT_PACKET_BYTES` follow the token. Otherwise none would, and only one node at a time would work. (The
factor is smaller if a receive buffer would not hold that much from all members.)"""

LARGE_PACKETS_IN_BUFFER: Final = 8
"""Every member's receive buffer must hold at least so many large packets."""

VISITS_AT_FIRST: Final = 64
"""Larger packets are first tried (again) after so many visits of the token."""
VISITS_MAX: Final = 1 << 16
SOON_VISITS: Final = 2048
"""A try that lasted longer counts as a success."""


class Step(NamedTuple):
    """One way to send packets."""

    limit: int
    parity: bool
    again_percent: int
    """If more than so many of a hundred packets are sent again, the next step is cheaper."""


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
        """The steps to choose from, the one for the least loss first."""
        self._at = 0
        """Index of the step in force."""
        self._fragile = False
        """Whether any loss ends large packets."""
        self._sent = self._again = 0
        """Full packets of this node that were sent, and sent again, since this step is in force. Old ones count
        less."""
        self._first = -1
        """Sequence number of the first of them; -1 = none yet."""
        self._floor = 0
        """Smaller packets are not counted."""
        self._quiet = 0
        self._visits_wanted = VISITS_AT_FIRST
        self.limit = base
        """Largest packet that may be sent now, bytes."""
        self.parity = False
        """Whether large packets are sent with segments of parity."""

    def allow(self, large: int, *, in_segments: bool = False) -> None:
        """All members of this ring accept packets up to this size. `in_segments`: the hosts cut them into segments
        themselves."""
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
        """A token was here. `lost`: some member misses a packet."""
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
        """Packets of others do not arrive at some member, however often this node sends them again. So this node goes
        to the last step: a packet of that size leaves in several copies. (A node that sends nothing itself has no share
        of its own to see.)"""
        if self._at < len(self._steps) - 1:
            self._give_up(len(self._steps) - 1)

    def _give_up(self, to: int) -> None:
        soon = self._quiet < SOON_VISITS
        self._visits_wanted = min(VISITS_MAX, 2 * self._visits_wanted) if soon else VISITS_AT_FIRST
        self._change(to)

    def _is_too_much(self) -> bool:
        """Whether so many packets are sent again that the next step is cheaper."""
        return self._again * 100 > self._steps[self._at].again_percent * (self._sent + SENT_GRACE)

    def _change(self, to: int) -> None:
        """Take another step, and reset the counts."""
        self._at = to
        self.limit, self.parity, _ = self._steps[to]
        self._floor = max((step.limit for step in self._steps if step.limit < self.limit), default=0)
        self._sent = self._again = self._quiet = 0
        self._first = -1

    @property
    def is_largest(self) -> bool:
        """Whether packets have the largest size that is allowed, and that is larger than netmtu."""
        return self._base < self.limit == self._steps[0].limit

    @property
    def is_large(self) -> bool:
        """Whether packets may be larger than netmtu now."""
        return self.limit > self._base

    def units(self, packet_bytes: int) -> int:
        """How many packets of netmtu a packet counts for."""
        return -(-packet_bytes // self._base) or 1
