"""One session of a client with its node, without any I/O: envelopes in, envelopes out, events queued for each group.

The owner (`rondo._client.link`, `rondo.aio`) has a socket to the gateway. It sends `hello` on each new connection,
gives what arrives to `receive`, and sends what `outgoing` returns. The session survives its connections. When a gateway
was killed, the client tells the next one which session it has. Requests that were not accepted are repeated. Events
that were received before are recognised by their position in the node's log. Nothing is lost or doubled. The
application is only told `Suspended` and `Resumed`, because it cannot know the state of its groups in between.

The session notices when the log itself ends: the node's totem process died, or the node closed the session because it
was stopped or because this process was silent for too long. Then every group gets `Disconnected`, the list of requests
whose outcome is unknown, and `Reconnected`, and is joined again. Requests that were made before `Disconnected` are not
sent any more. If the gateway was away so long that the groups were told `Disconnected`, and the node has kept the
session all the same, they are left and joined again.
"""

from collections.abc import Callable, Collection
from typing import Any

from rondo._client.batches import Request, RequestFactory
from rondo._client.groups import Chunk, Group, GroupState, members_of, name_from_wire, name_to_wire
from rondo._client.state import CLOSED, DENIED, SessionState
from rondo.errors import Disconnected, Exists, InvalidParameter, NotExist, TooBig, error_of
from rondo.events import Reconnected, SlowConsumer
from rondo.protocol import events
from rondo.protocol.batch import decode_body
from rondo.protocol.client_gateway import FROM_GATEWAY, VERSION, VERSION_MIN, Flag, Kind, decode, encode
from rondo.protocol.codes import Code
from rondo.protocol.envelope import BusError, unpack
from rondo.protocol.requests import Op

_MESSAGES, _MEMBER = (events.MESSAGE, events.BATCH), GroupState.MEMBER  # why a global: connection.py


