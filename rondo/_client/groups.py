"""The groups of one session: whether this process is in, what waits to be taken, what was handled.

Events arrive in chunks (one for each envelope). A chunk counts as handled once every event in it was handled by every
group that got it; the session acknowledges up to the last chunk before which nothing is open.
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
    """Where this process stands towards the group."""

    JOINING = "joining"
    MEMBER = "member"
    LEAVING = "leaving"
    LEFT = "left"


class Chunk:
    """The events of one envelope: their last position, their size, and how many of them (a batch is one) are not yet
    handled."""

    __slots__ = ("bytes", "n", "open")

    def __init__(self, n: int, chunk_bytes: int) -> None:
        self.n = n
        self.bytes = chunk_bytes
        self.open = 0


class Group:
    """One group as this session sees it. `handling` is where the event that the application took last came from."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.wire_name = name_to_wire(name)
        self.state = GroupState.JOINING
        self.members: tuple[Member, ...] = ()
        self.queue: deque[tuple[Chunk, Any]] = deque()
        self.handling: Chunk | None = None
        self.ready: Iterator[Event] = iter(())
        """What was not taken yet of what `handling` is about: one event, or a batch of messages. Taking from it needs
        no lock."""
        self.taker: int | None = None
        """The thread that waits for events."""
        self.is_down = False
        """The application was told `Disconnected` and has not taken that yet: what it sends belongs to before."""
        self.is_given_up = False
        """The application's join had no time for it: nobody has this group, and it is being left."""
        self.bell: Wakeup | None = None
        """Readable while there is something to be taken, for who polls that."""
        self.ended: Error | None = None
        """Why nothing more will come, once nothing more will come."""

    @property
    def is_over(self) -> bool:
        """Whether no event will come any more."""
        return not self.queue and not self.has_ready and (self.ended is not None or self.state is GroupState.LEFT)

    @property
    def has_ready(self) -> bool:
        """Whether there is more of the batch that was begun."""
        return length_hint(self.ready) > 0

    def ring(self) -> None:
        """Have the bell say whether there is something to be taken: events, or that there will be none."""
        if self.bell is not None and (self.queue or self.has_ready or self.is_over):
            self.bell.set()

    def silence(self) -> None:
        """There is nothing to be taken just now."""
        if self.bell is not None and not self.is_over:
            self.bell.clear()

    def take_chunk(self) -> None:
        """Make `ready` of what has waited longest.

        The last three statements belong together. No exception of a signal handler can come between them: Python runs
        handlers at calls, backward jumps and where a function begins, and they are none of these.
        """
        queue = self.queue
        chunk, raw = queue[0]
        ready = iter(self._events(raw))
        self.handling = chunk
        self.ready = ready
        del queue[0]

    def _events(self, raw: Any) -> Sequence[Event]:
        """The events that an array of the protocol says; membership is taken note of."""
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
    """The member of that node and pid; few of them send many messages, so they are kept."""
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
    """The messages of a batch, its body decoded already: many, so without a call for each."""
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
    """A group's name as it travels. Raises InvalidParameter or NameTooLong."""
    if not isinstance(name, str) or not name:
        raise InvalidParameter(f"name: a group's name is a string of 1 to 128 bytes, not {name!r}")
    try:
        wire = name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise InvalidParameter("a group's name must be text that UTF-8 can hold") from None
    if len(wire) > GROUP_NAME_BYTES_MAX:
        raise NameTooLong(f"a group's name has at most {GROUP_NAME_BYTES_MAX} bytes, this one {len(wire)}")
    return wire


def name_from_wire(wire: bytes) -> str:
    """A group's name; bytes that are not UTF-8 (a C program may use any) survive as surrogates."""
    return wire.decode("utf-8", "surrogateescape")
