"""Capabilities: Rondo nodes announce themselves at the beginning of each ring, in a field that Corosync ignores.

Every ring begins with a SERVICE_BUILD message of each member, in the total order. Its `ids[128]` array has unused room
beyond `count`. There a Rondo node puts a magic number, a version, its capabilities, and the number of full packets that
its receive buffer takes. Once the last BUILD is delivered, all members know the same about each other. Features that
need Rondo on all members start at that point: the accelerated ring, and windows wider than Corosync's. If a single
member has announced nothing, the ring behaves exactly like Corosync's.

Later versions may append slots and set more bits. Unknown ones are ignored.
"""

from __future__ import annotations

import functools
import operator
from dataclasses import dataclass
from enum import IntFlag
from typing import TYPE_CHECKING, Final

from services.totem.ring.options import (
    ACCELERATED_WINDOW_MAX,
    LARGE_WINDOW_MAX,
    MESSAGES_SHARE,
    WINDOW_MAX,
    WINDOW_MIN,
    RingOptions,
)
from services.totem.ring.sizing import LARGE_PACKETS_IN_BUFFER, LATE_UNITS

if TYPE_CHECKING:
    from services.totem.ring.state import RingState

MAGIC: Final = int.from_bytes(b"RNDO", "little")
VERSION: Final = 1

_SLOTS: Final = 5
_I32_MAX: Final = 0x7FFF_FFFF


class Capability(IntFlag):
    """What a node supports, and which settings its configuration leaves to the ring."""

    SAFE = 1
    """Marks packets that end a SAFE message, and does not deliver such messages before all members have them."""
    ACCELERATED = 2
    """Accepts data that follows the token, and stamps its own packets with the token's round."""
    LARGE_PACKETS = 8
    """Accepts packets larger than netmtu. Its configuration does not set their size."""
    BATCHES = 16
    """Its CPG understands batches: several messages in one (`rondo.protocol.batch`)."""
    EARLY_HOLD = 32
    """Sends a hold cancel before it sends data. Its configuration does not set seqno_unchanged_const."""
    LARGE_MARKED = 64
    """LARGE_PACKETS with marked segments. Versions with and without marks cannot read each other's segments, so they
    exchange no large packets."""
    WIDE_WINDOWS = 4
    """Its configuration sets no windows: they may be as wide as the receive buffers of all members allow."""


_KNOWN: Final = functools.reduce(operator.or_, Capability)


@dataclass(slots=True, frozen=True)
class Announcement:
    """One Rondo node's announcement."""

    capabilities: Capability
    receive_packets: int = 0
    """Full packets that its receive buffer takes; 0 = unknown."""
    accelerated_window: int = 0
    version: int = VERSION


def encode(announcement: Announcement) -> tuple[int, ...]:
    """The slots that follow the service ids."""
    return (
        MAGIC,
        announcement.version,
        int(announcement.capabilities),
        min(announcement.receive_packets, _I32_MAX),
        min(announcement.accelerated_window, _I32_MAX),
    )


def decode(tail: tuple[int, ...]) -> Announcement | None:
    """The announcement in the slots after the service ids; None if the sender is not a Rondo node."""
    if len(tail) < 2 or tail[0] != MAGIC or tail[1] < 1:
        return None
    _, version, bits, packets, accelerated = (tail + (0,) * _SLOTS)[:_SLOTS]
    return Announcement(Capability(bits & _KNOWN), max(0, packets), max(0, accelerated), version)


class Features:
    """The announcements of the installed ring's members, and the features that follow from them. Only this module
    writes it."""

    __slots__ = (
        "accelerated", "accelerated_window", "all_rondo", "announcements", "early_hold", "large_window_size",
        "late_units", "max_messages", "receive_bytes", "window_size",
    )  # fmt: skip

    def __init__(self, options: RingOptions) -> None:
        self.announcements: dict[int, Announcement] = {}
        """The announcements of the installed ring's Rondo members, by node."""
        self.all_rondo = False
        self.accelerated = False
        """Data may follow the token: see `accelerated_window`."""
        self.accelerated_window = options.accelerated_window
        """How many packets of each visit may follow the token, in packets of netmtu."""
        self.early_hold = False
        """The token is held as soon as nobody has anything to send."""
        self.window_size, self.max_messages = options.window_size, options.max_messages
        """The windows in force."""
        self.large_window_size = 0
        """`window_size` while this node sends large packets; 0 = the same."""
        self.late_units = 0
        """`accelerated_window` while this node sends large packets, in packets of netmtu."""
        self.receive_bytes = 0
        """Size of the data socket's receive buffer as the kernel counts it, bytes; 0 = unknown."""


