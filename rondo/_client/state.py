"""The state of a session, apart from the protocol: groups, waiting events, acknowledgements, the end of the session.

An exception of a signal handler may end any call half-way and leave this state half-changed. `mend` repairs it from
what is always valid: the position up to which the log was received, the queues of the groups, and the batches of
requests. The connection is then made anew, and the gateway repeats the log after that position.
"""

from collections import deque
from collections.abc import Callable

from rondo._client.batches import RequestFactory
from rondo._client.groups import Chunk, Group, GroupState
from rondo._client.requests import Requests
from rondo.errors import AccessDenied, Disconnected, Error, NotExist
from rondo.events import (
    ConnectionChange,
    ConnectionEvent,
    ConnectionState,
    Event,
    Resumed,
    SlowConsumer,
    Suspended,
    UnknownOutcome,
)
from rondo.protocol.requests import Op

DENIED = (
    "this user may not connect to the node; root, the executive's own user, and those that uidgid{} of its "
    "corosync.conf names may"
)
CLOSED = "the connection was closed"
"""The end of a session that the application has closed."""
RESUME_MS_DEFAULT = 10_000
"""How long an absent gateway is expected back, until a gateway says how long it keeps sessions."""


def _ignore(_event: ConnectionEvent) -> None:
    """The default listener: does nothing."""


