"""The client for threads: `rondo.connect()` and what it gives.

    with rondo.connect() as cluster:
        group = cluster.cpg.join("bank")
        group.mcast(b"deposit 10")
        for event in group:
            ...

Everything here may be used from several threads. The events of one group should be taken by one thread, because taking
the next one acknowledges the one before. A process that forks must connect anew in the child.
"""

import contextlib
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from rondo._client import requests
from rondo._client.ask_link import TIMEOUT_S
from rondo._client.control import Cmap, Control, NodeInfo, Quorum, nodes_of
from rondo._client.groups import Group as GroupOfSession
from rondo._client.groups import GroupState
from rondo._client.link import ACK_BYTES, Link
from rondo._client.place import Place
from rondo._client.session import groups_of
from rondo.errors import Error, Timeout, TryAgain
from rondo.events import Event, Member
from rondo.protocol.control_gateway import Op
from rondo.protocol.requests import Guarantee

CONNECT_TIMEOUT_S = 5.0


def deadline_of(timeout: float | None) -> float | None:
    """When a time-out of that many seconds is over; None = never."""
    return None if timeout is None else time.monotonic() + timeout


class Request(requests.Request):
    """A message on its way. `number` is what events and `UnknownOutcome` name it by once it is accepted."""

    __slots__ = ()

    def accepted(self, timeout: float | None = None) -> "Request":
        """Wait until the executive has taken it: it will be ordered even if this process dies now.

        Returns the request. Raises Timeout after `timeout` seconds, or the error with which it failed.
        """
        return self._wait(lambda: self.is_accepted or self.is_done, timeout, "accepted")

    def ordered(self, timeout: float | None = None) -> "Request":
        """Wait until it has its place in the order (SAFE: and every member of the ring has it).

        Its event is then in the group's queue. Returns the request. Raises Timeout, or the error with which it failed;
        Disconnected if its outcome is unknown.
        """
        return self._wait(lambda: self.is_done, timeout, "ordered")

    def _wait(self, condition: Any, timeout: float | None, what: str) -> "Request":
        link: Link = self._batch.owner
        link.check_process()
        with link.changed:
            link.wait_for_order(condition, deadline_of(timeout), f"request {self.number} was not {what} in time")
            if self.error is not None:
                raise self.error
        return self


class Group:
    """A group that this process is in; made by `cluster.cpg.join`.

    Iterating gives its events, without end until the group is left. `poll` gives one.
    """

    def __init__(self, link: Link, group: GroupOfSession) -> None:
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

    def mcast(self, data: bytes, guarantee: Guarantee = Guarantee.AGREED, timeout: float | None = None) -> Request:
        """Send `data` to every member of the group, oneself included; returns at once with the request.

        It waits only while there is no room: at most `timeout` seconds, then it raises TryAgain and the message was not
        sent. Raises TooBig, NotExist (the group was left), Disconnected (for good).
        """
        link = self._link
        link.check_process()
        if type(data) is not bytes:
            data = bytes(memoryview(data))
        with link.lock:
            request = link.session.mcast(self._group, guarantee, data)
            if request is None:
                request = self._mcast_when_there_is_room(data, guarantee, timeout)
            if link.is_sleeping and link.session.requests.is_due:
                link.wake()
        return request  # type: ignore[return-value]  # what this connection's session makes

    def _mcast_when_there_is_room(self, data: bytes, guarantee: Guarantee, timeout: float | None) -> requests.Request:
        session = self._link.session
        request: list[requests.Request | None] = [None]

        def tried() -> bool:
            request[0] = session.mcast(self._group, guarantee, data)
            return request[0] is not None

        try:
            self._link.wait(tried, deadline_of(timeout), "")
        except Timeout:
            raise TryAgain("there is no room for more messages on their way; wait for some to be accepted") from None
        assert request[0] is not None
        return request[0]

    def poll(self, timeout: float | None = None) -> Event | None:
        """The next event, waiting for it at most `timeout` seconds (None: for ever); None if there was none.

        Asking for it acknowledges the one before. Once the group was left, or the connection is lost for good, and
        nothing is left to be taken, it raises NotExist or the cause.
        """
        link, group = self._link, self._group
        link.check_process()
        event: Event | None = next(group.ready, None)
        if event is not None:
            return event
        with link.lock:
            event = link.session.next_event(group)
            if event is None:
                link.session.check(group) if group.is_over else None
                try:
                    link.wait(lambda: group.queue or group.is_over, deadline_of(timeout), "")
                except Timeout:
                    return None
                event = link.session.next_event(group)
                if event is None:
                    link.session.check(group)
            elif link.session.ack_bytes >= ACK_BYTES:
                link.wake()
        return event

    def __iter__(self) -> Iterator[Event]:
        """Events, until the group is left. Leaving the loop acknowledges the last one."""
        link, group = self._link, self._group
        try:
            while True:
                link.check_process()
                yield from group.ready
                with link.lock:
                    event = link.session.next_event(group)
                    if event is None:
                        link.wait(lambda: group.queue or group.is_over, None, "")
                        event = link.session.next_event(group)
                        if event is None:
                            return
                    elif link.session.ack_bytes >= ACK_BYTES:
                        link.wake()
                yield event
        finally:
            with link.changed:
                link.session.handled(group)

    def leave(self, timeout: float | None = None) -> None:
        """Leave the group; returns when this process is out, after all that it sent before is ordered.

        Events that were not taken yet can still be taken. Raises NotExist if it was left already, Timeout.
        """
        link, group = self._link, self._group
        link.check_process()
        with link.changed:
            link.session.leave(group)
            link.wake()
            out = (GroupState.LEFT,)
            link.wait_for_order(
                lambda: group.state in out or group.ended is not None,
                deadline_of(timeout),
                f"group {group.name!r} could not be left in time",
            )


