"""The settings of a ring, with Corosync 3.1's defaults and formulas (corosync.conf(5), section totem).

All of them are resolved values: `token_timeout_ms` already holds what token_coefficient adds per node. The host makes
one `RingOptions` from its configuration and gives it to the `Ring`, and another one after a reload.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from services.totem.ring.sizing import LARGE_PACKET_BYTES

MTU_OVERHEAD: Final = 2 * 45
"""netmtu minus this is the largest totempg packet: room for two mcast headers, one of them for recovery. Corosync 3.1.7
does not subtract the IP and UDP headers."""

MESSAGE_SIZE_MAX: Final = 1 << 20
"""Largest assembled message, group header included: a C node aborts when its buffer overflows."""

SORT_QUEUE_SLOTS: Final = 16384
"""How far the newest sequence number may be ahead of the packets that every member has (RTR and sort queues of a C
node)."""

SEND_QUEUE_BYTES: Final = 4 << 20
"""Corosync's send queue holds this many bytes in packets of full size."""

RING_SEQUENCE_FREE: Final = 1 << 62
"""Claims of ring sequences up to here are always believed. So nodes find together again after a forger has raised the
sequence of only some of them. Ring sequences start at 0, or at seconds since 1970 * 65536, and grow by 4: without a
forger none reaches this bound."""

RING_SEQUENCE_BUDGET: Final = 1 << 40
"""Above that, others can raise our ring sequence by no more than this at once ..."""

RING_SEQUENCE_RATE: Final = 1 << 24
"""... and this per second. So no forger comes to the end of all numbers, where no ring could be formed."""

RING_SEQUENCE_SLACK: Final = 1 << 34
"""How far a ring that is really formed may be ahead of the sequence that we believe. Others may have believed a little
more: what the rate grants them while this node has no use for it. This covers a quarter of an hour of forgeries.

A representative forms rings ahead of claims up to half of this. The claims that it cannot believe yet are where the
others are, and they refuse a ring that is behind them. A forger gains that much with each ring that is really formed,
20 times a second.
"""

RING_SEQUENCE_MAX: Final = 1 << 63
"""A ring sequence above this is refused."""


ACCELERATED_WINDOW_MAX: Final = 64
"""Packets that may follow the token; more than this brings nothing."""

WINDOW_MIN: Final = 4
WINDOW_MAX: Final = 400
"""Bounds of a window that is sized by the receive buffers, packets per rotation."""

LARGE_WINDOW_MAX: Final = 1200
"""The upper bound while packets have their largest size, that is, while little is lost. A wider window makes the token
go round less often. The price: more packets are in flight when losses begin."""

MESSAGES_SHARE: Final = 0.5
"""The share of such a window that one node may send per visit."""


def token_retransmit_ms(token_timeout_ms: int, retransmits_before_loss: int = 4) -> int:
    """token_retransmit: time without news of the token after which it is sent again."""
    return int(token_timeout_ms / (retransmits_before_loss + 0.2))


def token_hold_ms(retransmit_ms: int) -> int:
    """hold: how long the representative of an idle ring keeps the token."""
    return int(retransmit_ms * 0.8 - 10)


def consensus_ms(token_timeout_ms: int) -> int:
    """consensus: how long to wait for agreement on a membership."""
    return int(token_timeout_ms * 1.2)


@dataclass(frozen=True, slots=True)
class RingOptions:
    """Settings of one node's ring. Times are in milliseconds; each count has its unit in its comment."""

    members: frozenset[int] | None = None
    """Node ids of the nodelist; joins that name others are refused. None: no nodelist, everybody may join."""
    token_timeout_ms: int = 3000
    """Time without the token after which a processor is taken for failed."""
    token_retransmit_ms: int = 714
    token_hold_ms: int = 561
    token_warning_percent: int = 75
    """Share of the token time-out after which a late token is reported; 0 = never."""
    join_timeout_ms: int = 50
    """Interval at which joins are repeated in Gather."""
    send_join_ms: int = 0
    """Random delay of each join, 0 up to this, against floods on large rings."""
    consensus_timeout_ms: int = 3600
    consensus_early_ms: int = 500
    """A member of the installed ring that is silent for so long is given up if all others agree; 0 = wait for
    consensus."""
    merge_timeout_ms: int = 200
    """Interval at which an idle representative announces its ring to others."""
    fail_recv_const: int = 2500
    """After so many visits at which this node alone holds the aru down, it counts itself as failed."""
    seqno_unchanged_const: int = 30
    """Rotations without traffic before the token is held."""
    miss_count_const: int = 5
    """Token visits at which a message is missing before it is asked for."""
    window_size: int = 50
    """Packets that may be sent per rotation, by all together."""
    max_messages: int = 17
    """Packets that one node may send per visit of the token."""
    accelerated_window: int = 10
    """Packets of a visit that may be sent after the token was passed on, where all members are Rondo. 0 = none."""
    wide_windows: bool = False
    """If all members announce it, both windows follow from the receive buffers. Set if the configuration gives neither
    window."""
    early_hold: bool = False
    """If all members announce it, the token is held as soon as nobody has anything to send. Set if the configuration
    does not give seqno_unchanged_const."""
    large_packets: bool = False
    """If all members announce it, packets may be larger than netmtu. Set if the configuration does not give netmtu."""
    large_packet_bytes: int = LARGE_PACKET_BYTES
    """Largest size of such packets, bytes."""
    large_in_segments: bool = False
    """The hosts cut large packets into segments themselves, so lost segments fill no kernel memory."""
    marked_segments: bool = False
    """The hosts mark these segments (services/totem/security/marks.py). Earlier versions do not understand the
    marks."""
    like_corosync: bool = False
    """Do and announce nothing beyond Corosync, for tests of rings in which both kinds are members."""
    netmtu: int = 1500
    cancel_token_hold_on_retransmit: bool = False
    """Whether open retransmission requests also keep the token moving."""
    sync_services: tuple[int, ...] = (0, 2)
    """Services of this node that take part in the sync, ascending: CMAP and CPG."""
    initial_sequence: int = 0
    """First sequence number of a ring minus one. 0 in real rings. A test of wrapping starts near 2^32."""

    @property
    def packet_size_max(self) -> int:
        """Largest totempg packet, bytes."""
        return self.netmtu - MTU_OVERHEAD

    @property
    def send_queue_packets(self) -> int:
        """Packets that wait for the token at most (2974 with the default netmtu)."""
        return SEND_QUEUE_BYTES // self.packet_size_max
