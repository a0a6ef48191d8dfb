"""The client for asyncio: the names of `rondo.connect()`, awaitable.

    async with rondo.aio.connect() as cluster:
        group = await cluster.cpg.join("bank")
        request = await group.mcast(b"deposit 10")
        await request.ordered()
        async for event in group:
            ...

Everything runs in the event loop that made the connection. Nothing here may be used by other threads. Only one task at
a time may take the events of a group; a second one that waits for them gets `Busy`. A task that always finds events
lets the other tasks run every few milliseconds.

Messages sent in one turn of the loop travel together. While earlier messages are on their way, those of a few more
turns travel with them: a message waits for others a millisecond at most.

After a `break` out of `async for` the last event is acknowledged a moment later, when the loop closes the iterator.
Calls wait for `default_timeout` at most, as those of `rondo`.
"""

import os
import time
from collections.abc import AsyncIterator, Generator
from types import TracebackType
from typing import Any

from rondo._client import batches, departing, descriptors
from rondo._client.aio_link import Link
from rondo._client.arguments import (
    DEFAULT,
    DEFAULT_TIMEOUT_S,
    Default,
    bytes_of,
    check_duration,
    check_seconds,
    deadline_of,
    guarantee_of,
    no_time,
    refuse_green_threads,
    truth_of,
)
from rondo._client.ask_link import TIMEOUT_S
from rondo._client.cfg_aio import Cfg
from rondo._client.connect import RETRIED, client_name, policy_of
from rondo._client.connection import CONNECT_TIMEOUT_S
from rondo._client.control import Control, NodeInfo
from rondo._client.control_aio import Cmap, Quorum, nodes
from rondo._client.endpoint import endpoint_of
from rondo._client.groups import Group as GroupOfSession
from rondo._client.groups import GroupState
from rondo._client.link import Handle
from rondo._client.listeners import Listener
from rondo._client.session import groups_of
from rondo._client.unpicklable import Unpicklable
from rondo.errors import Timeout, TryAgain
from rondo.events import ConnectionState, Event, Member
from rondo.protocol.requests import Guarantee
from rondo.retry import RetryPolicy
from rondo.sam import aio as sam

# Globals: Python 3.11 takes 136 ns to find a member of an Enum, and 9 ns to find a global.
_AGREED, _SAFE = Guarantee.AGREED, Guarantee.SAFE

__all__ = ["Cluster", "Cpg", "Group", "Request", "connect", "sam"]


class Request(batches.Request):
    """A message on its way. Once it is accepted, events and `UnknownOutcome` name it by `number`."""

    __slots__ = ()
    shown_as = "rondo.aio.Request"

    async def accepted(self, timeout: float | Default | None = DEFAULT) -> "Request":
        """Wait until the executive has accepted it. Raises Timeout, or the error with which it failed."""
        return await self._wait(lambda: self.is_accepted or self.is_done, timeout, "accepted")

    async def ordered(self, timeout: float | Default | None = DEFAULT) -> "Request":
        """Wait until it has its place in the order. Raises Timeout, or the error with which it failed."""
        return await self._wait(lambda: self.is_done, timeout, "ordered")

    def cancel(self) -> bool:
        """Give this message up; see `rondo.Request.cancel`."""
        link: Link = self._batch.owner
        link.check_process()
        cancelled = link.session.requests.cancel(self._batch, self._index)
        link.notify()
        return cancelled

    async def _wait(self, condition: Any, timeout: float | Default | None, what: str) -> "Request":
        link: Link = self._batch.owner
        link.check_process()
        timeout_s = link.seconds_of(timeout)
        if not condition():
            await link.wait_for_order(condition, timeout_s, f"request {self.number} was not {what} in time")
        if self.error is not None:
            raise self.error
        return self


