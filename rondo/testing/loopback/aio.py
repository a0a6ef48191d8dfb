"""The same for asyncio: the names of `rondo.aio.Cluster` over a process of a loopback."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from rondo.errors import Disconnected, NotExist
from rondo.protocol.requests import Guarantee

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from rondo.events import ConnectionEvent, ConnectionState, Event, Member
    from rondo.quorum import Change, QuorumStatus
    from rondo.testing.loopback import client
    from rondo.testing.loopback.session import LoopbackRequest, Session


@contextlib.asynccontextmanager
async def _changes_of(session: Session) -> AsyncIterator[asyncio.Event]:
    """Is set, in this loop, whenever there may be something new for a process."""
    loop, something_new = asyncio.get_running_loop(), asyncio.Event()

    def tell() -> None:
        loop.call_soon_threadsafe(something_new.set)

    session.listeners.append(tell)
    try:
        yield something_new
    finally:
        session.listeners.remove(tell)


class Request:
    """A message on its way, as `rondo.aio.Request` has it."""

    def __init__(self, request: LoopbackRequest) -> None:
        self._request = request

    @property
    def number(self) -> int:
        """What `UnknownOutcome` names it by."""
        return self._request.number

    @property
    def is_done(self) -> bool:
        """Whether it is ordered, or has failed."""
        return self._request.is_done

    @property
    def is_accepted(self) -> bool:
        """A loopback accepts at once."""
        return self._request.is_accepted

    @property
    def error(self) -> Exception | None:
        """Why it failed."""
        return self._request.error

    async def accepted(self, timeout: float | None = None) -> Request:
        """Returns at once."""
        self._request.accepted()
        return self

    async def ordered(self, timeout: float | None = None) -> Request:
        """Wait until it has its place in the order. Raises TimeoutError's relative of rondo: Timeout."""
        await asyncio.to_thread(self._request.ordered, timeout)
        return self


class Group:
    """A group that a process of a loopback is in."""

    def __init__(self, group: client.LoopbackGroup, session: Session) -> None:
        self._group = group
        self._session = session

    @property
    def name(self) -> str:
        """The group's name."""
        return self._group.name

    @property
    def me(self) -> Member:
        """This process as a member."""
        return self._group.me

    @property
    def members(self) -> tuple[Member, ...]:
        """Who is in the group as of the last event taken."""
        return self._group.members

    async def mcast(
        self,
        data: bytes,
        guarantee: Guarantee = Guarantee.AGREED,
        timeout: float | None = None,
        *,
        deadline: float | None = None,
    ) -> Request:
        """Send to every member of the group."""
        return Request(self._group.mcast(data, guarantee))

    async def poll(self, timeout: float | None = None) -> Event | None:
        """The next event, or None after `timeout` seconds."""
        try:
            async with _changes_of(self._session) as something_new, asyncio.timeout(timeout):
                while (event := self._group.poll(0)) is None:
                    await something_new.wait()
                    something_new.clear()
                return event
        except TimeoutError:
            return None

    async def __aiter__(self) -> AsyncIterator[Event]:
        """Events, until the group is left."""
        while True:
            try:
                event = await self.poll()
            except (NotExist, Disconnected):
                return
            assert event is not None
            yield event

    async def leave(self, timeout: float | None = None) -> None:
        """Leave the group."""
        await asyncio.to_thread(self._group.leave, timeout)


class Cpg:
    """Process groups."""

    def __init__(self, cpg: client.LoopbackCpg, session: Session) -> None:
        self._cpg = cpg
        self._session = session

    async def join(self, name: str, timeout: float | None = None) -> Group:
        """Become a member of group `name`."""
        return Group(await asyncio.to_thread(self._cpg.join, name, timeout), self._session)

    async def groups(self, timeout: float | None = None, *, hidden: bool = False) -> list[dict[str, Any]]:
        """All groups and their members. None is `hidden` here."""
        return self._cpg.groups(timeout, hidden=hidden)


class Quorum:
    """Who may act when the loopback is split."""

    def __init__(self, quorum: client.LoopbackQuorum, session: Session) -> None:
        self._quorum = quorum
        self._session = session

    async def status(self, timeout: float | None = None) -> QuorumStatus:
        """Votes, and whether this side may act."""
        return self._quorum.status(timeout)

    async def watch(self, *, current: bool = False) -> AsyncIterator[Change]:
        """A `Quorate` for each ring, until the connection is closed."""
        told = None if current else self._quorum.now()
        async with _changes_of(self._session) as something_new:
            while not self._session.is_over:
                now = self._quorum.now()
                if now is not None and now != told:
                    told = now
                    yield now
                else:
                    await something_new.wait()
                    something_new.clear()


class LoopbackCluster:
    """A process's connection to its node."""

    def __init__(self, cluster: client.LoopbackCluster) -> None:
        self.blocking = cluster
        """The same process for threads: what `Loopback.kill` and the like take."""
        self.cpg = Cpg(cluster.cpg, cluster.session)
        self.quorum = Quorum(cluster.quorum, cluster.session)
        self._listeners: dict[Callable[[ConnectionEvent], object], Callable[[ConnectionEvent], object]] = {}

    @property
    def node_id(self) -> int:
        """The node that this process runs on."""
        return self.blocking.node_id

    @property
    def pid(self) -> int:
        """The number that this process has as a member of groups."""
        return self.blocking.pid

    @property
    def is_connected(self) -> bool:
        """Whether the node is there, as far as is known."""
        return self.blocking.is_connected

    @property
    def is_closed(self) -> bool:
        """Whether the connection was closed, or the process killed."""
        return self.blocking.is_closed

    @property
    def state(self) -> ConnectionState:
        """How the connection stands."""
        return self.blocking.state

    def add_listener(self, listener: Callable[[ConnectionEvent], object]) -> None:
        """Call `listener` with every change of the state, in this loop."""
        loop = asyncio.get_running_loop()
        told = self._listeners[listener] = lambda event: loop.call_soon_threadsafe(listener, event)
        self.blocking.add_listener(told)

    def remove_listener(self, listener: Callable[[ConnectionEvent], object]) -> None:
        """Call it no more."""
        told = self._listeners.pop(listener, None)
        if told is not None:
            self.blocking.remove_listener(told)

    async def close(self) -> None:
        """End the connection."""
        self.blocking.close()

    async def __aenter__(self) -> LoopbackCluster:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
