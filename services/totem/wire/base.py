"""Shared by all layers of the wire format: ring identifiers, the reasons for refusing bytes, and the error that carries
one."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple


class RingId(NamedTuple):
    """Identifier of a ring (memb_ring_id, 12 bytes). It never repeats, over all rings and restarts of all nodes."""

    representative: int
    """Node id of the member that formed the ring: the lowest one (u32)."""
    sequence: int
    """Grows by at least 4 from ring to ring (u64)."""

    def __str__(self) -> str:
        return f"{self.representative}.{self.sequence:x}"


class Reason(StrEnum):
    """Why received bytes were refused. Each has a counter of its own."""

    TOO_SHORT = "too_short"
    """Shorter than its fixed part, or than the lists that it announces."""
    BAD_MAGIC = "bad_magic"
    OTHER_ENDIAN = "other_endian"
    """From a big-endian host. Rondo takes part in little-endian rings only."""
    BAD_VERSION = "bad_version"
    BAD_TYPE = "bad_type"
    TOO_MANY_ENTRIES = "too_many_entries"
    """A list is longer than the protocol allows."""
    BAD_INDEX = "bad_index"
    """A commit token whose index is beyond its end, or that has no members."""
    BAD_ENCAPSULATION = "bad_encapsulation"
    BAD_PACKET = "bad_packet"
    """The lengths in the totempg packet inside an mcast do not add up."""
    BAD_GROUP = "bad_group"
    """The lengths in a message's group header do not add up, or it names no group of ours."""
    BAD_MESSAGE = "bad_message"
    """A sync or executive message of a wrong size."""
    OLD_LEAVE = "old_leave"
    """A leave that a member sent before its last restart."""
    UNKNOWN_MEMBER = "unknown_member"
    """The sender is no member, or the frame names a node that is not in the nodelist."""
    SEQUENCE_JUMP = "sequence_jump"
    """A ring sequence further ahead than any honest ring can be."""
    SECRECY_DIFFERS = "secrecy_differs"
    """Its sender lacks forward secrecy that is required here, or requires it while it is switched off here."""
    BAD_SECRET = "bad_secret"
    """A commit token whose secret is not for this node, or is missing."""
    OUT_OF_WINDOW = "out_of_window"
    """A message or token sequence number outside the window of the ring."""
    BROKEN_CHAIN = "broken_chain"
    """A fragment that does not continue the kept fragments of its sender."""
    TOO_BIG = "too_big"
    """Fragments that add up to more than the largest message."""
    BAD_STATE = "bad_state"
    """Well-formed, but impossible at this point of the protocol."""


class Malformed(ValueError):  # noqa: N818 - named for what it says of the bytes
    """Received bytes that are refused. `reason` is counted."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


U32_MASK: Final = 0xFFFF_FFFF


def extend_u32(value: int, near: int) -> int:
    """The integer nearest to `near` whose low 32 bits are `value`.

    Sequence numbers are 32 bits on the wire and wrap. Inside a node they are integers that do not wrap, so they compare
    as they are. This agrees with Corosync's comparison (both shifted by 0x10000 once one is above 0x80000000) wherever
    the two numbers are within a window of each other; the initial aru 0xFFFFFFFF becomes -1.
    """
    return near + ((value - near + 0x8000_0000) & U32_MASK) - 0x8000_0000