class Cpg:
    """Process groups: `cluster.cpg`."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def join(self, name: str, timeout: float | None = None) -> Group:
        """Become a member of group `name` (1 to 128 bytes of UTF-8); returns when this process is one.

        Raises Exists if it is one already, NameTooLong, InvalidParameter, Timeout (the attempt is then withdrawn).
        """
        link = self._link
        link.check_process()
        with link.changed:
            group = link.session.join(name)
            link.wake()
            try:
                link.wait_for_order(
                    lambda: group.state is not GroupState.JOINING or group.ended is not None,
                    deadline_of(timeout),
                    f"group {name!r} could not be joined in time",
                )
            except Timeout:
                with contextlib.suppress(Error):
                    link.session.leave(group)
                link.wake()
                raise
            if group.ended is not None:
                raise group.ended
        return Group(link, group)

    def groups(self, timeout: float | None = None) -> list[dict[str, Any]]:
        """All groups of the ring and their members: `[{"group": "g", "members": [{"node": 1, "pid": 77}]}]`."""
        link = self._link
        link.check_process()
        deadline = deadline_of(timeout)
        with link.changed:
            request = link.session.query_groups()
            link.wake()
            link.wait(lambda: request.is_done, deadline, "the node did not answer in time")
            if request.error is not None:
                raise request.error
            return groups_of(request.result)


class Cluster:
    """A connection to the node; made by `rondo.connect`. Close it, or use it in a `with` statement."""

    def __init__(self, link: Link, place: Place) -> None:
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

    def nodes(self, timeout: float | None = TIMEOUT_S) -> tuple[NodeInfo, ...]:
        """The nodes of the configuration and of the ring, with their links."""
        return nodes_of(self._control.ask(Op.NODES, timeout=timeout))

    def close(self) -> None:
        """End the connection: this process leaves all its groups."""
        self._control.close()
        self._link.close()

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def connect_to(place: Place, name: str, timeout: float | None) -> Cluster:
    """A connection to the gateway at `place`. Raises Timeout, AccessDenied, ..."""
    link = Link(place, name, Request)
    try:
        with link.changed:
            link.wait(
                lambda: link.session.is_open or link.session.ended is not None, deadline_of(timeout), place.no_answer
            )
            if link.session.ended is not None:
                raise link.session.ended
    except BaseException:
        link.close()
        raise
    return Cluster(link, place)
