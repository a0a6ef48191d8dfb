"""Who is Rondo: what Rondo nodes tell each other at the beginning of each ring, where Corosync's nodes do not look.

Every ring begins with a SERVICE_BUILD of each member, in the total order. Its `ids[128]` has room that no Corosync node
reads, beyond `count`. There a Rondo node puts a magic, a version, its capabilities, and how many full packets its
receive buffer takes. When the last BUILD is delivered all members know the same of each other, and what needs all of
them to be Rondo - the accelerated ring, windows wider than Corosync's - begins there. In a ring with a single member
that says nothing everything stays as Corosync has it on the wire.

Later versions may append slots and set more bits; what is not known here is ignored.
"""

from __future__ import annotations

import functools
import operator
from dataclasses import dataclass
from enum import IntFlag
from typing import TYPE_CHECKING

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

MAGIC = int.from_bytes(b"RNDO", "little")
VERSION = 1

_SLOTS = 5
_I32_MAX = 0x7FFF_FFFF


class Capability(IntFlag):
    """What a node can do, or leaves to the ring."""

    SAFE = 1
    """Marks packets that end a SAFE message, and holds such messages back until all members have them."""
    ACCELERATED = 2
    """Takes data that follows the token, and stamps its own with the round."""
    LARGE_PACKETS = 8
    """Takes packets larger than netmtu, and its configuration does not say how large they are to be."""
    BATCHES = 16
    """Its CPG understands batches: several messages in one (`rondo.protocol.batch`)."""
    EARLY_HOLD = 32
    """Asks for the token before it sends, and its configuration does not say when the token is to be held."""
    LARGE_MARKED = 64
    """What LARGE_PACKETS says, of packets whose segments are marked: nodes of versions that cut without marks and of
    those with marks do not understand each other's, and send each other none."""
    WIDE_WINDOWS = 4
    """Its configuration says nothing of windows: they may be as wide as all members' receive buffers allow."""


_KNOWN = functools.reduce(operator.or_, Capability)


@dataclass(slots=True, frozen=True)
class Announcement:
    """What one Rondo node says of itself."""

    capabilities: Capability
    receive_packets: int = 0
    """Full packets that its receive buffer takes; 0 = it does not know."""
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
    """What the slots beyond the service ids say; None if that is not a Rondo node."""
    if len(tail) < 2 or tail[0] != MAGIC or tail[1] < 1:
        return None
    _, version, bits, packets, accelerated = (tail + (0,) * _SLOTS)[:_SLOTS]
    return Announcement(Capability(bits & _KNOWN), max(0, packets), max(0, accelerated), version)


class Features:
    """What the members of the installed ring have said of themselves, and what follows from it. Only this module writes
    it."""

    __slots__ = (
        "accelerated", "accelerated_window", "all_rondo", "announcements", "early_hold", "large_window_size",
        "late_units", "max_messages", "receive_bytes", "window_size",
    )  # fmt: skip

    def __init__(self, options: RingOptions) -> None:
        self.announcements: dict[int, Announcement] = {}
        """What the members of the installed ring that are Rondo have said of themselves."""
        self.all_rondo = False
        self.accelerated = False
        """Data may follow the token, ..."""
        self.accelerated_window = options.accelerated_window
        """... so many packets of netmtu of each visit."""
        self.early_hold = False
        """The token is held as soon as nobody has anything to send."""
        self.window_size, self.max_messages = options.window_size, options.max_messages
        """The windows in force."""
        self.large_window_size = 0
        """The one of a rotation while this node sends large packets; 0 = the same."""
        self.late_units = 0
        """While it does, for how many packets of netmtu those may count that follow the token."""
        self.receive_bytes = 0
        """What the socket that receives data can hold, as the kernel counts; 0 = not known."""


def set_receive_bytes(s: RingState, receive_bytes: int) -> None:
    """What the socket that receives data can hold. Told to others in the next ring."""
    s.features.receive_bytes = receive_bytes


def note(s: RingState, node: int, tail: tuple[int, ...]) -> None:
    """A member's BUILD has come, with this beyond its service ids."""
    announcement = decode(tail)
    if announcement is not None:
        s.features.announcements[node] = announcement


def own_announcement(s: RingState) -> Announcement | None:
    """What this node says of itself; None if it behaves like Corosync."""
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
    # The kernel counts about twice its payload for a packet that waits.
    packets = s.features.receive_bytes // (2 * options.netmtu)
    return Announcement(capabilities, packets, options.accelerated_window)


def _large(s: RingState) -> Capability:
    return Capability.LARGE_MARKED if s.options.marked_segments else Capability.LARGE_PACKETS


def forget(s: RingState) -> None:
    """A ring was installed: nothing is known of its members yet, so Corosync's rules hold."""
    features = s.features
    features.announcements.clear()
    features.all_rondo = features.accelerated = features.early_hold = False
    features.window_size, features.max_messages = s.options.window_size, s.options.max_messages
    features.large_window_size = features.late_units = 0
    features.accelerated_window = s.options.accelerated_window
    s.packet_size.allow(0)
    s.packer.keep_whole(False)


def agree(s: RingState) -> None:
    """All members' BUILDs are in: settle what this ring can do. Every member comes to the same."""
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
        # The smallest receive buffer must take several, whatever else is in it.
        packets = min(announcement.receive_packets for announcement in known.values()) // LARGE_PACKETS_IN_BUFFER
        large = min(s.options.large_packet_bytes, packets * s.options.packet_size_max)
        s.packet_size.allow(large, in_segments=s.options.large_in_segments)
        features.late_units = LATE_UNITS * s.options.accelerated_window
    if Capability.WIDE_WINDOWS in common:
        _widen(s)


def _widen(s: RingState) -> None:
    """Windows such that what may be under way at once fits the smallest receive buffer.

    That is a window, and what each member may send after it has passed the token on. The latter are half of it at most:
    in a ring of many nodes they would leave nothing for the window.
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
    # What follows the token was in the window, too: so there is never more under way than two of them.
    room = max(packets - nodes * large_late, packets // 2)
    features.large_window_size = max(features.window_size, min(LARGE_WINDOW_MAX, room))
