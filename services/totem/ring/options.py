"""The settings of a ring, with Corosync 3.1's defaults and formulas (corosync.conf(5), section totem).

All of them are resolved values: `token_timeout_ms` already holds what token_coefficient adds per node. The host makes
one `RingOptions` from its configuration and gives it to the `Ring`, and another one after a reload.
"""

from __future__ import annotations

from dataclasses import dataclass

from services.totem.ring.sizing import LARGE_PACKET_BYTES

MTU_OVERHEAD = 2 * 45
"""netmtu less this is the largest totempg packet: room for two mcast headers, one of them for recovery. Corosync 3.1.7
does not subtract the IP and UDP headers."""

MESSAGE_SIZE_MAX = 1 << 20
"""Largest assembled message, group header included: a C node aborts when its buffer overflows."""

SORT_QUEUE_SLOTS = 16384
"""Sequence numbers that may lie between what everybody has and the newest (RTR and sort queues of a C node)."""

SEND_QUEUE_BYTES = 4 << 20
"""Corosync's send queue holds this many bytes in packets of full size."""

RING_SEQUENCE_FREE = 1 << 62
"""Up to here any claim of a ring sequence is believed: nodes of which a forger has pushed only some must find together
again. Ring sequences start at 0, or at seconds since 1970 * 65536, and grow by 4: none gets there by itself."""

RING_SEQUENCE_BUDGET = 1 << 40
"""Above that others can push ours by no more than this at once ..."""

RING_SEQUENCE_RATE = 1 << 24
"""... and this per second. So no forger comes to the end of all numbers, where no ring could be formed."""

RING_SEQUENCE_SLACK = 1 << 34
"""How far a ring that is really formed may be ahead of what we believe: others may have believed a little more, namely
what the rate adds for them while we have no use for it. This bridges a quarter of an hour of forgeries.

A representative forms rings ahead of claims up to half of it: what it cannot believe yet is where the others are, and
they refuse a ring that is behind them. A forger gains so much with each ring that is really formed, 20 a second."""

RING_SEQUENCE_MAX = 1 << 63
"""A ring sequence above this is refused."""


ACCELERATED_WINDOW_MAX = 64
"""Packets that may follow the token; more than this brings nothing."""

WINDOW_MIN = 4
WINDOW_MAX = 400
"""Bounds of a window that is sized by the receive buffers, packets per rotation."""

LARGE_WINDOW_MAX = 1200
"""The upper bound while packets are as large as can be, that is, as long as little is lost: what is gained by it is
that the token goes round less often, what is lost, that more is on its way when packets begin to get lost."""

MESSAGES_SHARE = 0.5
"""What one node may send per visit of such a window."""


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
    """Settings of one node's ring. Times in milliseconds, counts as their comments say."""

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
    """Silence after which a member of the installed ring is given up if all others agree; 0 = wait for consensus."""
    merge_timeout_ms: int = 200
    """Interval at which an idle representative announces its ring to others."""
    fail_recv_const: int = 2500
    """Visits of the token without new messages received, while others have them, that make a node give itself up."""
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
    """Where all members say so, both windows follow from their receive buffers: the configuration gives neither."""
    early_hold: bool = False
    """Where all members say so, the token is held as soon as nobody has anything to send: the configuration does not
    give seqno_unchanged_const."""
    large_packets: bool = False
    """Where all members say so, packets may be larger than netmtu: the configuration does not give netmtu."""
    large_packet_bytes: int = LARGE_PACKET_BYTES
    """... namely this large."""
    large_in_segments: bool = False
    """The hosts cut large packets into segments themselves, so that lost ones fill no memory of the kernel."""
    marked_segments: bool = False
    """... and mark them (services/totem/security/marks.py), which earlier versions do not understand."""
    like_corosync: bool = False
    """Do and say nothing that Corosync's nodes do not: for proofs of rings in which both kinds are members."""
    netmtu: int = 1500
    cancel_token_hold_on_retransmit: bool = False
    """Whether open retransmission requests also keep the token moving."""
    sync_services: tuple[int, ...] = (0, 2)
    """Services of this node that take part in the sync, ascending: CMAP and CPG."""
    initial_sequence: int = 0
    """First sequence number of a ring less one. 0 in real rings; a proof that wrapping works starts near 2^32."""

    @property
    def packet_size_max(self) -> int:
        """Largest totempg packet, bytes."""
        return self.netmtu - MTU_OVERHEAD

    @property
    def send_queue_packets(self) -> int:
        """Packets that wait for the token at most (2974 with the default netmtu)."""
        return SEND_QUEUE_BYTES // self.packet_size_max
