"""What a group tells its members: values that do not change, in the order in which the whole group sees them.

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
    """In which configuration of the ring a message was delivered."""

    REGULAR = "regular"
    TRANSITIONAL = "transitional"
    """While the ring changes: only those members that stay together are known to have it."""


class Reason(StrEnum):
    """Why a process came or went (`cpg_reason_t`)."""

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
    """One process that joined or left, and why."""

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
    """What identifies a ring: the node that represents it, and a number that grows."""

    representative: int
    sequence: int


class Message(NamedTuple):
    """A message, at its place in the order of the group."""

    group: str
    sender: Member
    data: bytes
    configuration: Configuration
    request: int | None
    """One's own message: the number of the request that `mcast` returned. Somebody else's: None."""


@dataclass(frozen=True, slots=True)
class Membership:
    """Who is in the group from here on, sorted; and who came and went."""

    group: str
    members: tuple[Member, ...]
    joined: tuple[Change, ...]
    left: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class RingChange:
    """The nodes form another ring from here on."""

    ring: Ring
    members: tuple[int, ...]
    """Node identifiers, sorted."""


@dataclass(frozen=True, slots=True)
class Suspended:
    """The connection to the node has broken: nobody knows yet what the others do meanwhile, and they may take this
    process for dead. Who holds a role in the group must not act in it. `Resumed` follows, or `Disconnected`."""

    reason: str


@dataclass(frozen=True, slots=True)
class Resumed:
    """The connection is there again, after `Suspended`, and nothing was lost: memberships are as they were."""


@dataclass(frozen=True, slots=True)
class Reconnected:
    """The cluster is there again, after `Disconnected`; a `Membership` says who is in the group now."""


@dataclass(frozen=True, slots=True)
class UnknownOutcome:
    """Requests of one's own that were accepted and not seen ordered when the connection was lost, by number.

    Others may have got them, or not, or get them still.
    """

    requests: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SlowConsumer:
    """This process takes its events more slowly than they come, and will be cut off. It comes before all that waits,
    once in a session; who takes events faster, or leaves a group, is not cut off."""

    held_bytes: int
    """How much the node holds back for this process; ..."""
    cut_bytes: int
    """... with more than this it ends the session."""


Event = (
    Message | Membership | RingChange | Suspended | Resumed | Disconnected | Reconnected | UnknownOutcome | SlowConsumer
)
"""What a group tells."""


class ConnectionState(StrEnum):
    """How a connection stands, as far as this process can know."""

    CONNECTED = "connected"
    SUSPENDED = "suspended"
    """It has broken; nobody knows yet whether the session lives on. Groups are told `Suspended`."""
    LOST = "lost"
    """The session is gone, or the connection closed. Groups are told `Disconnected`."""


@dataclass(frozen=True, slots=True)
class ConnectionChange:
    """A connection stands otherwise from here on."""

    state: ConnectionState
    reason: str = ""
    """Why; nothing for `CONNECTED`."""
    is_final: bool = False
    """It was closed, or is lost for good: no change will follow."""


ConnectionEvent = ConnectionChange | SlowConsumer
"""What the listeners of a connection are told."""
