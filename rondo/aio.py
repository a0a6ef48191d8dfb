"""The client for asyncio: the names of `rondo.connect()`, awaitable.

    async with rondo.aio.connect() as cluster:
        group = await cluster.cpg.join("bank")
        request = await group.mcast(b"deposit 10")
        await request.ordered()
        async for event in group:
            ...

Everything runs in the event loop in which the connection was made; nothing here is for other threads. Messages that
are sent in one turn of the loop travel together. An `async for` that is left by `break` acknowledges its last event a
moment later, when the loop gets to close the iterator.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Generator
from types import TracebackType
from typing import Any

import zmq
from zmq.utils.monitor import recv_monitor_message

from rondo._client import requests
from rondo._client.ask_link import TIMEOUT_S
from rondo._client.connect import client_name
from rondo._client.connection import CONNECT_TIMEOUT_S
from rondo._client.control import Control, NodeInfo
from rondo._client.control_aio import Cmap, Quorum, nodes
from rondo._client.groups import Group as GroupOfSession
from rondo._client.groups import GroupState
from rondo._client.link import (
    ACK_BYTES,
    ACK_DELAY_MS,
    CLOSE_MS,
    RECONNECT_MS,
    RECONNECT_MS_MAX,
    close_sockets,
    open_socket,
    send_hello,
)
from rondo._client.place import Place, place_of
from rondo._client.session import Session, groups_of
from rondo.errors import BadHandle, Disconnected, Error, Timeout, TryAgain
from rondo.events import Event, Member
from rondo.protocol.requests import Guarantee
from rondo.sam import aio as sam

__all__ = ["Cluster", "Cpg", "Group", "Request", "connect", "sam"]


class _Link:
    """A session and its socket, served by the event loop."""

    def __init__(self, place: Place, name: str) -> None:
        self.place = place
        self.session = Session(name, Request, self, why_denied=place.denied)
        self._pid = os.getpid()
        self._loop = asyncio.get_running_loop()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=1)
        self._waiting: list[asyncio.Future[None]] = []
        self._flush_is_due = False
        self._ack_timer: asyncio.TimerHandle | None = None
        self._retry_timer: asyncio.TimerHandle | None = None
        self._absence_timer: asyncio.TimerHandle | None = None
        self._pause_ms = RECONNECT_MS
        self._is_closed = False
        try:
            self._socket, self._monitor = open_socket(self._context, place)
        except BaseException:
            self._context.term()
            raise
        self._attach()

    def check_process(self) -> None:
        """Raise BadHandle in a process that was forked off after the connection was made."""
        if os.getpid() != self._pid:
            raise BadHandle(f"this connection belongs to process {self._pid}; after a fork, connect anew")

    # -- waiting -------------------------------------------------------------------------------------------------

    async def wait(self, condition: Callable[[], object], timeout: float | None, what: str) -> None:
        """Wait until `condition` is true. Raises Timeout, saying `what` did not happen."""
        try:
            async with asyncio.timeout(timeout):
                while not condition():
                    future = self._loop.create_future()
                    self._waiting.append(future)
                    await future
        except TimeoutError:
            raise Timeout(what) from None

    async def wait_for_order(self, condition: Callable[[], object], timeout: float | None, what: str) -> None:
        """The same, where only further events can make it true: those that wait to be handled do not hold them up."""
        with self.session.waiting_for_order():
            self.taken()
            await self.wait(condition, timeout, what)

    def _notify(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    # -- the socket ----------------------------------------------------------------------------------------------

    def _attach(self) -> None:
        """Begin to serve a new socket."""
        self._loop.add_reader(int(self._socket.getsockopt(zmq.FD)), self._on_readable)
        self._loop.add_reader(int(self._monitor.getsockopt(zmq.FD)), self._on_monitor)
        send_hello(self._socket, self.session.hello())  # if it fails, the monitor says why
        if self._absence_timer is None:
            self._absence_timer = self._loop.call_later(self.session.resume_ms / 1000, self._absent)
        # A descriptor of ZeroMQ says something only after one has looked and found nothing.
        self._on_readable()
        self._on_monitor()

    def _detach(self) -> None:
        self._loop.remove_reader(int(self._socket.getsockopt(zmq.FD)))
        self._loop.remove_reader(int(self._monitor.getsockopt(zmq.FD)))
        close_sockets(self._socket, self._monitor)

    def _on_readable(self) -> None:
        """Take in all there is: the descriptor says only once that there is something."""
        received = False
        try:
            while True:
                self.session.receive(self._socket.recv(zmq.NOBLOCK))
                received = True
        except zmq.Again:
            pass
        if not received:
            return
        if self.session.is_open:
            self._pause_ms = RECONNECT_MS
            if self._absence_timer is not None:
                self._absence_timer.cancel()
                self._absence_timer = None
        self._notify()
        self.wake()
        self._plan_ack()

    def _on_monitor(self) -> None:
        broken = False
        while self._monitor.poll(0):
            event = recv_monitor_message(self._monitor)["event"]
            if event == zmq.Event.HANDSHAKE_FAILED_AUTH:
                self.session.refused()
            broken = True
        if not broken:
            return
        self.session.is_open = False
        self._notify()
        if self._retry_timer is None and not self._is_closed and self.session.ended is None:
            self._retry_timer = self._loop.call_later(self._pause_ms / 1000, self._reconnect)
            self._pause_ms = min(self._pause_ms * 2, RECONNECT_MS_MAX)

    def _reconnect(self) -> None:
        self._retry_timer = None
        self._detach()
        self._socket, self._monitor = open_socket(self._context, self.place, check=False)
        self._attach()

    def _absent(self) -> None:
        self._absence_timer = None
        self.session.absent(f"no answer from {self.place.endpoint} for {self.session.resume_ms / 1000:g} s")
        self._notify()

    # -- sending -------------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Send what waits, at the end of this turn of the loop."""
        if not self._flush_is_due:
            self._flush_is_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_is_due = False
        if self._is_closed:
            return
        self._send(acknowledge=self.session.ack_bytes >= ACK_BYTES)

    def _send(self, *, acknowledge: bool, everything: bool = False) -> None:
        envelopes = self.session.outgoing(acknowledge=acknowledge, everything=everything)
        for envelope in envelopes:
            self._socket.send(envelope)
        if envelopes:
            # Sending may have used up the descriptor's word that there is something to read.
            self._on_readable()

    def _plan_ack(self) -> None:
        if self._ack_timer is None and self.session.has_unacknowledged and not self._is_closed:
            self._ack_timer = self._loop.call_later(ACK_DELAY_MS / 1000, self._acknowledge)

    def _acknowledge(self) -> None:
        self._ack_timer = None
        if self.session.ack_bytes:
            self._send(acknowledge=True)

    def taken(self) -> None:
        """An event was taken: acknowledge at once if much was handled, else soon."""
        if self.session.ack_bytes >= ACK_BYTES:
            self.wake()
        elif self.session.ack_bytes:
            self._plan_ack()

    # -- the end -------------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """End the session cleanly, and wait until the gateway knows."""
        self.check_process()
        if self._is_closed:
            return
        session = self.session
        if session.is_open:
            self._send(acknowledge=True, everything=True)
            self._socket.send(session.bye())
            self._on_readable()
            with contextlib.suppress(Timeout):
                await self.wait(lambda: session.ended is not None or not session.is_open, CLOSE_MS / 1000, "")
        self._is_closed = True
        session.end(Disconnected("the connection was closed"))
        self._notify()
        for timer in (self._ack_timer, self._retry_timer, self._absence_timer):
            if timer is not None:
                timer.cancel()
        self._detach()
        self._context.term()


