"""The client API for threads: `rondo.connect()` and the objects that it returns.

    with rondo.connect() as cluster:
        group = cluster.cpg.join("bank")
        group.mcast(b"deposit 10")
        for event in group:
            ...

**Threads.** Everything here may be used from several threads. Only one thread at a time may take the events of a group,
because taking an event acknowledges the one before. A second thread that waits for them gets `Busy`. A process that
forks must connect again in the child.

**Signals.** An exception out of a signal handler may end any call, and the connection survives that. An event that the
call did not return is returned by the next call. A message whose `mcast` did not return was sent once or not at all.
Once `close` has begun, the connection is closed even if the call is interrupted. A signal handler may make calls
itself. They raise `Interrupted` if it has interrupted a call that was just changing the session; `close` never does.

**Timeouts.** A call that waits for the node or the ring waits for its `timeout`, else for the connection's
`default_timeout` (`rondo.connect`); None is for ever. Waiting for events (`poll`, `for event in group`) has no limit.
"""

from collections.abc import Iterator
from threading import get_ident
from types import TracebackType
from typing import Any

from rondo._client import batches, departing, descriptors
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
from rondo._client.cfg import Cfg
from rondo._client.control import Cmap, Control, NodeInfo, Quorum, nodes_of
from rondo._client.endpoint import Endpoint
from rondo._client.groups import Group as GroupOfSession
from rondo._client.groups import GroupState
from rondo._client.link import Handle, Link, raise_on_top
from rondo._client.listeners import Listener
from rondo._client.outcome import Request
from rondo._client.session import groups_of
from rondo._client.unpicklable import Unpicklable
from rondo.errors import Timeout, TryAgain
from rondo.events import ConnectionState, Event, Member
from rondo.protocol.control_gateway import Op
from rondo.protocol.requests import Guarantee

# Python 3.11 takes 136 ns to find a member of an Enum, and 9 ns to find a global. Each mcast looks at two or three.
_AGREED, _SAFE, _MEMBER = Guarantee.AGREED, Guarantee.SAFE, GroupState.MEMBER
CONNECT_TIMEOUT_S = 5.0


