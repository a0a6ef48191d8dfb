"""The ring's output to its host: packets to send, and events in the order in which the ring decided them.

The host is the process loop or the simulator. After each call into the ring it sends `Output.packets` in order, and
hands `Output.events` on. The order of packets matters: data precedes the token.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any, Final, NamedTuple

from services.totem.wire.base import RingId

Tag = tuple[Any, ...] | int | str | None
"""A value that the host attaches to its own message. It comes back with the delivered message. The ring does not look
at it."""

EVERYBODY: Final = 0
"""Destination of a packet: all members of the group, and, except for mcasts, this node too."""


class State(StrEnum):
    """State of the membership protocol."""

    STARTING = "starting"
    """Not yet on the network."""
    OPERATIONAL = "operational"
    GATHER = "gather"
    COMMIT = "commit"
    RECOVERY = "recovery"
    LEFT = "left"
    """This node has sent its leave. It sends and accepts nothing any more."""


class GatherReason(IntEnum):
    """Why Gather was entered, with Corosync's numbers, which its users know from logs."""

    CONSENSUS_TIMEOUT = 0
    GATHER_MISSING = 1
    TOKEN_LOST_IN_OPERATIONAL = 2
    CONSENSUS_EXPIRED = 3
    TOKEN_LOST_IN_COMMIT = 4
    TOKEN_LOST_IN_RECOVERY = 5
    FAILED_TO_RECEIVE = 6
    FOREIGN_MESSAGE_IN_OPERATIONAL = 7
    FOREIGN_MESSAGE_IN_GATHER = 8
    MERGE_DURING_OPERATIONAL = 9
    MERGE_DURING_GATHER = 10
    MERGE_DURING_JOIN = 11
    JOIN_DURING_OPERATIONAL = 12
    JOIN_DURING_COMMIT = 13
    JOIN_DURING_RECOVERY = 14
    INTERFACE_CHANGE = 15
    REQUESTED = 16
    """The host asked for a new ring, so that a service that lost its history gets a new sync."""
    CONSENSUS_EARLY = 17
    """Members of the ring that have not answered any join were given up before the consensus time-out."""
    MEMBER_DEAD = 18
    """The host knows that a member is gone."""
    STANDSTILL = 19
    """The ring that is being formed makes no progress; or a ring that seems to have fallen apart does not."""
    SYNC_CONTRADICTION = 20
    """The members do not agree on how far the sync is."""


class Message(NamedTuple):
    """A message, delivered in the total order."""

    sender: int
    """Node id of the node that sent it."""
    data: bytes
    """The message without its group header."""
    ring: RingId
    """The ring that ordered its last fragment."""
    seq: int
    """Sequence number of the packet that held its last fragment."""
    transitional: bool
    """Delivered in the transitional configuration that closes its ring."""
    tag: Tag
    """What `Ring.submit` was given for it, if this node sent it; else None."""


class TransitionalConfiguration(NamedTuple):
    """The members of the old ring that move together into the new one."""

    old_ring: RingId
    new_ring: RingId
    members: tuple[int, ...]
    left: tuple[int, ...]


class RegularConfiguration(NamedTuple):
    """A ring was installed."""

    ring: RingId
    members: tuple[int, ...]
    joined: tuple[int, ...]
    left: tuple[int, ...]


class SyncStep(NamedTuple):
    """It is this local service's turn in the sync of `ring`: answer with `Ring.sync_reply`."""

    ring: RingId
    service: int


class SyncActivate(NamedTuple):
    """All members have done the step of this local service."""

    ring: RingId
    service: int


class SyncAbort(NamedTuple):
    """The ring changed while this local service's sync was under way; a new one follows."""

    ring: RingId
    service: int


class SyncComplete(NamedTuple):
    """The sync of `ring` is complete on all members: service is resumed."""

    ring: RingId


class NoticeCode(StrEnum):
    """Rare events that are worth a log line. Each comment lists the values in `Notice.detail`, in order."""

    GATHER = "gather"
    """(state that was left, GatherReason)"""
    COMMIT = "commit"
    """(ring, members)"""
    RECOVERY = "recovery"
    """(ring, members of the old ring among them)"""
    PROCESSOR_FAILED = "processor_failed"
    """() - the token was lost in Operational: "A processor failed, forming new configuration."
    """
    CONSENSUS_FAILED = "consensus_failed"
    """(nodes now counted as failed)"""
    FAILED_WITHOUT_LEAVE = "failed_without_leave"
    """(nodes that left the ring without sending a leave)"""
    TOKEN_LATE = "token_late"
    """(ms since the last token)"""
    PAUSED = "paused"
    """(ms that this process was not scheduled)"""
    RETRANSMIT = "retransmit"
    """(sequence numbers that the token asks for)"""
    FAILED_TO_RECEIVE = "failed_to_receive"
    """() - this node counts itself as failed"""
    CANNOT_FORM = "cannot_form"
    """(times that Gather was entered in a row): a firewall is the most likely cause"""
    SECRECY_DIFFERS = "secrecy_differs"
    """(node, whether this node is the one that requires forward secrecy): no ring is formed with it"""
    LEAVE_RECEIVED = "leave_received"
    """(node)"""


class Notice(NamedTuple):
    """Something worth a log line."""

    code: NoticeCode
    detail: tuple[object, ...] = ()


class StoreSequence(NamedTuple):
    """Keep this ring sequence on stable storage: after a restart, this node's rings must have higher ones."""

    sequence: int


Event = (
    Message
    | TransitionalConfiguration
    | RegularConfiguration
    | SyncStep
    | SyncActivate
    | SyncAbort
    | SyncComplete
    | Notice
    | StoreSequence
)


@dataclass(slots=True)
class Output:
    """The output of calls into the ring, in order. The host empties both lists."""

    packets: list[tuple[int, bytes]] = field(default_factory=list)
    """(destination, datagram): a node id, or EVERYBODY."""
    events: list[Event] = field(default_factory=list)

    def take_packets(self) -> list[tuple[int, bytes]]:
        """Remove and return the packets."""
        taken, self.packets = self.packets, []
        return taken

    def take_events(self) -> list[Event]:
        """Remove and return the events."""
        taken, self.events = self.events, []
        return taken
