"""What a session keeps, apart from what it says and hears: groups, events that wait, acknowledgements, how it ends.

An exception of a signal handler may end any call of the application half-way, and leave this half-changed. `mend` puts
it right from what is always true: the position up to which the log was taken in, the queues of the groups, and the
batches of requests. The connection is then made anew, and the gateway says again what lies behind the position.
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
"""Why it has ended where the application wanted that."""
RESUME_MS_DEFAULT = 10_000
"""How long an absent gateway is taken for one that comes back, until a gateway has said how long it waits for us."""


def _ignore(_event: ConnectionEvent) -> None:
    """Nobody wants to hear of it."""


class SessionState:
    """The state of one session. Not for several threads at once: its owner has a lock."""

    def __init__(self, request_factory: RequestFactory, owner: object, why_denied: str) -> None:
        self._why_denied = why_denied
        self.is_open = False
        """Whether this connection was welcomed."""
        self.ended: Error | None = None
        """Why there is no session any more, once that is final."""
        self.node_id = 0
        self.pid = 0
        self.message_bytes_max = 0
        self.resume_ms = RESUME_MS_DEFAULT
        """How long the node keeps the session while this client is away."""
        self.groups: dict[str, Group] = {}
        self.requests = Requests(request_factory, owner)
        self.ack_bytes = 0
        """How much was handled since the last acknowledgement was sent; 0 = there is nothing to acknowledge."""
        self.slow: tuple[int, int] | None = None
        """The last warning of the gateway: bytes that this process holds back, bytes at which it is cut off."""
        self.order_waiters: set[object] = set()
        """Who waits for what only further events can bring, as leaving a group. The node sends but so much that is not
        acknowledged, and who waits may be the one who would have to handle it: so what comes while there is anybody is
        acknowledged as it is received, and kept here."""
        self._position = 0
        self._acknowledged = 0
        self._chunks: deque[Chunk] = deque()
        self._is_down_told = False
        self._is_suspended = False
        self._is_new = True
        """No gateway has welcomed it yet."""
        self.is_displaced = False
        """The gateway has the session at a connection that is not ours any more."""
        self._by_wire_name: dict[bytes, Group] = {}
        self.tell_owner: Callable[[ConnectionEvent], object] = _ignore
        """Called with what listeners are to be told, in the midst of a change."""

    @property
    def state(self) -> ConnectionState:
        """How the connection stands."""
        if self.ended is not None or self._is_down_told:
            return ConnectionState.LOST
        return ConnectionState.SUSPENDED if self._is_suspended else ConnectionState.CONNECTED

    @property
    def is_down(self) -> bool:
        """Whether the groups were told `Disconnected`, and not yet `Reconnected`."""
        return self._is_down_told

    @property
    def has_unacknowledged(self) -> bool:
        """Whether events wait to be handled, or their acknowledgement to be sent."""
        return bool(self._chunks) or self.ack_bytes > 0

    # -- how it is lost, and ends --------------------------------------------------------------------------------

    def suspended(self, reason: str) -> None:
        """The connection has broken: tell every group, once."""
        if not self._is_down_told and not self._is_suspended and self.ended is None:
            self._is_suspended = True
            self._tell_all(Suspended(reason))
            self.tell_owner(ConnectionChange(ConnectionState.SUSPENDED, reason))

    def lost(self, reason: str) -> None:
        """The session is most likely lost: tell every group, once. Nothing that was asked for before is sent any more,
        and of what was sent nobody knows what became of it."""
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
        """Tell each group which of its messages have an unknown outcome: `numbers`, and all that was accepted."""
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
        """The gateway has welcomed this session; `event` is for groups that were told `Disconnected`."""
        is_news = self._is_down_told or self._is_suspended or self._is_new
        if self._is_down_told:
            self._tell_all(event)
        elif self._is_suspended:
            self._tell_all(Resumed())
        self._is_down_told = self._is_suspended = self._is_new = False
        if is_news:
            self.tell_owner(ConnectionChange(ConnectionState.CONNECTED))

    def refused(self) -> None:
        """The gateway's node does not let this client connect."""
        self.end(AccessDenied(self._why_denied))

    def end(self, error: Error) -> None:
        """Nothing more will happen in this session; every request and every group ends with `error`."""
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
        """The group's next event, or None. That it is asked for acknowledges the one before."""
        event = next(group.ready, None)
        if event is not None:
            return event
        return next(group.ready, None) if self.fill(group) else None

    def fill(self, group: Group) -> bool:
        """Make the group's next events ready; False if there are none. That acknowledges those before."""
        self.handled(group)
        if not group.queue:
            return False
        group.take_chunk()
        return True

    def handled(self, group: Group) -> None:
        """The event that was taken last was handled. Of a batch that counts once all of it was."""
        chunk = group.handling
        if chunk is not None and not group.has_ready:
            group.handling = None
            chunk.open -= 1
            if chunk.open == 0:
                self._acknowledge()

    def _acknowledge(self) -> None:
        """Move the acknowledged position to just before the first chunk in which something is not handled."""
        chunks = self._chunks
        while chunks and chunks[0].open <= 0:
            self._acknowledge_first(chunks)

    def acknowledge_unhandled(self) -> None:
        """Acknowledge all that has come, whether it was handled or not."""
        while self._chunks:
            self._acknowledge_first(self._chunks)

    def _acknowledge_first(self, chunks: deque[Chunk]) -> None:
        chunk = chunks[0]
        self._acknowledged = chunk.n
        self.ack_bytes += chunk.bytes
        chunks.popleft()

    @staticmethod
    def _tell(group: Group, event: Event) -> None:
        """An event that the session itself makes: it has no position in the log."""
        group.queue.append((Chunk(0, 0), event))

    def _tell_all(self, event: Event) -> None:
        for group in self.groups.values():
            self._tell(group, event)

    def _is_slow(self, event: SlowConsumer) -> None:
        """The groups are told before all that waits: it would be told too late otherwise."""
        for group in self.groups.values():
            if not group.queue or type(group.queue[0][1]) is not SlowConsumer:
                group.queue.appendleft((Chunk(0, 0), event))
        self.tell_owner(event)

    # -- groups come and go --------------------------------------------------------------------------------------

    def _left(self, group: Group) -> None:
        """This process is out: what it has not taken yet is no longer owed to anybody."""
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
        """What waits has no position in the log any more."""
        group.queue = deque((Chunk(0, 0), raw) for _, raw in group.queue)

    def _forget_group(self, group: Group) -> None:
        self.groups.pop(group.name, None)
        self._by_wire_name.pop(group.wire_name, None)

    # -- after an exception in the middle ------------------------------------------------------------------------

    def mend(self) -> None:
        """Put right what was left half-changed. The connection has to be made anew. May be done again at any time."""
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