class Request(requests.Request):
    """A message on its way. `number` is what events and `UnknownOutcome` name it by once it is accepted."""

    __slots__ = ()

    async def accepted(self, timeout: float | None = None) -> "Request":
        """Wait until the executive has taken it. Raises Timeout, or the error with which it failed."""
        return await self._wait(lambda: self.is_accepted or self.is_done, timeout, "accepted")

    async def ordered(self, timeout: float | None = None) -> "Request":
        """Wait until it has its place in the order. Raises Timeout, or the error with which it failed."""
        return await self._wait(lambda: self.is_done, timeout, "ordered")

    async def _wait(self, condition: Callable[[], bool], timeout: float | None, what: str) -> "Request":
        link: _Link = self._batch.owner
        await link.wait_for_order(condition, timeout, f"request {self.number} was not {what} in time")
        if self.error is not None:
            raise self.error
        return self


class Group:
    """A group that this process is in; made by `await cluster.cpg.join(...)`."""

    def __init__(self, link: _Link, group: GroupOfSession) -> None:
        self._link = link
        self._group = group

    @property
    def name(self) -> str:
        """The group's name."""
        return self._group.name

    @property
    def members(self) -> tuple[Member, ...]:
        """Who is in the group as of the last event taken, sorted (before that: as this process joined)."""
        return self._group.members

    async def mcast(
        self, data: bytes, guarantee: Guarantee = Guarantee.AGREED, timeout: float | None = None
    ) -> Request:
        """Send `data` to every member; see `rondo.Group.mcast`. Waits only while there is no room."""
        link = self._link
        link.check_process()
        if type(data) is not bytes:
            data = bytes(memoryview(data))
        request = link.session.mcast(self._group, guarantee, data)
        if request is None:
            request = await self._mcast_when_there_is_room(data, guarantee, timeout)
        link.wake()
        assert isinstance(request, Request)
        return request

    async def _mcast_when_there_is_room(
        self, data: bytes, guarantee: Guarantee, timeout: float | None
    ) -> requests.Request:
        request: list[requests.Request | None] = [None]

        def tried() -> bool:
            request[0] = self._link.session.mcast(self._group, guarantee, data)
            return request[0] is not None

        try:
            await self._link.wait(tried, timeout, "")
        except Timeout:
            raise TryAgain("there is no room for more messages on their way; wait for some to be accepted") from None
        assert request[0] is not None
        return request[0]

    async def poll(self, timeout: float | None = None) -> Event | None:
        """The next event, or None after `timeout` seconds. Asking for it acknowledges the one before."""
        link, group = self._link, self._group
        link.check_process()
        event = link.session.next_event(group)
        if event is None:
            link.taken()
            try:
                await link.wait(lambda: group.queue or group.is_over, timeout, "")
            except Timeout:
                return None
            event = link.session.next_event(group)
            if event is None:
                link.session.check(group)
        link.taken()
        return event

    async def __aiter__(self) -> AsyncIterator[Event]:
        """Events, until the group is left."""
        link, group = self._link, self._group
        try:
            while True:
                event = link.session.next_event(group)
                link.taken()
                if event is None:
                    await link.wait(lambda: group.queue or group.is_over, None, "")
                    event = link.session.next_event(group)
                    if event is None:
                        return
                yield event
        finally:
            link.session.handled(group)
            link.taken()

    async def leave(self, timeout: float | None = None) -> None:
        """Leave the group; returns when this process is out."""
        link, group = self._link, self._group
        link.check_process()
        link.session.leave(group)
        link.wake()
        out = (GroupState.LEFT,)
        what = f"group {group.name!r} could not be left in time"
        await link.wait_for_order(lambda: group.state in out or group.ended is not None, timeout, what)


