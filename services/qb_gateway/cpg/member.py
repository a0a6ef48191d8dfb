"""One C program's membership in a group: which calls are valid when, and which events the program gets.

| state | join | leave | multicast |
|---|---|---|---|
| OUT | -> JOINING, answered once cpg has accepted it | NOT_EXIST | ignored |
| JOINING | EXIST | BUSY | sent |
| IN, from its own membership on | EXIST | -> LEAVING | sent |
| LEAVING, until its own membership | waits for that | NOT_EXIST | ignored |

When totem dies the group is joined again. The program is told what a ring of this node alone and the ring after it
would have told: the others left because their nodes were down, and came back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Any

from rondo._client.batches import Request
from rondo.protocol import events as bus_events
from rondo.protocol.codes import Code
from rondo.protocol.cpg_gateway import OpenFlag
from rondo.protocol.events import Reason
from rondo.protocol.requests import Guarantee, Op
from services.qb_gateway.connection import Connection
from services.qb_gateway.cpg.parts import LongMessage
from services.qb_gateway.cpg.session import Event, Session
from services.qb_gateway.cpg.sessions import Sessions
from services.qb_gateway.wire import cpg

Address = tuple[int, int]
JOIN, LEAVE = 0, 1
"""The request ids of these calls."""


class State(Enum):
    """The state of a program in its group."""

    OUT = auto()
    JOINING = auto()
    IN = auto()
    LEAVING = auto()


class Member:
    """The state of one connection to the socket `cpg`."""

    def __init__(
        self,
        connection: Connection,
        sessions: Sessions,
        parts: LongMessage,
        is_taken: Callable[[bytes, int], bool],
    ) -> None:
        """`is_taken`: tells whether a process has joined that group on another connection."""
        self.connection = connection
        self.state = State.OUT
        self.group = b""
        self.pid = 0
        self.iterations: dict[int, list[tuple[bytes, int, int]]] = {}
        self.parts = parts
        self.multicasts_ignored = 0
        self.undelivered_bytes = 0
        """Bytes of its own messages that have not come back into its event ring. They slow down a program that sends
        and takes no events, before cpg cuts it off."""
        self._sessions = sessions
        self._is_taken = is_taken
        self._session: Session | None = None
        self._asked: Request | None = None
        """The join or leave that cpg has not accepted yet."""
        self._owes_answer: int | None = None
        """The request id of the call that waits for it."""
        self._join_waits: cpg.Join | None = None
        """A join that came while the program was leaving."""
        self._is_rejoining = False
        self._ring_meanwhile: list[Any] | None = None
        """The ring where it joins again; told after the memberships that follow from it."""
        self._wants_ring = False
        self._view: list[Address] = []
        """The membership that the program was last told."""
        self._ring: tuple[int, int] | None = None
        self._acknowledge_at: list[tuple[int, int, int]] = []
        """(events written, position, bytes of own messages): once this many events are in the ring, the position is
        acknowledged."""

    @property
    def address(self) -> Address:
        """The program's address in its group."""
        return self._sessions.node_id, self.pid

    @property
    def has_room(self) -> bool:
        """True if another request may be processed."""
        return self._session is None or self._session.has_room

    # -- calls of the program ------------------------------------------------------------------------------------

    def join(self, request: cpg.Join) -> None:
        """cpg_join"""
        if self.state in (State.JOINING, State.IN):
            self._answer(JOIN, Code.EXIST)
        elif self.state is State.LEAVING:
            self._join_waits = request
        elif self._is_taken(request.group, request.pid):
            self._answer(JOIN, Code.EXIST)
        else:
            self.group, self.pid = request.group, request.pid
            self._wants_ring = bool(request.flags & cpg.RING_EVENT_AT_JOIN)
            self.state = State.JOINING
            uid, gid = self.connection.peer.uid, self.connection.peer.gid
            self._session = self._sessions.open(self, self.pid, uid, gid, OpenFlag.RING_EVENTS)
            self._owes_answer = JOIN
            self._ask(Op.JOIN)

    def leave(self, request: cpg.Leave) -> None:
        """cpg_leave"""
        if self.state is State.JOINING:
            self._answer(LEAVE, Code.BUSY)
        elif self.state is not State.IN or request.group != self.group:
            self._answer(LEAVE, Code.NOT_EXIST)
        elif self._is_rejoining:
            self._answer(LEAVE, Code.TRY_AGAIN)
        else:
            self.state = State.LEAVING
            self._owes_answer = LEAVE
            self._ask(Op.LEAVE)

    def multicast(self, data: bytes) -> bool:
        """cpg_mcast_joined. False if the program is in no group."""
        session = self._session
        if session is None or self.state is State.LEAVING:
            self.multicasts_ignored += 1
            return False
        session.requests.add_message("", self.group, Guarantee.AGREED, data)
        self.undelivered_bytes += len(data)
        self._sessions.touch(session)
        return True

    def close(self) -> None:
        """The connection is gone. The program leaves its group, after all that it had requested."""
        session, self._session = self._session, None
        self.state = State.OUT
        self.parts.drop()
        if session is not None:
            self._sessions.close(session)

    def _ask(self, op: Op) -> None:
        assert self._session is not None
        self._asked = self._session.request(op, self.group)
        self._sessions.touch(self._session)

    def _answer(self, ident: int, code: int) -> None:
        self.connection.reply(cpg.refusal(ident, code))

    # -- called by the session -----------------------------------------------------------------------------------

    def on_progress(self) -> None:
        """The join or leave may have been accepted or refused."""
        asked = self._asked
        if asked is None or not (asked.is_accepted or asked.is_done):
            return
        self._asked = None
        error = asked.error
        owes, self._owes_answer = self._owes_answer, None
        if owes is None:
            if error is not None:
                self.connection.hang_up(f"it could not join its group again: {error}")
            return
        if error is not None and owes == LEAVE:
            self.state = State.IN
        elif error is not None:
            self._get_out()
        self._answer(owes, int(Code.OK) if error is None else error.code)

    def on_events(self, events: list[Event], last: int) -> None:
        """Forward events in their order."""
        session = self._session
        out: list[bytes] = []
        own_bytes = 0
        for event in events:
            kind = event[1]
            if kind == bus_events.BATCH:
                own_bytes += sum(map(len, event[6])) if event[7] is not None else 0
                out += cpg.message_events(event[2], event[3], event[4], event[6])
            elif kind == bus_events.MESSAGE:
                own_bytes += len(event[6]) if event[7] is not None else 0
                out += cpg.message_events(event[2], event[3], event[4], (event[6],))
            elif kind == bus_events.MEMBERSHIP:
                self.on_progress()
                out += self._membership(event)
            elif kind == bus_events.RING and self._is_rejoining:
                self._ring_meanwhile = event[2:5]
            elif kind == bus_events.RING:
                out += self.ring(*event[2:5])
        self.on_progress()
        self.connection.post(out)
        if self._session is session:
            self._acknowledge_at.append((self.connection.events_queued, last, own_bytes))
            self.written()

    def written(self) -> None:
        """More events are in the program's ring: acknowledge those."""
        waiting, written = self._acknowledge_at, self.connection.events_written
        done = 0
        while done < len(waiting) and waiting[done][0] <= written:
            self.undelivered_bytes -= waiting[done][2]
            done += 1
        if done and self._session is not None:
            self._session.acknowledged = waiting[done - 1][1]
            self._sessions.touch(self._session)
        del waiting[:done]

    def ring(self, representative: int, sequence: int, members: list[int]) -> list[bytes]:
        """The event for a new ring, unless the program knows it already."""
        if (representative, sequence) == self._ring:
            return []
        self._ring = representative, sequence
        return [cpg.ring_event(representative, sequence, members)]

    def _membership(self, event: list[Any]) -> list[bytes]:
        members: list[Address] = [(node, pid) for node, pid in event[3]]
        joined, left = [tuple(each) for each in event[4]], [tuple(each) for each in event[5]]
        own = self.address
        if self._is_rejoining and any(each[:2] == own for each in joined):
            return self._come_back(members)
        out = [cpg.membership_event(self.group, members, joined, left)]
        self._view = members
        if self.state is State.JOINING and any(each[:2] == own for each in joined):
            self.state = State.IN
            if self._wants_ring and self._session is not None and self._session.ring is not None:
                self._ring = None
                out += self.ring(*self._session.ring)
        elif any(each[:2] == own for each in left):
            self._get_out()
        return out

    def _come_back(self, members: Sequence[Address]) -> list[bytes]:
        """The group was joined again after the log was lost. Report what a ring of this node alone and the next one
        would have told."""
        self._is_rejoining = False
        own = self.address
        left = [(*each, int(Reason.NODEDOWN)) for each in self._view if each != own]
        joined = [(*each, int(Reason.NODEUP)) for each in members if each != own]
        self._view = list(members)
        out: list[bytes] = []
        if left:
            out.append(cpg.membership_event(self.group, [own], [], left))
        if joined:
            out.append(cpg.membership_event(self.group, members, joined, []))
        ring, self._ring_meanwhile = self._ring_meanwhile, None
        return out if ring is None else out + self.ring(*ring)

    def _get_out(self) -> None:
        session, self._session = self._session, None
        self.state = State.OUT
        self._view, self._acknowledge_at = [], []
        self.undelivered_bytes = 0
        self.parts.drop()
        if session is not None:
            self._sessions.close(session)
        waits, self._join_waits = self._join_waits, None
        if waits is not None:
            self.join(waits)

    def on_new_log(self, ring: list[Any] | None) -> None:
        """Join again; or be out, if the program was leaving."""
        self._acknowledge_at.clear()
        assert self._session is not None
        self.undelivered_bytes = self._session.requests.bytes_kept
        if self.state is State.LEAVING:
            self._asked = None
            if self._owes_answer is not None:
                self._owes_answer = None
                self._answer(LEAVE, Code.OK)
            left = [(*self.address, int(Reason.LEAVE))]
            self.connection.post([cpg.membership_event(self.group, [], [], left)])
            self._get_out()
            return
        if self.state is State.IN:
            self._is_rejoining = True
            self._ring_meanwhile = ring
        self._ask(Op.JOIN)

    def on_end(self, reason: str) -> None:
        """cpg has ended the session."""
        self._session = None
        self.connection.hang_up(reason)
