"""The groups of one session: membership of this process, events that wait to be taken, events that were handled.

Events arrive in chunks, one for each envelope. A chunk counts as handled once every group that got its events has
handled them. The session acknowledges up to the first chunk that is not handled.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from operator import length_hint
from typing import Any

from rondo._client.descriptors import Wakeup
from rondo.errors import Disconnected, Error, InvalidParameter, NameTooLong
from rondo.events import (
    REASON_BY_NUMBER,
    Change,
    Configuration,
    Event,
    Member,
    Membership,
    Message,
    Reason,
    Ring,
    RingChange,
)
from rondo.protocol import events
from rondo.protocol.requests import GROUP_NAME_BYTES_MAX

REGULAR, TRANSITIONAL = Configuration.REGULAR, Configuration.TRANSITIONAL


class GroupState(Enum):
    """The membership state of this process in a group."""

    JOINING = "joining"
    MEMBER = "member"
    RETURNING = "returning"
    """It is being left, to be joined again."""
    LEAVING = "leaving"
    LEFT = "left"


class Chunk:
    """The events of one envelope: their last position, their size, and how many of them (a batch counts as one) are not
    handled yet."""

    __slots__ = ("bytes", "n", "open")

    def __init__(self, n: int, chunk_bytes: int) -> None:
        self.n = n
        self.bytes = chunk_bytes
        self.open = 0


class Group:
    """One group as this session sees it. `handling` is the chunk of the event that the application took last."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.wire_name = name_to_wire(name)
        self.state = GroupState.JOINING
        self.members: tuple[Member, ...] = ()
        self.queue: deque[tuple[Chunk, Any]] = deque()
        self.handling: Chunk | None = None
        self.ready: Iterator[Event] = iter(())
        """What was not taken yet of the current item of the queue: one event, or a batch of messages. Taking from it
        needs no lock."""
        self.taker: int | None = None
        """The thread that waits for events."""
        self.is_down = False
        """The application was told `Disconnected` and has not taken that event. What it sends now belongs to the lost
        epoch."""
        self.is_given_up = False
        """The application's join timed out. Nobody has this group, and it is being left."""
        self.bell: Wakeup | None = None
        """Readable while there are events to take, for applications that poll a descriptor."""
        self.ended: Error | None = None
        """The error with which the group has ended; None while events may come."""

    @property
    def is_over(self) -> bool:
        """True if no event will come any more."""
        return not self.queue and not self.has_ready and (self.ended is not None or self.state is GroupState.LEFT)

    @property
    def has_ready(self) -> bool:
        """True if messages of the current batch are left."""
        return length_hint(self.ready) > 0

    def ring(self) -> None:
        """Make the bell readable if there are events, or if there will be none any more."""
        if self.bell is not None and (self.queue or self.has_ready or self.is_over):
            self.bell.set()

    def silence(self) -> None:
        """Make the bell unreadable: there are no events just now."""
        if self.bell is not None and not self.is_over:
            self.bell.clear()

    def take_chunk(self) -> None:
        """Make `ready` from the oldest item of the queue.

        The last three statements belong together. No exception of a signal handler can come between them: Python runs
        handlers at calls, at backward jumps and at the beginning of functions, and there are none here.
        """
        queue = self.queue
        chunk, raw = queue[0]
        ready = iter(self._events(raw))
        self.handling = chunk
        self.ready = ready
        del queue[0]

    def _events(self, raw: Any) -> Sequence[Event]:
        """The events in an array of the protocol. Membership changes are recorded here."""
        if type(raw) is not list:
            if type(raw) is Disconnected:
                self.is_down = False
            return [raw]  # an event that the session made itself
        if raw[1] == events.BATCH:
            return _batch(self.name, raw)
        event = EVENTS[raw[1]](self.name, raw)
        if type(event) is Membership:
            self.members = event.members
        return [event]


_members: dict[tuple[int, int], Member] = {}
_MEMBERS_CACHED_MAX = 4096


def member(node: int, pid: int) -> Member:
    """The member with that node and pid. The objects are cached, because few members send many messages."""
    found = _members.get((node, pid))
    if found is None:
        if len(_members) >= _MEMBERS_CACHED_MAX:
            _members.clear()
        found = _members[node, pid] = Member(node, pid)
    return found


def _message(name: str, raw: list[Any]) -> Message:
    _, _, _, node, pid, transitional, data, request = raw
    return Message(name, member(node, pid), data, TRANSITIONAL if transitional else REGULAR, request)


def _batch(name: str, raw: list[Any]) -> list[Message]:
    """The messages of a batch whose body is decoded already. It avoids a call for each message."""
    _, _, _, node, pid, transitional, payloads, first = raw
    new, sender, configuration = tuple.__new__, member(node, pid), TRANSITIONAL if transitional else REGULAR
    if first is None:
        return [new(Message, (name, sender, data, configuration, None)) for data in payloads]
    numbered = enumerate(payloads, first)
    return [new(Message, (name, sender, data, configuration, request)) for request, data in numbered]


def _membership(name: str, raw: list[Any]) -> Membership:
    _, _, _, members, joined, left, _ = raw
    return Membership(name, members_of(members), _changes(joined), _changes(left))


def members_of(raw: list[list[int]]) -> tuple[Member, ...]:
    """Members, sorted."""
    return tuple(sorted(Member(node, pid) for node, pid in raw))


def _changes(raw: list[list[int]]) -> tuple[Change, ...]:
    changes = [Change(Member(node, pid), REASON_BY_NUMBER.get(why, Reason.UNDEFINED)) for node, pid, why in raw]
    return tuple(sorted(changes, key=lambda change: change.member))


def _ring(_name: str, raw: list[Any]) -> RingChange:
    _, _, representative, sequence, members = raw
    return RingChange(Ring(representative, sequence), tuple(sorted(members)))


EVENTS: dict[int, Callable[[str, list[Any]], Event]] = {
    events.MESSAGE: _message,
    events.MEMBERSHIP: _membership,
    events.RING: _ring,
}


def name_to_wire(name: str) -> bytes:
    """A group's name as bytes for the wire. Raises InvalidParameter or NameTooLong."""
    if not isinstance(name, str) or not name:
        raise InvalidParameter(f"name: a group's name is a string of 1 to 128 bytes, not {name!r}")
    try:
        wire = name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise InvalidParameter("a group's name must be text that can be encoded as UTF-8") from None
    if len(wire) > GROUP_NAME_BYTES_MAX:
        raise NameTooLong(f"a group's name has at most {GROUP_NAME_BYTES_MAX} bytes, this one {len(wire)}")
    return wire


def name_from_wire(wire: bytes) -> str:
    """A group's name from the wire. Bytes that are not UTF-8 (C programs may use any) are kept as surrogates."""
    return wire.decode("utf-8", "surrogateescape")
