"""What an application gets from a loopback: the names of `rondo.Cluster`, without any node behind them."""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, Protocol

from rondo.errors import Disconnected, Exists, InvalidParameter, NotExist, Timeout
from rondo.events import ConnectionEvent, ConnectionState, Event, Member, Reason
from rondo.protocol.requests import Guarantee
from rondo.quorum import Change, Node, Quorate, QuorumStatus
from rondo.testing.loopback.session import LoopbackRequest, Place, Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rondo.testing.loopback.network import Network

PROVIDER = "corosync_votequorum"
WAIT_S_MAX = 3600.0


class Stage(Protocol):
    """What the doubles need of a loopback."""

    network: Network
    condition: threading.Condition
    has_provider: bool

    def run_on(self) -> None:
        """Let happen what happens by itself. Under `condition`."""


def wait_until(stage: Stage, true: Callable[[], bool], timeout: float | None, what: str) -> None:
    """Wait under `condition`. Raises Timeout."""
    deadline_s = None if timeout is None else time.monotonic() + timeout
    while not true():
        left_s = WAIT_S_MAX if deadline_s is None else deadline_s - time.monotonic()
        if left_s <= 0:
            raise Timeout(what)
        stage.condition.wait(left_s)


class LoopbackGroup:
    """A group that a process of a loopback is in."""

    def __init__(self, stage: Stage, session: Session, place: Place) -> None:
        self._stage = stage
        self._session = session
        self._place = place
        self._descriptor = -1

    def __repr__(self) -> str:
        return f"<loopback group {self.name!r} of {self._session.member}: {len(self.members)} members>"

    @property
    def name(self) -> str:
        """The group's name."""
        return self._place.name

    @property
    def me(self) -> Member:
        """This process as a member."""
        return self._session.member

    @property
    def members(self) -> tuple[Member, ...]:
        """Who is in the group as of the last event taken."""
        return self._place.members

    def mcast(
        self,
        data: bytes,
        guarantee: Guarantee = Guarantee.AGREED,
        timeout: float | None = None,
        *,
        deadline: float | None = None,
    ) -> LoopbackRequest:
        """Send to every member of the group; there is always room. Raises NotExist, Disconnected."""
        stage, session, place = self._stage, self._session, self._place
        with stage.condition:
            if place.ended is not None:
                raise place.ended
            session.last_request += 1
            request = LoopbackRequest(session.last_request, self._wait)
            if session.is_connected and place.is_member:
                place.unresolved[request.number] = request
                stage.network.mcast(session, self.name, bytes(data), guarantee is Guarantee.SAFE, request)
                stage.run_on()
            else:
                request.error, request.is_done = Disconnected("the connection was lost before it was accepted"), True
            return request

    def _wait(self, true: Callable[[], bool], timeout: float | None, what: str) -> None:
        with self._stage.condition:
            wait_until(self._stage, true, timeout, what)

    def poll(self, timeout: float | None = None) -> Event | None:
        """The next event, waiting for it at most `timeout` seconds (None: for ever); None if there was none."""
        with self._stage.condition:
            event = self._place.take()
            if event is None and timeout != 0:
                try:
                    wait_until(self._stage, lambda: bool(self._place.events or self._place.ended), timeout, "")
                except Timeout:
                    return None
                event = self._place.take()
            if self._descriptor >= 0:
                self._note()
            return event

    def fileno(self) -> int:
        """Readable while there is something to take, as `rondo.Group.fileno` is."""
        with self._stage.condition:
            if self._descriptor < 0:
                self._descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
                weakref.finalize(self, os.close, self._descriptor)
                self._session.listeners.append(self._note)
                self._note()
            return self._descriptor

    def _note(self) -> None:
        """Have the descriptor say whether something waits."""
        if self._place.events or self._place.ended is not None:
            os.eventfd_write(self._descriptor, 1)
        else:
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._descriptor)

    def __iter__(self) -> Iterator[Event]:
        """Events, until the group is left."""
        while True:
            try:
                event = self.poll()
            except (NotExist, Disconnected):
                return
            if event is not None:
                yield event

    def leave(self, timeout: float | None = None) -> None:
        """Leave the group; returns when this process is out."""
        stage, place = self._stage, self._place
        with stage.condition:
            if place.ended is not None:
                raise place.ended
            stage.network.out(self._session, self.name, Reason.LEAVE)
            stage.run_on()
            wait_until(stage, lambda: place.ended is not None, timeout, f"group {self.name!r} could not be left")


class LoopbackCpg:
    """Process groups."""

    def __init__(self, stage: Stage, session: Session) -> None:
        self._stage = stage
        self._session = session

    def join(self, name: str, timeout: float | None = None) -> LoopbackGroup:
        """Become a member of group `name`. Raises Exists, InvalidParameter, Disconnected, Timeout."""
        stage, session = self._stage, self._session
        if not isinstance(name, str) or not 1 <= len(name.encode()) <= 128:
            raise InvalidParameter(f"name: a group's name is a string of 1 to 128 bytes, not {name!r}")
        with stage.condition:
            if session.is_over:
                raise Disconnected("the connection was closed")
            if name in session.groups:
                raise Exists(f"this process is in group {name!r} already")
            place = session.groups[name] = Place(name)
            stage.network.join(session, name)
            stage.run_on()
            while not place.is_member and stage.network.step():
                pass  # whoever holds back messages still wants to join
            wait_until(stage, lambda: place.is_member or place.ended is not None, timeout, f"cannot join {name!r}")
            return LoopbackGroup(stage, session, place)

    def groups(self, timeout: float | None = None, *, hidden: bool = False) -> list[dict[str, Any]]:
        """All groups that this process's node knows, and their members. None is `hidden` here."""
        with self._stage.condition:
            return [
                {"group": name, "members": [{"node": each.node, "pid": each.pid} for each in members]}
                for name, members in self._stage.network.groups_of(self._session.member.node)
            ]