def set_receive_bytes(s: RingState, receive_bytes: int) -> None:
    """Set the size of the data socket's receive buffer, bytes. The others learn of it in the next ring."""
    s.features.receive_bytes = receive_bytes


def note(s: RingState, node: int, tail: tuple[int, ...]) -> None:
    """A member's BUILD has come. `tail` holds the slots after its service ids."""
    announcement = decode(tail)
    if announcement is not None:
        s.features.announcements[node] = announcement


def own_announcement(s: RingState) -> Announcement | None:
    """This node's announcement; None if it behaves like Corosync."""
    options = s.options
    if options.like_corosync:
        return None
    capabilities = Capability.SAFE | Capability.ACCELERATED | Capability.BATCHES
    if options.wide_windows and s.features.receive_bytes:
        capabilities |= Capability.WIDE_WINDOWS
    if options.early_hold:
        capabilities |= Capability.EARLY_HOLD
    if options.large_packets:
        capabilities |= _large(s)
    # For a waiting packet the kernel counts about twice its payload.
    packets = s.features.receive_bytes // (2 * options.netmtu)
    return Announcement(capabilities, packets, options.accelerated_window)


def _large(s: RingState) -> Capability:
    return Capability.LARGE_MARKED if s.options.marked_segments else Capability.LARGE_PACKETS


def forget(s: RingState) -> None:
    """A ring was installed: forget the announcements. Corosync's rules hold until all members have announced
    themselves."""
    features = s.features
    features.announcements.clear()
    features.all_rondo = features.accelerated = features.early_hold = False
    features.window_size, features.max_messages = s.options.window_size, s.options.max_messages
    features.large_window_size = features.late_units = 0
    features.accelerated_window = s.options.accelerated_window
    s.packet_size.allow(0)
    s.packer.keep_whole(False)


def agree(s: RingState) -> None:
    """All members' BUILDs are in: choose the ring's features. Every member chooses the same."""
    features = s.features
    known = features.announcements
    features.all_rondo = not s.options.like_corosync and all(node in known for node in s.membership.members)
    if features.all_rondo:
        _use_common(s)
    if s.observer is not None:
        rondo = {"members": list(s.membership.members), "rondo": sorted(known), "accelerated": features.accelerated}
        windows = {"window_size": features.window_size, "max_messages": features.max_messages}
        s.observer("capabilities", {"ring": list(s.membership.ring_id), **rondo, **windows})


def _use_common(s: RingState) -> None:
    features = s.features
    known = features.announcements
    common = ~Capability(0)
    for announcement in known.values():
        common &= announcement.capabilities
    features.accelerated = Capability.ACCELERATED in common
    features.early_hold = Capability.EARLY_HOLD in common
    s.packer.keep_whole(Capability.BATCHES in common)
    if _large(s) in common:
        # Even the smallest receive buffer must have room for several large packets.
        packets = min(announcement.receive_packets for announcement in known.values()) // LARGE_PACKETS_IN_BUFFER
        large = min(s.options.large_packet_bytes, packets * s.options.packet_size_max)
        s.packet_size.allow(large, in_segments=s.options.large_in_segments)
        features.late_units = LATE_UNITS * s.options.accelerated_window
    if Capability.WIDE_WINDOWS in common:
        _widen(s)


def _widen(s: RingState) -> None:
    """Widen the windows so that all packets that may be in flight at once fit into the smallest receive buffer.

    In flight are at most one window, and the packets that each member may send after it has passed the token on. The
    latter get at most half of the buffer: in a ring of many nodes they would leave nothing for the window.
    """
    features = s.features
    known = features.announcements.values()
    nodes = len(known)
    packets = min(each.receive_packets for each in known)
    late = min(ACCELERATED_WINDOW_MAX, max(each.accelerated_window for each in known), packets // (2 * nodes))
    features.accelerated_window = min(features.accelerated_window, late)
    features.window_size = max(WINDOW_MIN, min(WINDOW_MAX, packets - nodes * late))
    features.max_messages = max(1, int(features.window_size * MESSAGES_SHARE))
    large_late = max(late, min(LATE_UNITS * late, (packets - features.window_size) // nodes))
    features.late_units = min(features.late_units, large_late)
    # Packets that follow the token count in the window, too. So at most two windows are in flight.
    room = max(packets - nodes * large_late, packets // 2)
    features.large_window_size = max(features.window_size, min(LARGE_WINDOW_MAX, room))