class Group(Unpicklable):
    """A group that this process is a member of; made by `await cluster.cpg.join(...)`."""

    def __init__(self, link: Link, handle: Handle, group: GroupOfSession) -> None:
        self._link = link
        self._handle = handle
        self._group = group

    def __repr__(self) -> str:
        return f"<rondo.aio.Group {self.name!r}: {len(self.members)} members>"

    @property
    def name(self) -> str:
        """The group's name."""
        return self._group.name

    @property
    def me(self) -> Member:
        """This process as a member. It may change with `Reconnected`."""
        session = self._link.session
        return Member(session.node_id, session.pid)

    @property
    def members(self) -> tuple[Member, ...]:
        """The members of the group as of the last event taken, sorted. Before any event: the members as this process
        joined."""
        return self._group.members

    async def mcast(
        self,
        data: bytes,
        guarantee: Guarantee = Guarantee.AGREED,
        timeout: float | Default | None = DEFAULT,
        *,
        deadline: float | None = None,
    ) -> Request:
        """Send `data` to every member; see `rondo.Group.mcast`. Waits only while there is no room."""
        link = self._link
        link.check_process()
        if guarantee is not _AGREED and guarantee is not _SAFE:
            guarantee = guarantee_of(guarantee)
        if type(data) is not bytes:
            data = bytes_of(data)
        deadline_s = None if deadline is None else deadline_of(deadline, "deadline")
        if timeout is not DEFAULT and timeout is not None:
            check_seconds(timeout)
        request = link.session.mcast(self._group, guarantee, data, deadline_s)
        if request is None:
            request = await self._mcast_when_there_is_room(data, guarantee, link.seconds_of(timeout), deadline_s)
        if not link.flush_is_due:
            link.wake()
        return request  # type: ignore[return-value]  # what this connection's session makes

    async def _mcast_when_there_is_room(
        self, data: bytes, guarantee: Guarantee, timeout_s: float | None, deadline_s: float | None
    ) -> batches.Request:
        request: list[batches.Request | None] = [None]

        def tried() -> bool:
            request[0] = self._link.session.mcast(self._group, guarantee, data, deadline_s)
            return request[0] is not None

        try:
            await self._link.wait(tried, timeout_s, "")
        except Timeout:
            raise TryAgain("there is no room for more messages on their way; wait for some to be accepted") from None
        assert request[0] is not None
        return request[0]

    async def poll(self, timeout: float | None = None) -> Event | None:
        """The next event, or None after `timeout` seconds. The call acknowledges the event before."""
        link, group = self._link, self._group
        if link.forks != descriptors.forks:
            link.check_process()
        if timeout is not None and not (type(timeout) in (int, float) and timeout == timeout):
            check_seconds(timeout)
        for event in group.ready:
            return event
        link.check_process()
        while True:
            for event in group.ready:
                return event
            try:
                if not await link.wait_for_event(group, timeout):
                    link.session.check(group)
            except Timeout:
                return None

    async def __aiter__(self) -> AsyncIterator[Event]:
        """Events, until the group is left."""
        link, group = self._link, self._group
        try:
            while True:
                link.check_process()
                for event in group.ready:
                    yield event
                if not await link.wait_for_event(group, None):
                    return
        finally:
            if not link.is_closed:
                link.session.handled(group)
                link.taken()

    async def leave(self, timeout: float | Default | None = DEFAULT) -> None:
        """Leave the group. Returns when this process is out."""
        link, group = self._link, self._group
        link.check_process()
        timeout_s = link.seconds_of(timeout)
        if group.state is not GroupState.LEAVING:  # a cancelled call has sent the request already: wait for it
            link.session.leave(group)
            link.wake()
        out = (GroupState.LEFT,)
        what = f"group {group.name!r} could not be left in time"
        await link.wait_for_order(lambda: group.state in out or group.ended is not None, timeout_s, what)


class Cpg(Unpicklable):
    """Process groups: `cluster.cpg`."""

    def __init__(self, link: Link, handle: Handle) -> None:
        self._link = link
        self._handle = handle

    async def join(self, name: str, timeout: float | Default | None = DEFAULT) -> Group:
        """Become a member of group `name`; see `rondo.Cpg.join`."""
        link, session = self._link, self._link.session
        link.check_process()
        timeout_s = link.seconds_of(timeout)
        deadline_s = deadline_of(timeout_s)
        what = f"group {name!r} could not be joined in time"
        await departing.close_departing(link, deadline_s, what)
        if session.is_being_left(name):
            await link.wait_for_order(lambda: not session.is_being_left(name), timeout_s, what)
        group = session.join(name)
        link.wake()
        try:
            await link.wait_for_order(
                lambda: group.state is not GroupState.JOINING or group.ended is not None,
                None if deadline_s is None else deadline_s - time.monotonic(),
                what,
            )
            if group.ended is not None:
                raise group.ended
        except BaseException:
            session.undo_join(group)
            link.wake()
            raise
        return Group(link, self._handle, group)

    async def groups(self, timeout: float | Default | None = DEFAULT, *, hidden: bool = False) -> list[dict[str, Any]]:
        """All groups of the ring and their members; `hidden`: includes the groups that the nodes themselves use."""
        link = self._link
        link.check_process()
        timeout_s = link.seconds_of(timeout)
        request = link.session.query_groups(hidden=truth_of(hidden, "hidden"))
        link.wake()
        await link.wait(lambda: request.is_done, timeout_s, "the node did not answer in time")
        if request.error is not None:
            raise request.error
        return groups_of(request.result)


