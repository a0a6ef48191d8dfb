"""A process in a loopback, as the network sees it: its groups, the events that wait for it, its requests."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rondo.errors import Disconnected, Error, NotExist
from rondo.events import (
    ConnectionChange,
    ConnectionEvent,
    ConnectionState,
    Event,
    Member,
    Membership,
    Reconnected,
    Resumed,
    Suspended,
    UnknownOutcome,
)

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(slots=True, eq=False)
class LoopbackRequest:
    """A message on its way, as `rondo.Request` has it."""

    number: int
    wait: Callable[[Callable[[], bool], float | None, str], None]
    is_done: bool = False
    error: Error | None = None

    @property
    def is_accepted(self) -> bool:
        """A loopback accepts at once."""
        return self.error is None

    def accepted(self, timeout: float | None = None) -> LoopbackRequest:
        """Returns at once."""
        return self.ordered(timeout) if self.error is not None else self

    def ordered(self, timeout: float | None = None) -> LoopbackRequest:
        """Wait until it has its place in the order. Raises Timeout, Disconnected."""
        self.wait(lambda: self.is_done, timeout, f"request {self.number} was not ordered in time")
        if self.error is not None:
            raise self.error
        return self

    def cancel(self) -> bool:
        """What was accepted cannot be given up."""
        return False


@dataclass(slots=True, eq=False)
class Place:
    """A group that a session is in, or joins again after `Disconnected`."""

    name: str
    is_member: bool = False
    members: tuple[Member, ...] = ()
    """As of the last event taken."""
    events: deque[Event] = field(default_factory=deque)
    unresolved: dict[int, LoopbackRequest] = field(default_factory=dict)
    ended: Error | None = None

    def take(self) -> Event | None:
        """The next event."""
        if not self.events:
            if self.ended is not None:
                raise self.ended
            return None
        event = self.events.popleft()
        if isinstance(event, Membership):
            self.members = event.members
        return event


@dataclass(slots=True, eq=False)
class Session:
    """A process."""

    member: Member
    listeners: list[Callable[[], None]]
    """Called when there may be something new for it."""
    groups: dict[str, Place] = field(default_factory=dict)
    is_connected: bool = True
    is_suspended: bool = False
    is_over: bool = False
    last_request: int = 0
    connection_listeners: tuple[Callable[[ConnectionEvent], object], ...] = ()
    """The application's; called at once, by whoever makes it happen."""

    @property
    def state(self) -> ConnectionState:
        """How its connection stands."""
        if not self.is_connected:
            return ConnectionState.LOST
        return ConnectionState.SUSPENDED if self.is_suspended else ConnectionState.CONNECTED

    def _stands(self, reason: str = "") -> None:
        change = ConnectionChange(self.state, reason, self.is_over)
        for listener in self.connection_listeners:
            listener(change)

    def changed(self) -> None:
        """There may be something new for it."""
        for listener in tuple(self.listeners):
            listener()

    def tell(self, name: str, event: Event) -> None:
        """An event of a group."""
        place = self.groups.get(name)
        if place is not None and place.is_member:
            place.events.append(event)

    def suspend(self, reason: str) -> None:
        """The connection has broken."""
        self.is_suspended = True
        for place in self.groups.values():
            place.events.append(Suspended(reason))
        self.changed()
        self._stands(reason)

    def resume(self) -> None:
        """It is there again, and nothing was lost."""
        self.is_suspended = False
        for place in self.groups.values():
            place.events.append(Resumed())
        self.changed()
        self._stands()

    def disconnect(self, reason: str) -> None:
        """The session is lost: all requests that are not ordered have an unknown outcome."""
        self.is_connected = self.is_suspended = False
        for place in self.groups.values():
            place.is_member = False
            place.events.append(Disconnected(reason))
            if place.unresolved:
                place.events.append(UnknownOutcome(tuple(place.unresolved)))
            self._fail(place, Disconnected(f"the outcome is unknown: {reason}"))
        self.changed()
        self._stands(reason)

    def reconnect(self) -> None:
        """The cluster is there again; the groups are being joined again."""
        self.is_connected = True
        for place in self.groups.values():
            place.events.append(Reconnected())
        self.changed()
        self._stands()

    def leave(self, name: str) -> None:
        """It is out of the group."""
        place = self.groups.pop(name)
        place.is_member = False
        place.ended = NotExist(f"this process has left group {name!r}")
        self._fail(place, place.ended)

    def end(self, error: Error) -> None:
        """The process is dead, or has closed its connection."""
        self.is_over, self.is_connected = True, False
        for place in self.groups.values():
            place.ended = error
            place.events.clear()
            self._fail(place, error)
        self.groups.clear()
        self.changed()
        self._stands(str(error))

    @staticmethod
    def _fail(place: Place, error: Error) -> None:
        for request in place.unresolved.values():
            request.error, request.is_done = error, True
        place.unresolved.clear()