class Group(Unpicklable):
    """A group that this process is a member of; made by `cluster.cpg.join`.

    Iterating gives its events until the group is left. `poll` gives one.
    """

    def __init__(self, link: Link, handle: Handle, group: GroupOfSession) -> None:
        self._link = link
        self._handle = handle
        self._group = group

    def __repr__(self) -> str:
        return f"<rondo.Group {self.name!r}: {len(self.members)} members>"

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

    def mcast(
        self,
        data: bytes,
        guarantee: Guarantee = Guarantee.AGREED,
        timeout: float | Default | None = DEFAULT,
        *,
        deadline: float | None = None,
    ) -> Request:
        """Send `data` to every member of the group, the sender included. Returns the request at once.

        The call waits only while there is no room in the window. After `timeout` seconds it raises TryAgain, and the
        message was not sent. `deadline`: a message that could not be sent to the node within so many seconds is given
        up, and its error is Timeout. Raises TooBig, NotExist (the group was left), Disconnected (for good),
        InvalidParameter.

        After the node is lost, a request fails with Disconnected until the application has taken that event. A message
        that is given later is sent when the node is back and the group is joined again.
        """
        link, group = self._link, self._group
        if link.forks != descriptors.forks:
            link.check_process()
        if guarantee is not _AGREED and guarantee is not _SAFE:
            guarantee = guarantee_of(guarantee)
        if type(data) is not bytes:
            data = bytes_of(data)
        deadline_s = None if deadline is None else deadline_of(deadline, "deadline")
        if timeout is not DEFAULT and timeout is not None:
            check_seconds(timeout)
        session = link.session
        if link.holder == (me := get_ident()):
            raise_on_top()
        with link.lock:  # inlines `link.run`, for speed
            link.holder = me
            try:
                if link.is_torn:
                    link.mend()
                plain = (
                    group.state is _MEMBER
                    and group.ended is None
                    and not group.is_down
                    and len(data) <= session.message_bytes_max
                )
                if not plain:
                    session.check_message(group, data)
                link.is_torn = True
                if plain:
                    request = session.requests.add_message(group.name, group.wire_name, guarantee, data, deadline_s)
                else:
                    request = session.queue_message(group, guarantee, data, deadline_s)
                if link.is_sleeping and session.requests.is_due:
                    link.wake()
                link.is_torn = False
            except BaseException:
                link.wakeup.set()
                raise
            finally:
                link.holder = 0
        if request is None:
            request = self._mcast_when_there_is_room(data, guarantee, timeout, deadline_s)
        return request  # type: ignore[return-value]  # what this connection's session makes

    def _mcast_when_there_is_room(
        self, data: bytes, guarantee: Guarantee, timeout: float | Default | None, deadline_s: float | None
    ) -> batches.Request:
        link, group = self._link, self._group
        session = link.session
        request: list[batches.Request] = []

        def tried() -> bool:
            if group.ended is not None or group.state in (GroupState.LEAVING, GroupState.LEFT):
                return True
            made = session.queue_message(group, guarantee, data, deadline_s)
            if made is None:
                return False
            request.append(made)
            link.wake()
            return True

        try:
            link.wait(tried, link.deadline_of(timeout), "")
        except Timeout:
            raise TryAgain("there is no room for more messages on their way; wait for some to be accepted") from None
        if not request:
            session.check(group)
        return request[0]

    def poll(self, timeout: float | None = None) -> Event | None:
        """The next event; waits at most `timeout` seconds (None: for ever). None if there was none.

        The call acknowledges the event before. Once the group was left, or the connection is lost for good, and no
        event is left to take, it raises NotExist or the cause.
        """
        link, group = self._link, self._group
        if link.forks != descriptors.forks:
            link.check_process()
        # Inlined for speed: what check_seconds admits.
        if timeout is not None and not ((type(timeout) is float or type(timeout) is int) and timeout == timeout):
            check_seconds(timeout)
        # Python runs no signal handler between taking an event and returning it, so an event that is taken is returned.
        for event in group.ready:
            return event
        deadline_s = None if timeout is None else deadline_of(timeout)
        while True:
            for event in group.ready:
                return event
            try:
                if not link.wait_for_event(group, deadline_s):
                    link.session.check(group)
            except Timeout:
                return None

    def fileno(self) -> int:
        """A descriptor for `select`, `poll` and event loops: readable while `poll(0)` may give an event.

        Do not read from it: call `poll(0)` until that gives None. It may be readable although there is no event. It is
        valid as long as the group.
        """
        self._link.check_process()
        return self._link.run(self._link.watch, self._group)

    def __iter__(self) -> Iterator[Event]:
        """Events, until the group is left. Leaving the loop acknowledges the last one."""
        link, group = self._link, self._group
        try:
            while True:
                link.check_process()
                yield from group.ready
                if not link.wait_for_event(group, None):
                    return
        finally:
            if not link.is_over and link.forks == descriptors.forks:
                link.run(link.session.handled, group)

    def leave(self, timeout: float | Default | None = DEFAULT) -> None:
        """Leave the group. Returns when this process is out, after all that it sent before is ordered.

        Events that were not taken yet can still be taken. Raises NotExist if the group was left already, Timeout.
        """
        link, group = self._link, self._group
        link.check_process()
        deadline_s = link.deadline_of(timeout)
        link.run(self._leave, check=self._check_leave)
        out = (GroupState.LEFT,)
        link.wait_for_order(
            lambda: group.state in out or group.ended is not None,
            deadline_s,
            f"group {group.name!r} could not be left in time",
        )

    def _check_leave(self) -> None:
        if self._group.state is not GroupState.LEAVING:  # an interrupted call has sent the request already: wait for it
            self._link.session.check(self._group)

    def _leave(self) -> None:
        if self._group.state is not GroupState.LEAVING:
            self._link.session.leave(self._group)
            self._link.wake()