class Cpg:
    """Process groups: `cluster.cpg`."""

    def __init__(self, link: _Link) -> None:
        self._link = link

    async def join(self, name: str, timeout: float | None = None) -> Group:
        """Become a member of group `name`; see `rondo` for what it raises."""
        link = self._link
        link.check_process()
        group = link.session.join(name)
        link.wake()
        try:
            await link.wait_for_order(
                lambda: group.state is not GroupState.JOINING or group.ended is not None,
                timeout,
                f"group {name!r} could not be joined in time",
            )
        except (Timeout, asyncio.CancelledError):
            with contextlib.suppress(Error):
                link.session.leave(group)
            link.wake()
            raise
        if group.ended is not None:
            raise group.ended
        return Group(link, group)

    async def groups(self, timeout: float | None = None) -> list[dict[str, Any]]:
        """All groups of the ring and their members."""
        link = self._link
        link.check_process()
        request = link.session.query_groups()
        link.wake()
        await link.wait(lambda: request.is_done, timeout, "the node did not answer in time")
        if request.error is not None:
            raise request.error
        return groups_of(request.result)


class Cluster:
    """A connection to the node; made by `rondo.aio.connect`."""

    def __init__(self, link: _Link, place: Place) -> None:
        self._link = link
        self._control = Control(place)
        self.cpg = Cpg(link)
        """Process groups."""
        self.quorum = Quorum(self._control)
        """Who may act when the cluster is split."""
        self.cmap = Cmap(self._control)
        """Keys: the node's configuration and state, and those that programs set."""

    @property
    def node_id(self) -> int:
        """The identifier of the node that this process runs on."""
        return self._link.session.node_id

    @property
    def pid(self) -> int:
        """The process id that this process has as a member of groups."""
        return self._link.session.pid

    async def nodes(self, timeout: float | None = TIMEOUT_S) -> tuple[NodeInfo, ...]:
        """The nodes of the configuration and of the ring, with their links."""
        return await nodes(self._control, timeout)

    async def close(self) -> None:
        """End the connection: this process leaves all its groups."""
        await asyncio.to_thread(self._control.close)
        await self._link.close()


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
    ) -> None:
        self._place = place_of(endpoint, key_file, server_key)
        self._timeout = timeout
        self._cluster: Cluster | None = None

    def __await__(self) -> Generator[Any, None, Cluster]:
        return self._connect().__await__()

    async def _connect(self) -> Cluster:
        link = _Link(self._place, client_name())
        session = link.session
        try:
            no_answer = self._place.no_answer
            await link.wait(lambda: session.is_open or session.ended is not None, self._timeout, no_answer)
            if session.ended is not None:
                raise session.ended
        except BaseException:
            await link.close()
            raise
        return Cluster(link, self._place)

    async def __aenter__(self) -> Cluster:
        self._cluster = await self._connect()
        return self._cluster

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._cluster is not None:
            await self._cluster.close()
