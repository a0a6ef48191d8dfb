"""The socket `cpg`: implements each call of libcpg."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

from rondo.protocol.codes import Code
from rondo.protocol.requests import Op
from services.qb_gateway.connection import NO_BOUND, Connection
from services.qb_gateway.cpg.member import Member, State
from services.qb_gateway.cpg.parts import Held, LongMessage
from services.qb_gateway.cpg.queries import Answer, Queries
from services.qb_gateway.cpg.session import Event
from services.qb_gateway.cpg.sessions import Sessions
from services.qb_gateway.wire import cpg
from services.qb_gateway.wire.messages import RequestError, unknown_reply

ITERATIONS_MAX = 16
"""Iterations that one program may have at a time."""

Entry = tuple[bytes, int, int]


class CpgService:
    """All programs that are connected to the socket."""

    name = "cpg"
    message_bytes_max = cpg.MESSAGE_BYTES_MAX
    waiting_bytes_max = NO_BOUND  # cpg cuts off a session that lags behind (cpg.client_bytes_max)

    def __init__(self, sessions: Sessions, message_size_max: int, client_bytes_max: int) -> None:
        self.counters = {"requests": 0, "multicasts": 0, "refused": 0, "multicasts_ignored": 0}
        self._sessions = sessions
        self._queries = Queries(sessions, self._on_ring)
        self._message_size_max = message_size_max
        # cpg cuts off a session that holds back client_bytes_max.
        self._undelivered_bytes_max = client_bytes_max // 2
        self._held = Held()
        self._members: dict[Connection, Member] = {}
        self._handles = count(1)
        self._handlers: dict[type, Callable[[Member, Any], None]] = {
            cpg.Join: Member.join,
            cpg.Leave: Member.leave,
            cpg.Members: self._on_members,
            cpg.OwnNode: self._on_own_node,
            cpg.IterationBegin: self._on_iteration_begin,
            cpg.IterationNext: self._on_iteration_next,
            cpg.IterationEnd: self._on_iteration_end,
            cpg.Part: self._on_part,
        }

    # -- what the process calls ----------------------------------------------------------------------------------

    def opened(self, connection: Connection) -> None:
        """A program has connected."""
        parts = LongMessage(self._held, self._message_size_max)
        member = Member(connection, self._sessions, parts, self._is_taken)
        connection.state = self._members[connection] = member

    def closed(self, connection: Connection) -> None:
        """A program is gone: it leaves its group."""
        member = self._members.pop(connection)
        self.counters["multicasts_ignored"] += member.multicasts_ignored
        member.close()

    def has_room(self, connection: Connection, *, is_last: bool = False) -> bool:
        """True if its next request can be processed. What a program has sent before its end is taken whole."""
        member: Member = connection.state
        return is_last or member.has_room

    def written(self, connection: Connection) -> None:
        """More of its events are in the ring."""
        member: Member = connection.state
        member.written()

    def request(self, connection: Connection, ident: int, message: bytes) -> None:
        """Process a request. Every request but a multicast gets an answer, even an unknown one."""
        member: Member = connection.state
        if ident == cpg.MULTICAST:
            data = cpg.multicast_data(message)
            if data is None:
                self.counters["refused"] += 1
                connection.requests_invalid += 1
            elif member.multicast(data):
                self.counters["multicasts"] += 1
            return
        self.counters["requests"] += 1
        try:
            request = cpg.decode(ident, message)
        except RequestError as error:
            self.counters["refused"] += 1
            connection.refuse(cpg.refusal(ident, error.code))
            return
        handler = self._handlers.get(type(request))
        if handler is not None:
            handler(member, request)
        elif isinstance(request, cpg.Finalize | cpg.ZeroCopyBuffer):
            connection.reply(cpg.refusal(ident, Code.OK))
        elif isinstance(request, cpg.ZeroCopySend):
            # This is the only way to tell the library that the call is not supported.
            connection.reply(cpg.refusal(ident, Code.NOT_SUPPORTED))
        else:
            connection.refuse(unknown_reply())

    @property
    def is_ready(self) -> bool:
        """True if the node is in a ring."""
        return self._queries.has_ring

    def adjust_flow(self, connection: Connection) -> None:
        """Tell a program whether it may multicast: not while too many bytes of its own messages wait for it to take
        events. Its other calls still go through, since it may make one before it takes events again."""
        member: Member = connection.state
        connection.set_flow(member.has_room and member.undelivered_bytes <= self._undelivered_bytes_max)

    # -- calls ---------------------------------------------------------------------------------------------------

    def _is_taken(self, group: bytes, pid: int) -> bool:
        return any(
            each.group == group and each.pid == pid and each.state in (State.JOINING, State.IN)
            for each in self._members.values()
        )

    def _on_own_node(self, member: Member, _request: cpg.OwnNode) -> None:
        member.connection.reply(cpg.own_node_reply(self._sessions.node_id))

    def _on_members(self, member: Member, request: cpg.Members) -> None:
        def answer(found: Any, code: int) -> None:
            reply = cpg.refusal(3, code) if code else cpg.members_reply([(node, pid) for node, pid in found])
            member.connection.reply(reply)

        self._ask(member, answer, Op.MEMBERS, request.group)

    def _ask(self, member: Member, answer: Answer, op: Op, *arguments: Any) -> None:
        """Ask cpg. No answer is sent if the connection has ended meanwhile."""

        def answer_if_there(found: Any, code: int) -> None:
            if self._members.get(member.connection) is member:
                answer(found, code)

        self._queries.ask(answer_if_there, op, *arguments)

    def _on_iteration_begin(self, member: Member, request: cpg.IterationBegin) -> None:
        if len(member.iterations) >= ITERATIONS_MAX:
            member.connection.reply(cpg.refusal(5, Code.NO_RESOURCES))
            return

        def answer(found: Any, code: int) -> None:
            if code:
                member.connection.reply(cpg.refusal(5, code))
                return
            handle = next(self._handles)
            member.iterations[handle] = _entries(request, found)[::-1]
            member.connection.reply(cpg.iteration_reply(handle))

        if request.kind == cpg.ONE_GROUP:
            self._ask(member, answer, Op.MEMBERS, request.group)
        else:
            self._ask(member, answer, Op.NAMES if request.kind == cpg.ONLY_NAMES else Op.GROUPS)

    def _on_iteration_next(self, member: Member, request: cpg.IterationNext) -> None:
        left = member.iterations.get(request.handle)
        if left is None:
            reply = cpg.refusal(6, Code.BAD_HANDLE)
        elif left:
            reply = cpg.entry_reply(*left.pop())
        else:
            reply = cpg.refusal(6, Code.NO_SECTIONS)
        member.connection.reply(reply)

    def _on_iteration_end(self, member: Member, request: cpg.IterationEnd) -> None:
        known = member.iterations.pop(request.handle, None) is not None
        member.connection.reply(cpg.refusal(7, Code.OK if known else Code.BAD_HANDLE))

    def _on_part(self, member: Member, request: cpg.Part) -> None:
        if member.state not in (State.JOINING, State.IN):
            code, whole = int(Code.NOT_EXIST), None
        else:
            code, whole = member.parts.add(request)
        if whole is not None:
            member.multicast(whole)
            self.counters["multicasts"] += 1
        member.connection.reply(cpg.refusal(cpg.PART, code))

    # -- events --------------------------------------------------------------------------------------------------

    def _on_ring(self, event: Event) -> None:
        """Forward a ring event to programs without a session of their own."""
        for connection, member in self._members.items():
            if member.state is State.OUT:
                connection.post(member.ring(*event[2:5]))


def _entries(request: cpg.IterationBegin, found: Any) -> list[Entry]:
    if request.kind == cpg.ONLY_NAMES:
        return [(name, 0, 0) for name in found]
    if request.kind == cpg.ONE_GROUP:
        return [(request.group, node, pid) for node, pid in found]
    return [(name, node, pid) for name, members in found for node, pid in members]
