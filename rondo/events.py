"""The events of a group: immutable values, in the order in which the whole group sees them.

for event in group:
    match event:
        case rondo.Message(sender=who, data=data): ...
        case rondo.Membership(members=now, joined=came, left=gone): ...
        case rondo.Disconnected(reason=why): ...
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from rondo.errors import Disconnected


class Configuration(StrEnum):
    """The configuration of the ring in which a message was delivered."""

    REGULAR = "regular"
    TRANSITIONAL = "transitional"
    """While the ring changes: only the members that stay together are known to have the message."""


class Reason(StrEnum):
    """Why a process joined or left (`cpg_reason_t`)."""

    UNDEFINED = "undefined"
    JOIN = "join"
    LEAVE = "leave"
    NODEDOWN = "nodedown"
    NODEUP = "nodeup"
    PROCDOWN = "procdown"


REASON_BY_NUMBER = dict(enumerate(Reason))
"""The order of declaration is the numbering of `cpg_reason_t`."""


@dataclass(frozen=True, slots=True, order=True)
class Member:
    """A process of the cluster; sorts by node, then pid."""

    node: int
    pid: int


@dataclass(frozen=True, slots=True)
class Change:
    """One process that joined or left, and the reason."""

    member: Member
    reason: Reason

    @property
    def node(self) -> int:
        """The node that it runs on."""
        return self.member.node

    @property
    def pid(self) -> int:
        """Its process id on that node."""
        return self.member.pid


@dataclass(frozen=True, slots=True, order=True)
class Ring:
    """The identity of a ring: its representative node, and an increasing sequence number."""

    representative: int
    sequence: int


class Message(NamedTuple):
    """A message, at its place in the order of the group."""

    group: str
    sender: Member
    data: bytes
    configuration: Configuration
    request: int | None
    """For one's own message: the number of the request that `mcast` returned. Otherwise None."""


@dataclass(frozen=True, slots=True)
class Membership:
    """The members of the group from here on, sorted; and those that joined and left."""

    group: str
    members: tuple[Member, ...]
    joined: tuple[Change, ...]
    left: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class RingChange:
    """The nodes have formed another ring."""

    ring: Ring
    members: tuple[int, ...]
    """Node identifiers, sorted."""


@dataclass(frozen=True, slots=True)
class Suspended:
    """The connection to the node has broken. The state of the other members is unknown, and they may take this process
    for dead. A process with a role in the group must not act in that role. `Resumed` follows, or `Disconnected`."""

    reason: str


@dataclass(frozen=True, slots=True)
class Resumed:
    """The connection is back after `Suspended`. Nothing was lost: memberships are as they were."""


@dataclass(frozen=True, slots=True)
class Reconnected:
    """The cluster is back after `Disconnected`. A `Membership` with the present members follows."""


@dataclass(frozen=True, slots=True)
class UnknownOutcome:
    """One's own requests, by number, that were accepted and not seen ordered when the connection was lost.

    Others may have received them, may still receive them, or may never.
    """

    requests: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SlowConsumer:
    """This process takes its events too slowly, and will be cut off. The event comes before all waiting ones, once in a
    session. A process that then takes events faster, or leaves a group, is not cut off."""

    held_bytes: int
    """The bytes that wait at the node for this process; ..."""
    cut_bytes: int
    """... with more than this the node ends the session."""


Event = (
    Message | Membership | RingChange | Suspended | Resumed | Disconnected | Reconnected | UnknownOutcome | SlowConsumer
)
"""All events of a group."""


class ConnectionState(StrEnum):
    """The state of a connection, as far as this process can know it."""

    CONNECTED = "connected"
    SUSPENDED = "suspended"
    """The connection is broken, and the session may still live. Groups get `Suspended`."""
    LOST = "lost"
    """The session is gone, or the connection was closed. Groups get `Disconnected`."""


@dataclass(frozen=True, slots=True)
class ConnectionChange:
    """The state of a connection has changed."""

    state: ConnectionState
    reason: str = ""
    """The reason; empty for `CONNECTED`."""
    is_final: bool = False
    """The connection was closed, or is lost for good: no change will follow."""


ConnectionEvent = ConnectionChange | SlowConsumer
"""The events for the listeners of a connection."""