class Session(SessionState):
    """The protocol of one session. Not thread-safe: its owner has a lock."""

    def __init__(
        self,
        client_name: str,
        request_factory: RequestFactory = Request,
        owner: object = None,
        why_denied: str = DENIED,
    ) -> None:
        """`owner` is the object by which requests can be waited for; it is passed to `request_factory`. `why_denied` is
        the error text if the gateway refuses this client."""
        super().__init__(request_factory, owner, why_denied)
        self.client_name = client_name
        self._epoch = 0
        self._session = 0
        self._secret = b""
        self._has_acknowledged = False
        self._acknowledge_again = False
        """The last acknowledgement may have been lost with a killed gateway."""
        self._is_log_over = False
        self._handlers: dict[int, Callable[..., None]] = {
            Kind.SETTLED: self._on_settled,
            Kind.REPLY: self._on_reply,
            Kind.EVENTS: self._on_events,
            Kind.LOST: self._on_lost,
            Kind.SLOW: self._on_slow,
        }

    @property
    def is_known(self) -> bool:
        """True once a gateway has welcomed this session."""
        return not self._is_new

    # -- the connection ------------------------------------------------------------------------------------------

    def hello(self) -> bytes:
        """The first envelope of a new connection."""
        self.is_open = False
        resume = None
        if self._session:
            settled = self.requests.settled_number
            resume = [self._session, self._secret, self._epoch, self._position, settled]
        return encode(Kind.HELLO, 0, VERSION, Flag.RING_EVENTS | Flag.STOPPING, self.client_name, resume)

    def receive(self, envelope: bytes) -> None:
        """Process an envelope of the gateway. One that cannot be understood ends the session."""
        try:
            kind, epoch, fields = decode(envelope, FROM_GATEWAY)
            if kind == Kind.BYE:
                code, reason = fields
                self.end(Disconnected(CLOSED) if code == Code.OK else error_of(code, reason))
            elif kind == Kind.ERROR:
                # BAD_HANDLE: the gateway has the session at another connection. Either this one broke and libzmq
                # reconnected by itself and sent there what was meant for the old one; the owner will soon hear of that.
                # Or two connections were made in a row, and the gateway read the later one first.
                self.is_displaced = True
                if fields[0] != Code.BAD_HANDLE:
                    self.end(Disconnected(f"the gateway did not understand this client: {fields[1]}"))
            elif kind == Kind.WELCOME:
                self._on_welcome(epoch, *fields)
            elif kind == Kind.STOPPING:
                self.lost(fields[0])
            elif epoch == self._epoch:
                self._handlers[kind](*fields)
        except (BusError, TypeError, LookupError) as error:
            self.end(Disconnected(f"the gateway sent an invalid envelope of version {VERSION}: {error}"))

    def receive_plain(self, envelope: bytes) -> bool:
        """Process messages and SETTLED. For any other envelope it returns False and changes nothing.

        It is for application threads, where an exception may come up at any point. `mend` can repair a half-done change
        of these, and the gateway then sends them again.
        """
        try:
            kind, epoch, fields = decode(envelope, FROM_GATEWAY)
            if epoch != self._epoch:
                return False
            if kind == Kind.SETTLED:
                self.requests.settled(fields[0])
                return True
            if kind != Kind.EVENTS:
                return False
            first, last, blob = fields
            new = unpack(blob)
            for event in new:
                if event[1] not in _MESSAGES:
                    return False
            self._take_in(first, last, len(blob), new)
        except (BusError, TypeError, LookupError):
            return False
        return True

    def outgoing(self, *, acknowledge: bool, everything: bool = False) -> list[bytes]:
        """The envelopes to send now. `acknowledge`: with the acknowledgement of handled events. `everything`: also
        requests that would wait to be sent with later ones, because the session ends."""
        if not self.is_open:
            return []
        envelopes = []
        if self.requests.is_due or everything:
            envelopes = [encode(Kind.REQUEST, self._epoch, *blob) for blob in self.requests.blobs(self._held())]
        if self._acknowledge_again or (acknowledge and self.ack_bytes):
            envelopes.append(encode(Kind.ACK, self._epoch, self._acknowledged))
            self._acknowledge_again = False
            self._has_acknowledged = True
            self.ack_bytes = 0
        return envelopes

    def bye(self) -> bytes:
        """The last envelope: the application ends the session."""
        return encode(Kind.BYE, self._epoch, Code.OK, "")

    # -- what the application asks for ---------------------------------------------------------------------------

    def check_join(self, name: str) -> None:
        """Raise the reason why this group cannot be joined: Exists, NameTooLong, InvalidParameter, Disconnected."""
        name_to_wire(name)
        self.check()
        if name in self.groups:
            raise Exists(f"this process is in group {name!r} already")

    def is_being_left(self, name: str) -> bool:
        """True if the group of that name must be left first before it can be joined."""
        group = self.groups.get(name) if isinstance(name, str) else None
        return group is not None and group.state is GroupState.LEAVING and self.ended is None

    def join(self, name: str) -> Group:
        """Ask to become a member; the state of the group shows the result. Raises Exists, NameTooLong, ..."""
        self.check_join(name)
        group = Group(name)
        self.groups[name] = self._by_wire_name[group.wire_name] = group
        self.requests.add(Op.JOIN, (group.wire_name,), name)
        return group

    def undo_join(self, group: Group) -> None:
        """The application no longer waits for this join: leave the group as soon as possible."""
        if group.ended is not None or self.groups.get(group.name) is not group or group.state is GroupState.LEAVING:
            return
        group.is_given_up = True
        if self.requests.take_out(Op.JOIN, group.name):
            self._left(group)
        else:
            self.leave(group)

    def leave(self, group: Group) -> None:
        """Ask to leave; the state of the group shows the result. Raises NotExist, Disconnected."""
        self.check(group)
        group.state = GroupState.LEAVING
        self.requests.add(Op.LEAVE, (group.wire_name,), group.name)

    def check_message(self, group: Group, data: bytes) -> None:
        """Raise the reason why this message cannot be sent: NotExist, Disconnected, TooBig."""
        if group.state is not GroupState.MEMBER or group.ended is not None:
            self.check(group)
        elif len(data) > self.message_bytes_max:
            limit = self.message_bytes_max
            raise TooBig(f"a message has at most {limit} bytes (cpg.message_size_max), this one {len(data)}")

    def mcast(self, group: Group, guarantee: int, data: bytes, deadline_s: float | None = None) -> Request | None:
        """Queue a message. None if there is no room for it now, or if the group is just being joined again.

        While the application has not taken `Disconnected`, its messages belong to the lost epoch and fail at once.
        `deadline_s`: if it was not sent by this time.monotonic(), it is given up.
        """
        if (
            group.state is _MEMBER and group.ended is None and not group.is_down
            and len(data) <= self.message_bytes_max
        ):  # fmt: skip
            return self.requests.add_message(group.name, group.wire_name, guarantee, data, deadline_s)
        self.check_message(group, data)
        return self.queue_message(group, guarantee, data, deadline_s)

    def queue_message(self, group: Group, guarantee: int, data: bytes, deadline_s: float | None) -> Request | None:
        """`mcast` for a message that was checked."""
        if group.is_down and self._is_down_told:
            return self.requests.failed_message(
                group.name, Disconnected("the connection was lost before this message was accepted")
            )
        if group.state is not GroupState.MEMBER:
            return None
        return self.requests.add_message(group.name, group.wire_name, guarantee, data, deadline_s)

    def query_groups(self, *, hidden: bool) -> Request:
        """Ask for all groups; `hidden`: the nodes' own groups too. `groups_of` reads the result of the request."""
        self.check()
        return self.requests.add(Op.GROUPS, (True,) if hidden else ())

    def check(self, group: Group | None = None) -> None:
        """Raise the reason why nothing can be asked for in this session, or in this group."""
        if group is not None:
            if group.state in (GroupState.LEAVING, GroupState.LEFT):
                raise NotExist(f"this process has left group {group.name!r}")
            if group.ended is not None:
                raise group.ended
        if self.ended is not None:
            raise self.ended

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
        if not VERSION_MIN <= version <= VERSION:
            raise BusError(f"version {version}")
        is_first = not self.is_known
        is_same = session == self._session and epoch == self._epoch
        self.node_id, self.pid = node_id, pid
        self.requests.window_bytes, self.requests.window_requests, self.message_bytes_max, self.resume_ms = limits
        if is_first:
            self._position = self._acknowledged = position
        elif is_same:
            self.requests.repeat(taken)
            self._acknowledge_again = self._has_acknowledged
            if self._is_down_told:
                self._leave_to_join_again()
        else:
            self._begin_anew(position, taken)
        self._epoch, self._session, self._secret = epoch, session, secret
        self._is_log_over = False
        self._is_back(Reconnected())
        self.is_open = True

    def _begin_anew(self, position: int, taken: int) -> None:
        """The log begins anew, at least for this session: forget all positions."""
        # The end of the old log was not announced, so everything that was sent may have been accepted.
        self.lost("the node has closed this session: it was restarted, or this process was silent for too long")
        queued = [batch for batch in self.requests.take_queued() if batch.op not in (Op.JOIN, Op.LEAVE)]
        self._by_wire_name.update(self._returning)
        self._returning.clear()
        for group in list(self.groups.values()):
            self._owe_nothing(group)
            if group.state is GroupState.LEAVING:
                self._left(group)
            else:
                self._join_again(group)
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

    def _leave_to_join_again(self) -> None:
        """The node has kept the session, but the application was told `Disconnected`: its state is old, and a
        membership has to follow. The groups are left and joined again. What comes before the join is for nobody. So
        messages that were sent since then wait until the group is left, and follow the join."""
        for group in self.groups.values():
            if group.state is GroupState.MEMBER:
                group.state = GroupState.RETURNING
                self._returning[group.wire_name] = self._by_wire_name.pop(group.wire_name)
                self.requests.add_first(Op.LEAVE, (group.wire_name,), group.name)

    def _held(self) -> Collection[str]:
        """The groups whose messages must wait, because they are not left yet."""
        return [group.name for group in self._returning.values() if group.state is GroupState.RETURNING]

    def _join_again(self, group: Group) -> None:
        group.state = GroupState.JOINING
        self.requests.add_first(Op.JOIN, (group.wire_name,), group.name)

    def _has_returned(self, group: Group, event: list[Any]) -> bool:
        """A membership of a group that is to be joined again. True: from this event on the application is told."""
        _, _, _, _, joined, left, request = event
        if request is not None:
            self.requests.resolve(request)
        myself = [self.node_id, self.pid]
        if group.state is GroupState.RETURNING:
            if any(change[:2] == myself for change in left):
                self._join_again(group)
            return False
        if all(change[:2] != myself for change in (*joined, *left)):
            return False
        self._by_wire_name[group.wire_name] = self._returning.pop(group.wire_name)
        return True

    def _on_lost(self, reason: str, numbers: list[int]) -> None:
        """The epoch is over. The next welcome tells of another one."""
        self.is_open = False
        self._is_log_over = True
        if not self._is_down_told:
            self._lost(reason, set(numbers))
        for group in self.groups.values():
            if group.state in (GroupState.MEMBER, GroupState.RETURNING):
                group.state = GroupState.JOINING

    # -- answers and events --------------------------------------------------------------------------------------

    def _on_settled(self, number: int) -> None:
        self.requests.settled(number)

    def _on_slow(self, held_bytes: int, cut_bytes: int) -> None:
        self.slow = (held_bytes, cut_bytes)
        self._is_slow(SlowConsumer(held_bytes, cut_bytes))

    def _on_reply(self, blob: bytes) -> None:
        for number, code, result in unpack(blob):
            if code == Code.OK:
                self.requests.resolve(number, result=result)
            elif code == Code.LIBRARY:
                self.requests.refused_for_now(number)
            else:
                self._refused(number, code, result if isinstance(result, str) else "")

    def _refused(self, number: int, code: int, text: str = "") -> None:
        """A request failed. If it was a join or leave, update the group."""
        error = error_of(code, text)
        batch = self.requests.resolve(number, error)
        group = self.groups.get(batch.group or "") if batch is not None else None
        if batch is None or group is None or batch.op == Op.MCAST:
            return
        if code == Code.TRY_AGAIN:
            # The executive had no room for it. The session must try again, because the application has asked only once.
            add = self.requests.add_first if group.state is GroupState.RETURNING else self.requests.add
            add(batch.op, (group.wire_name,), group.name)
            return
        if batch.op == Op.LEAVE:
            if group.state is GroupState.RETURNING:
                self._join_again(group)
            else:
                self._left(group)
        else:
            if code == Code.EXIST and not text:
                error = Exists(f"another connection of this process is in group {group.name!r} already")
            group.ended = error
            self._forget_group(group)
            self._tell(group, Disconnected(f"cannot join group {group.name!r}: {error}"))
            for other in [b for b in self.requests.unresolved.values() if b.group == group.name]:
                self.requests.fail(other, error)

    def _on_events(self, first: int, last: int, blob: bytes) -> None:
        if last > self._position:
            self._take_in(first, last, len(blob), unpack(blob))

    def _take_in(self, first: int, last: int, blob_bytes: int, new: list[Any]) -> None:
        """Give events to their groups. They count as received once the position is set: see `mend`."""
        seen = self._position
        if last <= seen:
            return
        if first <= seen:
            new = [event for event in new if event[0] > seen]
        chunk = Chunk(last, blob_bytes)
        by_name, resolve = self._by_wire_name, self.requests.resolve_messages
        for event in new:
            kind = event[1]
            if kind == events.BATCH:
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
                resolve(request, request + len(event[6]) - 1 if kind == events.BATCH else request)
        self._chunks.append(chunk)
        self._position = last
        if self.order_waiters:
            self.acknowledge_unhandled()
        elif chunk.open == 0:
            self._acknowledge()

    def _on_event(self, chunk: Chunk, event: list[Any]) -> None:
        """Process an event that is not a message."""
        kind = event[1]
        if kind == events.MEMBERSHIP:
            group = self._by_wire_name.get(event[2])
            if group is None:
                group = self._returning.get(event[2])
                if group is None or not self._has_returned(group, event):
                    return
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


def groups_of(result: Any) -> list[dict[str, Any]]:
    """The result of GROUPS in the form that `rondo cpg groups --json` prints."""
    if type(result) is not list:
        raise InvalidParameter("the node's answer is not a list of groups")
    return [
        {"group": name_from_wire(name), "members": [{"node": node, "pid": pid} for node, pid in sorted(members)]}
        for name, members in result
    ]