class Cpg(Unpicklable):
    """Process groups: `cluster.cpg`."""

    def __init__(self, link: Link, handle: Handle) -> None:
        self._link = link
        self._handle = handle

    def join(self, name: str, timeout: float | Default | None = DEFAULT) -> Group:
        """Become a member of group `name` (1 to 128 bytes of UTF-8). Returns when this process is a member.

        Raises Exists if it is a member already, NameTooLong, InvalidParameter, Timeout. After a Timeout the attempt is
        undone; the next join waits for that.
        """
        link = self._link
        link.check_process()
        session, deadline_s = link.session, link.deadline_of(timeout)
        what = f"group {name!r} could not be joined in time"
        if link.given_up:
            link.run(link.undo_joins)
        departing.wait_for_departing(link, deadline_s)
        if session.is_being_left(name):
            link.wait_for_order(lambda: not session.is_being_left(name), deadline_s, what)
        group = None
        made = False
        try:
            group = link.run(self._join, name, check=session.check_join)
            link.wait_for_order(
                lambda: group.state is not GroupState.JOINING or group.ended is not None, deadline_s, what
            )
            if group.ended is not None:
                raise group.ended
            joined = Group(link, self._handle, group)
            made = True
        finally:
            if not made and group is not None:
                link.given_up.append(group)
                link.wakeup.set()
        return joined

    def _join(self, name: str) -> GroupOfSession:
        group = self._link.session.join(name)
        self._link.wake()
        return group

    def groups(self, timeout: float | Default | None = DEFAULT, *, hidden: bool = False) -> list[dict[str, Any]]:
        """All groups of the ring and their members: `[{"group": "g", "members": [{"node": 1, "pid": 77}]}]`. `hidden`:
        includes the groups that the nodes themselves use."""
        link = self._link
        link.check_process()
        deadline_s = link.deadline_of(timeout)
        truth_of(hidden, "hidden")
        request = link.run(lambda: self._ask_groups(hidden=hidden), check=link.session.check)
        link.wait(lambda: request.is_done, deadline_s, "the node did not answer in time")
        if request.error is not None:
            raise request.error
        return groups_of(request.result)

    def _ask_groups(self, *, hidden: bool) -> batches.Request:
        request = self._link.session.query_groups(hidden=hidden)
        self._link.wake()
        return request


class Cluster(Unpicklable):
    """A connection to the node; made by `rondo.connect`. Close it, or use it in a `with` statement."""

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

    def nodes(self, timeout: float | None = TIMEOUT_S) -> tuple[NodeInfo, ...]:
        """The nodes of the configuration and of the ring, with their links."""
        return nodes_of(self._control.ask(Op.NODES, timeout=timeout))

    @property
    def is_connected(self) -> bool:
        """True while the node is there, as far as is known. False between `Suspended` or `Disconnected` and the event
        that ends that state."""
        return self._link.session.is_open

    @property
    def is_closed(self) -> bool:
        """Whether the connection was closed, or is lost for good."""
        return self._link.is_closing or self._link.session.ended is not None

    @property
    def state(self) -> ConnectionState:
        """The state of the connection, as its groups were told it. After `is_closed`: lost for good."""
        return self._link.session.state

    def add_listener(self, listener: Listener) -> None:
        """Call `listener` with every later `ConnectionChange` and `SlowConsumer`, in their order, in one thread for all
        listeners. It may use the connection. A slow listener delays the others. A listener that refers to the
        connection keeps it from being closed by the garbage collector. Raises InvalidParameter."""
        self._link.check_process()
        self._link.listeners.add(listener)

    def remove_listener(self, listener: Listener) -> None:
        """Stop calling a listener. Does nothing for an unknown one."""
        self._link.listeners.remove(listener)

    def close(self) -> None:
        """End the connection: this process leaves all its groups. Returns within a second. In a forked child of the
        process that made the connection it does nothing."""
        link = self._link
        try:
            self._control.close()
        finally:
            # An exception of a signal handler may end this call anywhere. From here on the worker closes the link
            # anyway.
            link.is_closing = link.was_closed = True
            link.wakeup.set()
            link.close()

    def __repr__(self) -> str:
        state = "closed" if self.is_closed else self.state
        return f"<rondo.Cluster {self._link.endpoint.url}: {state}>"

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def connect_to(
    endpoint: Endpoint,
    name: str,
    timeout: float | None,
    session_timeout: float | None = None,
    default_timeout: float | None = DEFAULT_TIMEOUT_S,
) -> Cluster:
    """A connection to the gateway at `endpoint`. Raises Timeout, AccessDenied, ..."""
    refuse_green_threads()
    deadline_s = deadline_of(timeout)
    check_duration(session_timeout, "session_timeout")
    check_duration(default_timeout, "default_timeout")
    if timeout is not None and timeout <= 0:
        raise Timeout(no_time(timeout))
    handle = Handle()
    link = cluster = None
    lost_after_ms = None if session_timeout is None else session_timeout * 1000
    try:
        link = Link(endpoint, name, Request, handle, lost_after_ms, default_timeout)
        session = link.session
        link.wait(lambda: session.is_open or session.ended is not None, deadline_s, endpoint.no_answer)
        if session.ended is not None:
            raise session.ended
        cluster = Cluster(link, handle)
    finally:
        if cluster is None:
            # The traceback of an exception may live long, and would keep the link alive. If the exception came before
            # there was a handle to close, the link's thread closes the link.
            if link is not None:
                link.was_closed = True
            del handle
            if link is not None:
                link.close()
    return cluster