class SessionState:
    """The state of one session. Not thread-safe: its owner has a lock."""

    def __init__(self, request_factory: RequestFactory, owner: object, why_denied: str) -> None:
        self._why_denied = why_denied
        self.is_open = False
        """True once this connection was welcomed."""
        self.ended: Error | None = None
        """The reason why the session has ended for good, or None."""
        self.node_id = 0
        self.pid = 0
        self.message_bytes_max = 0
        self.resume_ms = RESUME_MS_DEFAULT
        """How long the node keeps the session while this client is away."""
        self.groups: dict[str, Group] = {}
        self.requests = Requests(request_factory, owner)
        self.ack_bytes = 0
        """Bytes handled since the last acknowledgement was sent; 0 = there is nothing to acknowledge."""
        self.slow: tuple[int, int] | None = None
        """The gateway's last warning: the bytes that wait for this process, and the limit at which it is cut off."""
        self.order_waiters: set[object] = set()
        """The callers that wait for something that only further events can bring, such as leaving a group. The node
        sends only a limited amount unacknowledged, and the caller may be the one who should handle events. So while
        anybody waits here, events are acknowledged when they arrive, and kept here."""
        self._position = 0
        self._acknowledged = 0
        self._chunks: deque[Chunk] = deque()
        self._is_down_told = False
        self._is_suspended = False
        self._is_new = True
        """No gateway has welcomed it yet."""
        self.is_displaced = False
        """The gateway has the session at another connection than ours."""
        self._by_wire_name: dict[bytes, Group] = {}
        """The groups that take events: all but `_returning`."""
        self._returning: dict[bytes, Group] = {}
        """Those that are left to be joined again, until they are."""
        self.tell_owner: Callable[[ConnectionEvent], object] = _ignore
        """Called with events for the listeners, in the middle of a change."""

    @property
    def state(self) -> ConnectionState:
        """The state of the connection."""
        if self.ended is not None or self._is_down_told:
            return ConnectionState.LOST
        return ConnectionState.SUSPENDED if self._is_suspended else ConnectionState.CONNECTED

    @property
    def is_down(self) -> bool:
        """True after the groups were told `Disconnected` until they are told `Reconnected`."""
        return self._is_down_told

    @property
    def has_unacknowledged(self) -> bool:
        """True if events wait to be handled, or their acknowledgement waits to be sent."""
        return bool(self._chunks) or self.ack_bytes > 0

    # -- how it is lost, and ends --------------------------------------------------------------------------------

    def suspended(self, reason: str) -> None:
        """The connection has broken: tell every group once."""
        if not self._is_down_told and not self._is_suspended and self.ended is None:
            self._is_suspended = True
            self._tell_all(Suspended(reason))
            self.tell_owner(ConnectionChange(ConnectionState.SUSPENDED, reason))

    def lost(self, reason: str) -> None:
        """The session is most likely lost: tell every group once. Earlier requests that were not sent are given up. The
        outcome of those that were sent is unknown."""
        if self._is_down_told or self.ended is not None:
            return
        sent = {n for b in self.requests.unresolved.values() if b.was_sent for n in range(b.first, b.last + 1)}
        self._lost(reason, sent)

    def _lost(self, reason: str, unknown: set[int]) -> None:
        self._is_down_told, self._is_suspended = True, False
        for group in self.groups.values():
            group.is_down = True
            self._tell(group, Disconnected(reason))
        self._report_unknown(unknown, reason)
        self.requests.give_up_messages(reason)
        self.tell_owner(ConnectionChange(ConnectionState.LOST, reason))

    def _report_unknown(self, numbers: set[int], why: str) -> None:
        """Tell each group which of its messages have an unknown outcome: those in `numbers`, and all accepted ones."""
        requests = self.requests
        queued = {id(batch) for batch in (*requests.unsettled, *requests.unsent)}
        unknown: dict[str, list[int]] = {}
        for batch in list(requests.unresolved.values()):
            open_numbers = range(batch.first + batch.done, batch.last + 1)
            if batch.op in (Op.JOIN, Op.LEAVE):
                continue
            if id(batch) in queued and (batch.op != Op.MCAST or numbers.isdisjoint(open_numbers)):
                continue
            for number in open_numbers:
                requests.resolve(number, Disconnected(f"the outcome of request {number} is unknown: {why}"))
            if batch.op == Op.MCAST and batch.group is not None:
                unknown.setdefault(batch.group, []).extend(open_numbers)
        for name, mine in unknown.items():
            if name in self.groups:
                self._tell(self.groups[name], UnknownOutcome(tuple(mine)))

    def _is_back(self, event: Event) -> None:
        """The gateway has welcomed this session. `event` is for groups that were told `Disconnected`."""
        is_news = self._is_down_told or self._is_suspended or self._is_new
        if self._is_down_told:
            self._tell_all(event)
        elif self._is_suspended:
            self._tell_all(Resumed())
        self._is_down_told = self._is_suspended = self._is_new = False
        if is_news:
            self.tell_owner(ConnectionChange(ConnectionState.CONNECTED))

    def refused(self) -> None:
        """The gateway refuses this client."""
        self.end(AccessDenied(self._why_denied))

    def end(self, error: Error) -> None:
        """End the session: every request and every group ends with `error`."""
        if self.ended is not None:
            return
        self.ended = error
        self.is_open = False
        self.requests.fail_all(error)
        for group in self.groups.values():
            group.ended = error
            self._tell(group, error if isinstance(error, Disconnected) else Disconnected(str(error)))
        self.tell_owner(ConnectionChange(ConnectionState.LOST, str(error), is_final=True))

    # -- events for the application ------------------------------------------------------------------------------

    def next_event(self, group: Group) -> Event | None:
        """The group's next event, or None. The call acknowledges the event before."""
        event = next(group.ready, None)
        if event is not None:
            return event
        return next(group.ready, None) if self.fill(group) else None

    def fill(self, group: Group) -> bool:
        """Make the group's next events ready, which acknowledges those before. False if there are none."""
        self.handled(group)
        if not group.queue:
            return False
        group.take_chunk()
        return True

    def handled(self, group: Group) -> None:
        """The application has handled the event that it took last. A batch counts once all its messages are handled."""
        chunk = group.handling
        if chunk is not None and not group.has_ready:
            group.handling = None
            chunk.open -= 1
            if chunk.open == 0:
                self._acknowledge()

    def _acknowledge(self) -> None:
        """Move the acknowledged position up to the first chunk with unhandled events."""
        chunks = self._chunks
        while chunks and chunks[0].open <= 0:
            self._acknowledge_first(chunks)

    def acknowledge_unhandled(self) -> None:
        """Acknowledge all received events, handled or not."""
        while self._chunks:
            self._acknowledge_first(self._chunks)

    def _acknowledge_first(self, chunks: deque[Chunk]) -> None:
        chunk = chunks[0]
        self._acknowledged = chunk.n
        self.ack_bytes += chunk.bytes
        chunks.popleft()

    @staticmethod
    def _tell(group: Group, event: Event) -> None:
        """Queue an event that the session makes itself: it has no position in the log."""
        group.queue.append((Chunk(0, 0), event))

    def _tell_all(self, event: Event) -> None:
        for group in self.groups.values():
            self._tell(group, event)

    def _is_slow(self, event: SlowConsumer) -> None:
        """Warn the groups of a slow consumer. The warning goes before all waiting events; else it would come too
        late."""
        for group in self.groups.values():
            if not group.queue or type(group.queue[0][1]) is not SlowConsumer:
                group.queue.appendleft((Chunk(0, 0), event))
        self.tell_owner(event)

    # -- groups come and go --------------------------------------------------------------------------------------

    def _left(self, group: Group) -> None:
        """This process has left the group. Events that it has not taken no longer hold up the acknowledgement."""
        group.state = GroupState.LEFT
        self._forget_group(group)
        error = NotExist(f"this process has left group {group.name!r}")
        for batch in [b for b in self.requests.unresolved.values() if b.group == group.name]:
            if batch.op == Op.LEAVE:
                self.requests.resolve(batch.first)
            else:
                self.requests.fail(batch, error)
        if group.handling is not None:
            group.handling.open -= 1
            group.handling = None
        for chunk, _ in group.queue:
            chunk.open -= 1
        self._owe_nothing(group)
        self._acknowledge()

    @staticmethod
    def _owe_nothing(group: Group) -> None:
        """Detach the waiting events from their positions in the log."""
        group.queue = deque((Chunk(0, 0), raw) for _, raw in group.queue)

    def _forget_group(self, group: Group) -> None:
        self.groups.pop(group.name, None)
        self._by_wire_name.pop(group.wire_name, None)
        self._returning.pop(group.wire_name, None)

    # -- after an exception in the middle ------------------------------------------------------------------------

    def mend(self) -> None:
        """Repair a half-done change. The connection has to be made anew. May be repeated at any time."""
        self.is_open = False
        while self._chunks and self._chunks[-1].n > self._position:
            self._chunks.pop()
        for chunk in self._chunks:
            chunk.open = 0
        for group in self.groups.values():
            queue = group.queue
            while queue and queue[-1][0].n > self._position:
                queue.pop()
            for chunk, _ in queue:
                chunk.open = 0
        for group in self.groups.values():
            for chunk, _ in group.queue:
                chunk.open += 1
            if group.handling is not None:
                group.handling.open += 1
        self.requests.mend()
        if self.order_waiters:
            self.acknowledge_unhandled()
        else:
            self._acknowledge()
