"""One session of a client with its node, without any I/O: envelopes in, envelopes out, events kept for each group.

The owner (`rondo._client.link`, `rondo.aio`) has a socket to the gateway. Whenever that is new, it sends `hello`; what
arrives goes to `receive`; what `outgoing` gives is sent. The session survives its connections: the gateway may be
killed, and the next one is told which session this is. What was not accepted is repeated, and what was received before
is recognised by its position in the log of the node: nothing is lost or doubled, and the application notices nothing.

It notices when the log itself ends, because the node's totem process died or the node closed the session (it was
stopped, or this process was silent for too long). Then every group is told `Disconnected`, which requests have an
unknown outcome, and `Reconnected`; it is joined again, and what was queued but not accepted follows.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rondo._client.groups import Chunk, Group, GroupState, members_of, name_from_wire, name_to_wire
from rondo._client.requests import Request, RequestFactory, Requests
from rondo.errors import (
    AccessDenied,
    Disconnected,
    Error,
    Exists,
    InvalidParameter,
    NotExist,
    TooBig,
    error_of,
)
from rondo.events import Event, Reconnected, UnknownOutcome
from rondo.protocol import events
from rondo.protocol.batch import decode_body
from rondo.protocol.client_gateway import FROM_GATEWAY, VERSION, Kind, decode, encode
from rondo.protocol.codes import Code
from rondo.protocol.envelope import BusError, unpack
from rondo.protocol.requests import Op

RING_EVENTS = 1
"""Flag of the hello: this client wants to know of each ring."""
DENIED = (
    "this user may not connect to the node; root, the executive's own user, and those that uidgid{} of its "
    "corosync.conf names may"
)
RESUME_MS_DEFAULT = 10_000
"""How long an absent gateway is taken for one that comes back, until a gateway has said how long it waits for us."""


class Session:
    """Everything that is known about one session. Not for several threads at once: its owner has a lock."""

    def __init__(
        self,
        client_name: str,
        request_factory: RequestFactory = Request,
        owner: object = None,
        why_denied: str = DENIED,
    ) -> None:
        """`owner` is what requests can be waited for with; it is for the requests that `request_factory` makes.
        `why_denied` is what it means that the gateway does not let this client in."""
        self.client_name = client_name
        self._why_denied = why_denied
        self.is_open = False
        """Whether this connection was welcomed."""
        self.ended: Error | None = None
        """Why there is no session any more, once that is final."""
        self.node_id = 0
        self.pid = 0
        self.message_bytes_max = 0
        self.resume_ms = RESUME_MS_DEFAULT
        self.groups: dict[str, Group] = {}
        self.requests = Requests(request_factory, owner)
        self.ack_bytes = 0
        """How much was handled since the last acknowledgement was sent; 0 = there is nothing to acknowledge."""
        self.slow: tuple[int, int] | None = None
        """The last warning of the gateway: bytes that this process holds back, bytes at which it is cut off."""
        self._epoch = 0
        self._session = 0
        self._secret = b""
        self._position = 0
        self._acknowledged = 0
        self._chunks: deque[Chunk] = deque()
        self._waits_for_order = 0
        self._has_acknowledged = False
        self._acknowledge_again = False
        """The last acknowledgement may have been lost with the process that carried it."""
        self._is_down_told = False
        self._is_log_over = False
        self._by_wire_name: dict[bytes, Group] = {}
        self._handlers: dict[int, Callable[..., None]] = {
            Kind.SETTLED: self._on_settled,
            Kind.REPLY: self._on_reply,
            Kind.EVENTS: self._on_events,
            Kind.LOST: self._on_lost,
            Kind.SLOW: self._on_slow,
        }

    # -- the connection ------------------------------------------------------------------------------------------

    def hello(self) -> bytes:
        """What a new connection begins with."""
        self.is_open = False
        resume = None
        if self._session:
            settled = self.requests.settled_number
            resume = [self._session, self._secret, self._epoch, self._position, settled]
        return encode(Kind.HELLO, 0, VERSION, RING_EVENTS, self.client_name, resume)

    def receive(self, envelope: bytes) -> None:
        """Take in what the gateway sent. What cannot be understood ends the session."""
        try:
            kind, epoch, fields = decode(envelope, FROM_GATEWAY)
            if kind == Kind.BYE:
                code, reason = fields
                self.end(Disconnected("the connection was closed") if code == Code.OK else error_of(code, reason))
            elif kind == Kind.ERROR:
                # BAD_HANDLE: the connection broke, and libzmq made another one by itself and sent on it what was meant
                # for the old one. The owner is about to hear of that; the session begins again on a new socket.
                if fields[0] != Code.BAD_HANDLE:
                    self.end(Disconnected(f"the gateway did not understand this client: {fields[1]}"))
            elif kind == Kind.WELCOME:
                self._on_welcome(epoch, *fields)
            elif epoch == self._epoch:
                self._handlers[kind](*fields)
        except (BusError, TypeError, LookupError) as error:
            self.end(Disconnected(f"the gateway sent what is no envelope of version {VERSION}: {error}"))

    def outgoing(self, *, acknowledge: bool, everything: bool = False) -> list[bytes]:
        """What is to be sent now; with the acknowledgement of what was handled, if `acknowledge` says so. `everything`:
        also what would wait for more, because this is the end."""
        if not self.is_open:
            return []
        envelopes = []
        if self.requests.is_due or everything:
            envelopes = [encode(Kind.REQUEST, self._epoch, *blob) for blob in self.requests.blobs()]
        if self._acknowledge_again or (acknowledge and self.ack_bytes):
            envelopes.append(encode(Kind.ACK, self._epoch, self._acknowledged))
            self._acknowledge_again = False
            self._has_acknowledged = True
            self.ack_bytes = 0
        return envelopes

    @property
    def has_unacknowledged(self) -> bool:
        """Whether events wait to be handled, or their acknowledgement to be sent."""
        return bool(self._chunks) or self.ack_bytes > 0

    def bye(self) -> bytes:
        """The last envelope: this session ends because its application wants it to."""
        return encode(Kind.BYE, self._epoch, Code.OK, "")

    def absent(self, reason: str) -> None:
        """The gateway has not been there for so long that the session is likely lost: tell every group, once."""
        if not self._is_down_told and self.ended is None:
            self._is_down_told = True
            self._tell_all(Disconnected(reason))

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

    # -- what the application asks for ---------------------------------------------------------------------------

    def join(self, name: str) -> Group:
        """Ask to become a member; the group's state says when it is one. Raises Exists, NameTooLong, ..."""
        wire = name_to_wire(name)
        self.check()
        if name in self.groups:
            raise Exists(f"this process is in group {name!r} already")
        group = self.groups[name] = self._by_wire_name[wire] = Group(name)
        self.requests.add(Op.JOIN, (wire,), name)
        return group

    def leave(self, group: Group) -> None:
        """Ask to leave; the group's state says when that is done. Raises NotExist, Disconnected."""
        self.check(group)
        group.state = GroupState.LEAVING
        self.requests.add(Op.LEAVE, (group.wire_name,), group.name)

    def mcast(self, group: Group, guarantee: int, data: bytes) -> Request | None:
        """Queue a message; None if there is no room for it now, or the group is just being joined again."""
        if group.state is not GroupState.MEMBER or group.ended is not None:
            self.check(group)
            return None
        size = len(data)
        if size > self.message_bytes_max:
            limit = self.message_bytes_max
            raise TooBig(f"a message has at most {limit} bytes (cpg.message_size_max), this one {size}")
        return self.requests.add_message(group.name, group.wire_name, guarantee, data)

    def query_groups(self) -> Request:
        """Ask for all groups; the result of the request is what `groups_of` reads."""
        self.check()
        return self.requests.add(Op.GROUPS, ())

    def check(self, group: Group | None = None) -> None:
        """Raise why nothing can be asked for, if that is so: of this session, or in this group."""
        if group is not None:
            if group.state in (GroupState.LEAVING, GroupState.LEFT):
                raise NotExist(f"this process has left group {group.name!r}")
            if group.ended is not None:
                raise group.ended
        if self.ended is not None:
            raise self.ended

    # -- events for the application ------------------------------------------------------------------------------

    def next_event(self, group: Group) -> Event | None:
        """The group's next event, or None. That it is asked for acknowledges the one before."""
        event = next(group.ready, None)
        if event is not None:
            return event
        self.handled(group)
        if not group.queue:
            return None
        chunk, raw = group.queue.popleft()
        group.handling = chunk
        return group.event(raw)

    def handled(self, group: Group) -> None:
        """The event that was taken last was handled. Of a run that counts once all of it was."""
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
            chunk = chunks.popleft()
            self._acknowledged = chunk.n
            self.ack_bytes += chunk.bytes

    @contextmanager
    def waiting_for_order(self) -> Iterator[None]:
        """While the application waits for what only further events can bring, as leaving a group.

        The node sends but so much that is not acknowledged. Who waits may be the one who would have to handle it: so
        what comes meanwhile is acknowledged as it is received, and kept here.
        """
        self._waits_for_order += 1
        self._acknowledge_unhandled()
        try:
            yield
        finally:
            self._waits_for_order -= 1

    def _acknowledge_unhandled(self) -> None:
        while self._chunks:
            chunk = self._chunks.popleft()
            self._acknowledged = chunk.n
            self.ack_bytes += chunk.bytes

    @staticmethod
    def _tell(group: Group, event: Event) -> None:
        """An event that the session itself makes: it has no position in the log."""
        group.queue.append((Chunk(0, 0), event))

    def _tell_all(self, event: Event) -> None:
        for group in self.groups.values():
            self._tell(group, event)

    # -- welcome, and the end of an epoch ------------------------------------------------------------------------

    def _on_welcome(
        self,
        epoch: int,
        version: int,
        node_id: int,
        pid: int,
        session: int,
        secret: bytes,
        position: int,
        taken: int,
        _ring: list[Any] | None,
        limits: list[int],
    ) -> None:
        if version != VERSION:
            raise BusError(f"version {version}")
        is_first = self._session == 0
        is_same = session == self._session and epoch == self._epoch
        self.node_id, self.pid = node_id, pid
        self.requests.window_bytes, self.requests.window_requests, self.message_bytes_max, self.resume_ms = limits
        if is_first:
            self._position = self._acknowledged = position
        elif is_same:
            self.requests.repeat(taken)
            self._acknowledge_again = self._has_acknowledged
        else:
            self._begin_anew(position, taken)
        self._epoch, self._session, self._secret = epoch, session, secret
        self._is_log_over = False
        if self._is_down_told:
            self._is_down_told = False
            self._tell_all(Reconnected())
        self.is_open = True

    def _begin_anew(self, position: int, taken: int) -> None:
        """The log begins anew, for this session at least: nothing that was before holds any more."""
        if not self._is_log_over:
            # No word came of the end of that log: whatever was sent may have been taken.
            reason = "the node has closed this session: it was restarted, or this process was silent for too long"
            self.absent(reason)
            sent = self.requests.unsettled
            self._report_unknown({n for batch in sent for n in range(batch.first, batch.last + 1)}, reason)
        queued = [batch for batch in self.requests.take_queued() if batch.op not in (Op.JOIN, Op.LEAVE)]
        for group in list(self.groups.values()):
            if group.state is GroupState.LEAVING:
                self._left(group)
            else:
                group.state = GroupState.JOINING
                self.requests.add(Op.JOIN, (group.wire_name,), group.name)
        kept = []
        for batch in queued:
            if batch.group is None or batch.group in self.groups:
                kept.append(batch)
            else:
                batch.fail(Disconnected("the group was left before this message was accepted"))
        self.requests.renumber(kept, taken)
        self._chunks.clear()
        self._has_acknowledged = self._acknowledge_again = False
        self._position = self._acknowledged = position
        self.ack_bytes = 0

    def _on_lost(self, reason: str, numbers: list[int]) -> None:
        """The epoch is over. The next welcome says that there is another one."""
        self.is_open = False
        self._is_log_over = True
        self.absent(reason)
        for group in self.groups.values():
            if group.state is GroupState.MEMBER:
                group.state = GroupState.JOINING
        self._report_unknown(set(numbers), reason)

    def _report_unknown(self, numbers: set[int], why: str) -> None:
        """Tell each group which of its messages have an unknown outcome: `numbers`, and all that was accepted."""
        requests = self.requests
        queued = {id(batch) for batch in (*requests.unsettled, *requests.unsent)}
        unknown: dict[str, list[int]] = {}
        for batch in list(requests.unresolved.values()):
            open_numbers = range(batch.first + batch.done, batch.last + 1)
            if not (id(batch) not in queued or any(number in numbers for number in open_numbers)):
                continue
            for number in open_numbers:
                requests.resolve(number, Disconnected(f"the outcome of request {number} is unknown: {why}"))
            if batch.op == Op.MCAST and batch.group is not None:
                unknown.setdefault(batch.group, []).extend(open_numbers)
        for name, mine in unknown.items():
            if name in self.groups:
                self._tell(self.groups[name], UnknownOutcome(tuple(mine)))

    # -- answers and events --------------------------------------------------------------------------------------

    def _on_settled(self, number: int) -> None:
        self.requests.settled(number)

    def _on_slow(self, held_bytes: int, cut_bytes: int) -> None:
        self.slow = (held_bytes, cut_bytes)

    def _on_reply(self, blob: bytes) -> None:
        for number, code, result in unpack(blob):
            if code == Code.OK:
                self.requests.resolve(number, result=result)
            elif code == Code.LIBRARY:
                self.requests.refused_for_now(number)
            else:
                self._refused(number, code, result if isinstance(result, str) else "")

    def _refused(self, number: int, code: int, text: str = "") -> None:
        """A request failed; if it was one to join or leave, that concerns the group."""
        error = error_of(code, text)
        batch = self.requests.resolve(number, error)
        group = self.groups.get(batch.group or "") if batch is not None else None
        if batch is None or group is None or batch.op == Op.MCAST:
            return
        if code == Code.TRY_AGAIN:
            # There was no room for it. Nobody but this session can try again: the application has asked once.
            self.requests.add(batch.op, (group.wire_name,), group.name)
            return
        if batch.op == Op.LEAVE:
            self._left(group)
        else:
            group.ended = error
            self._forget_group(group)
            self._tell(group, Disconnected(f"cannot join group {group.name!r}: {error}"))
            for other in [b for b in self.requests.unresolved.values() if b.group == group.name]:
                self.requests.fail(other, error)

    def _on_events(self, first: int, last: int, blob: bytes) -> None:
        if last <= self._position:
            return
        seen = self._position
        new = unpack(blob)
        if first <= seen:
            new = [event for event in new if event[0] > seen]
        chunk = Chunk(last, len(blob))
        by_name, resolve = self._by_wire_name, self.requests.resolve_messages
        for event in new:
            kind = event[1]
            if kind == events.RUN:
                event[6] = decode_body(event[6])
            elif kind != events.MESSAGE:
                self._on_event(chunk, event)
                continue
            group = by_name.get(event[2])
            if group is not None:
                group.queue.append((chunk, event))
                chunk.open += 1
            request = event[7]
            if request is not None:
                resolve(request, request + len(event[6]) - 1 if kind == events.RUN else request)
        self._position = last
        self._chunks.append(chunk)
        if self._waits_for_order:
            self._acknowledge_unhandled()
        elif chunk.open == 0:
            self._acknowledge()

    def _on_event(self, chunk: Chunk, event: list[Any]) -> None:
        """An event that is not a message."""
        kind = event[1]
        if kind == events.MEMBERSHIP:
            group = self._by_wire_name.get(event[2])
            if group is not None:
                group.queue.append((chunk, event))
                chunk.open += 1
                self._on_membership(group, event)
        elif kind == events.RING:
            for group in self.groups.values():
                group.queue.append((chunk, event))
                chunk.open += 1
        elif kind == events.FAILED:
            self._refused(event[2], event[3])

    def _on_membership(self, group: Group, event: list[Any]) -> None:
        _, _, _, members, joined, left, request = event
        if request is not None:
            self.requests.resolve(request)
        myself = [self.node_id, self.pid]
        if group.state is GroupState.JOINING and any(change[:2] == myself for change in joined):
            group.state = GroupState.MEMBER
            group.members = group.members or members_of(members)
        elif any(change[:2] == myself for change in left):
            self._left(group)

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
        group.queue = deque((Chunk(0, 0), raw) for _, raw in group.queue)
        self._acknowledge()

    def _forget_group(self, group: Group) -> None:
        self.groups.pop(group.name, None)
        self._by_wire_name.pop(group.wire_name, None)


def groups_of(result: Any) -> list[dict[str, Any]]:
    """What GROUPS answers, as `rondo cpg groups --json` prints it."""
    if type(result) is not list:
        raise InvalidParameter("the node answered with what is no list of groups")
    return [
        {"group": name_from_wire(name), "members": [{"node": node, "pid": pid} for node, pid in sorted(members)]}
        for name, members in result
    ]