class LoopbackChanges:
    """What a watch of quorum tells, as that of `rondo.Cluster` does."""

    def __init__(self, stage: Stage, session: Session, now: Callable[[], Quorate | None], told: Quorate | None) -> None:
        self._stage = stage
        self._session = session
        self._now = now
        self._told = told
        self._is_closed = False

    def __iter__(self) -> Iterator[Change]:
        return self

    def __next__(self) -> Change:
        with self._stage.condition:
            while not (self._session.is_over or self._is_closed):
                now = self._now()
                if now is not None and now != self._told:
                    self._told = now
                    return now
                self._stage.condition.wait()
            raise StopIteration

    def close(self) -> None:
        """End it: who waits gets no more."""
        with self._stage.condition:
            self._is_closed = True
            self._stage.condition.notify_all()


class LoopbackQuorum:
    """Who may act when the loopback is split: the side with most nodes."""

    def __init__(self, stage: Stage, session: Session) -> None:
        self._stage = stage
        self._session = session

    def status(self, timeout: float | None = None) -> QuorumStatus:
        """Votes, and whether this side may act; one vote for each node."""
        stage, network = self._stage, self._stage.network
        with stage.condition:
            if self._session.is_over:
                raise Disconnected("the connection was closed")
            node = self._session.member.node
            if node not in network.up:
                raise Disconnected(f"node {node} is down")
            ring, expected = network.rings[node], len(network.nodes)
            nodes = tuple(
                Node(each, f"n{each}", "member" if each in ring.nodes else "dead", 1, expected)
                for each in sorted(network.nodes)
            )
            quorate = network.is_quorate(node)
            if not stage.has_provider:
                return QuorumStatus(None, True, ring.ring, node, None, None, None, None, (), nodes)
            flags = ("quorate",) if quorate else ()
            votes = (expected, expected, len(ring.nodes), expected // 2 + 1)
            return QuorumStatus(PROVIDER, quorate, ring.ring, node, *votes, flags, nodes)

    def watch(self, *, current: bool = False) -> LoopbackChanges:
        """A `Quorate` for each ring from now on, until it or the connection is closed. `current`: how it is now too."""
        return LoopbackChanges(self._stage, self._session, self.now, None if current else self.now())

    def now(self) -> Quorate | None:
        """How it is now, as a change; None while the node is down."""
        node, network = self._session.member.node, self._stage.network
        if node not in network.up:
            return None
        ring = network.rings[node]
        quorate = network.is_quorate(node) or not self._stage.has_provider
        return Quorate(quorate, ring.ring, tuple(sorted(ring.nodes)))


class LoopbackCluster:
    """A process's connection to its node."""

    def __init__(self, stage: Stage, session: Session) -> None:
        self._stage = stage
        self._session = session
        self.cpg = LoopbackCpg(stage, session)
        """Process groups."""
        self.quorum = LoopbackQuorum(stage, session)
        """Who may act when the loopback is split."""

    def __repr__(self) -> str:
        return f"<loopback process {self._session.member}>"

    @property
    def node_id(self) -> int:
        """The node that this process runs on."""
        return self._session.member.node

    @property
    def pid(self) -> int:
        """A number that this process has as a member of groups; it is none of the system's."""
        return self._session.member.pid

    @property
    def session(self) -> Session:
        """The process as the network sees it."""
        return self._session

    @property
    def is_connected(self) -> bool:
        """Whether the node is there, as far as is known."""
        return self._session.is_connected and not self._session.is_suspended

    @property
    def is_closed(self) -> bool:
        """Whether the connection was closed, or the process killed."""
        return self._session.is_over

    @property
    def state(self) -> ConnectionState:
        """How the connection stands."""
        return self._session.state

    def add_listener(self, listener: Callable[[ConnectionEvent], object]) -> None:
        """Call `listener` with every change of the state, at once, in the thread that makes it happen."""
        with self._stage.condition:
            self._session.connection_listeners += (listener,)

    def remove_listener(self, listener: Callable[[ConnectionEvent], object]) -> None:
        """Call it no more."""
        with self._stage.condition:
            session = self._session
            session.connection_listeners = tuple(each for each in session.connection_listeners if each != listener)

    def close(self) -> None:
        """End the connection: this process leaves all its groups."""
        with self._stage.condition:
            if self._session.is_over:
                return
            for name, place in sorted(self._session.groups.items()):
                if place.is_member:
                    self._stage.network.out(self._session, name, Reason.LEAVE)
            self._session.end(Disconnected("the connection was closed"))
            self._stage.run_on()

    def __enter__(self) -> LoopbackCluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