class Cluster(Unpicklable):
    """A connection to the node; made by `rondo.aio.connect`."""

    def __init__(self, link: Link, handle: Handle) -> None:
        self._link = link
        self._handle = handle
        self._control = Control(link.endpoint)
        self.cpg = Cpg(link, handle)
        """Process groups."""
        self.quorum = Quorum(self._control)
        """Votes and quorum: which part of a split cluster may act."""
        self.cmap = Cmap(self._control)
        """Keys: the node's configuration and state, and keys that programs set."""
        self.cfg = Cfg(self._control)
        """Operations on nodes, such as kill, shut down and reload."""

    @property
    def node_id(self) -> int:
        """The identifier of the node that this process runs on."""
        return self._link.session.node_id

    @property
    def pid(self) -> int:
        """The process id of this process as a member of groups."""
        return self._link.session.pid

    async def nodes(self, timeout: float | None = TIMEOUT_S) -> tuple[NodeInfo, ...]:
        """The nodes of the configuration and of the ring, with their links."""
        return await nodes(self._control, timeout)

    @property
    def is_connected(self) -> bool:
        """True while the node is there, as far as is known. False between `Suspended` or `Disconnected` and the event
        that ends that state."""
        return self._link.session.is_open

    @property
    def is_closed(self) -> bool:
        """Whether the connection was closed, or is lost for good."""
        return self._link.is_closed or self._link.session.ended is not None

    @property
    def state(self) -> ConnectionState:
        """The state of the connection, as its groups were told it. After `is_closed`: lost for good."""
        return self._link.session.state

    def add_listener(self, listener: Listener) -> None:
        """The loop calls `listener` with every later `ConnectionChange` and `SlowConsumer`, in their order. It is a
        function, not a coroutine. Raises InvalidParameter."""
        self._link.check_process()
        self._link.listeners.add(listener)

    def remove_listener(self, listener: Listener) -> None:
        """Stop calling a listener. Does nothing for an unknown one."""
        self._link.listeners.remove(listener)

    def __repr__(self) -> str:
        state = "closed" if self.is_closed else self.state
        return f"<rondo.aio.Cluster {self._link.endpoint.url}: {state}>"

    async def close(self) -> None:
        """End the connection: this process leaves all its groups. Returns within a second. If it is cancelled, it
        closes at once without waiting for the node's answer."""
        try:
            await self._link.close()
        finally:
            self._control.shut()


class connect:  # noqa: N801 - used like a function
    """Connect to a node: `async with connect() as cluster`, or `await connect()`.

    The arguments are those of `rondo.connect`.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        timeout: float | None = CONNECT_TIMEOUT_S,
        *,
        key_file: str | os.PathLike[str] | None = None,
        server_key: str | None = None,
        session_timeout: float | None = None,
        default_timeout: float | None = DEFAULT_TIMEOUT_S,
        retry: RetryPolicy | None = None,
    ) -> None:
        refuse_green_threads()
        self._endpoint = endpoint_of(endpoint, key_file, server_key)
        check_seconds(timeout)
        check_duration(session_timeout, "session_timeout")
        check_duration(default_timeout, "default_timeout")
        self._timeout = timeout
        self._default_timeout = default_timeout
        self._retry = None if retry is None else policy_of(retry).retrying_on(*RETRIED)
        self._lost_after_ms = None if session_timeout is None else session_timeout * 1000
        self._cluster: Cluster | None = None

    def __await__(self) -> Generator[Any, None, Cluster]:
        return self._connect().__await__()

    async def _connect(self) -> Cluster:
        return await (self._connect_once() if self._retry is None else self._retry.call_async(self._connect_once))

    async def _connect_once(self) -> Cluster:
        if self._timeout is not None and self._timeout <= 0:
            raise Timeout(no_time(self._timeout))
        handle = Handle()
        link = Link(self._endpoint, client_name(), Request, handle, self._lost_after_ms, self._default_timeout)
        session = link.session
        try:
            no_answer = self._endpoint.no_answer
            await link.wait(lambda: session.is_open or session.ended is not None, self._timeout, no_answer)
            if session.ended is not None:
                raise session.ended
        except BaseException:
            link.close_now()
            raise
        return Cluster(link, handle)

    async def __aenter__(self) -> Cluster:
        self._cluster = await self._connect()
        return self._cluster

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._cluster is not None:
            await self._cluster.close()
