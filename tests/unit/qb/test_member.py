"""What a C program may ask for in which state, and what it is told: the table of `services.qb_gateway.cpg.member`."""

import struct
from typing import Any

import pytest

from rondo.protocol import cpg_gateway as bus
from rondo.protocol import events as bus_events
from rondo.protocol.codes import Code
from rondo.protocol.envelope import pack
from rondo.protocol.events import encode_events
from services.qb_gateway.connection import Connection, Peer
from services.qb_gateway.cpg.member import Member, State
from services.qb_gateway.cpg.parts import Held, LongMessage
from services.qb_gateway.cpg.sessions import Sessions
from services.qb_gateway.wire import cpg

GROUP = b"g"
ME = [1, 77]
JOIN = cpg.Join(GROUP, 77, 0)
LEAVE = cpg.Leave(GROUP, 77)


class Program(Connection):
    """A connection whose other end is this test: what it is told is kept."""

    def __init__(self) -> None:
        self.peer = Peer(77, 0, 0)
        self.events_queued = self.events_written = 0
        self.replies: list[tuple[int, int]] = []
        self.events: list[bytes] = []
        self.hang_up_reason = ""

    def reply(self, message: bytes) -> None:
        ident, _, error = struct.unpack_from("<i4xi4xi", message)
        self.replies.append((ident, error))

    def post(self, events: list[bytes]) -> None:
        self.events += events
        self.events_queued += len(events)
        self.events_written = self.events_queued

    def hang_up(self, reason: str) -> None:
        self.hang_up_reason = reason


class Bench:
    """A C program, and cpg's side of its session."""

    def __init__(self) -> None:
        self.sent: list[bus.Envelope] = []
        self.sessions = Sessions(self.sent.append)
        self.program = Program()
        self.is_taken = False
        parts = LongMessage(Held(), 1000)
        self.member = Member(self.program, self.sessions, parts, lambda _group, _pid: self.is_taken)
        self.position = 10
        self.welcome(5)

    def is_in(self, state: State) -> bool:
        return self.member.state is state

    def tell(self, envelope: bus.Envelope) -> None:
        self.sessions.flush()
        self.sessions.receive(envelope)
        self.sessions.flush()

    def welcome(self, epoch: int) -> None:
        self.tell(bus.CpgWelcome(epoch, 1, 1, 99, []))

    @property
    def number(self) -> int:
        (number,) = [number for number, session in self.sessions.table.items() if session.owner is self.member]
        return number

    def open(self, ring: list[Any] | None = None) -> None:
        """cpg opens the session, where the ring is this one."""
        row = [self.number, int(Code.OK), self.position, 0, ring or [1, 8, [1, 2]]]
        self.tell(bus.Opened(self.sessions.epoch, [row]))

    def settle(self, request: int) -> None:
        self.tell(bus.Settled(self.sessions.epoch, [[self.number, request]]))

    def refuse(self, request: int, code: Code) -> None:
        self.tell(bus.Reply(self.sessions.epoch, [[self.number, pack([[request, int(code), None]])]]))

    def event(self, *event: Any) -> None:
        self.position += 1
        blob = encode_events([[self.position, *event]])
        self.tell(bus.Events(self.sessions.epoch, [[self.number, self.position, self.position, blob]]))

    def join(self) -> None:
        """In the group, with one process of another node."""
        self.member.join(JOIN)
        self.open()
        self.settle(1)
        self.event(bus_events.MEMBERSHIP, GROUP, [ME, [2, 5]], [[*ME, 1]], [], 1)

    def memberships(self) -> list[tuple[list[tuple[int, int]], list[tuple[int, ...]], list[tuple[int, ...]]]]:
        """Members, left and joined of what it was told."""
        found = []
        for event in self.program.events:
            if struct.unpack_from("<i", event)[0] == 4:
                members, joined, left = struct.unpack_from("<I4xI4xI", event, 160)
                rows = list(struct.iter_unpack("<I4xI4xI4x", event[184:]))
                found.append(
                    ([row[:2] for row in rows[:members]], rows[members : members + left], rows[members + left :])
                )
                assert len(rows) == members + joined + left
        return found


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_join_is_answered_once_cpg_has_accepted_it(bench: Bench) -> None:
    bench.member.join(JOIN)
    bench.open()
    assert bench.program.replies == []
    bench.settle(1)
    assert bench.program.replies == [(0, Code.OK)]
    assert bench.is_in(State.JOINING)
    bench.event(bus_events.MEMBERSHIP, GROUP, [ME], [[*ME, 1]], [], 1)
    assert bench.is_in(State.IN)
    assert bench.memberships() == [([(1, 77)], [], [(1, 77, 1)])]


def test_a_refused_join_is_answered_with_the_reason_and_can_be_tried_again(bench: Bench) -> None:
    bench.member.join(JOIN)
    bench.open()
    bench.refuse(1, Code.TRY_AGAIN)
    assert bench.program.replies == [(0, Code.TRY_AGAIN)]
    assert bench.is_in(State.OUT)
    bench.join()
    assert bench.program.replies[1:] == [(0, Code.OK)]


def test_calls_that_do_not_fit_the_state_are_refused(bench: Bench) -> None:
    member, replies = bench.member, bench.program.replies
    member.leave(LEAVE)
    assert replies.pop() == (1, Code.NOT_EXIST)
    assert not member.multicast(b"x")
    bench.is_taken = True
    member.join(JOIN)
    assert replies.pop() == (0, Code.EXIST)
    bench.is_taken = False
    member.join(JOIN)
    member.join(JOIN)
    assert replies.pop() == (0, Code.EXIST)
    member.leave(LEAVE)
    assert replies.pop() == (1, Code.BUSY)
    assert member.multicast(b"x")


def test_leaving_another_group_is_refused(bench: Bench) -> None:
    bench.join()
    bench.member.leave(cpg.Leave(b"other", 77))
    assert bench.program.replies[-1] == (1, Code.NOT_EXIST)
    assert bench.is_in(State.IN)


def test_a_join_that_comes_while_the_program_leaves_waits_for_that(bench: Bench) -> None:
    bench.join()
    bench.member.leave(LEAVE)
    bench.settle(2)
    assert bench.program.replies[-1] == (1, Code.OK)
    assert not bench.member.multicast(b"x")
    bench.member.join(JOIN)
    replies = len(bench.program.replies)
    bench.event(bus_events.MEMBERSHIP, GROUP, [[2, 5]], [], [[*ME, 2]], 2)
    assert bench.is_in(State.JOINING)
    bench.open()
    assert len(bench.program.replies) == replies
    bench.settle(1)
    assert bench.program.replies[-1] == (0, Code.OK)


def test_the_end_of_the_log_is_told_as_a_ring_alone_and_the_one_after_it(bench: Bench) -> None:
    bench.join()
    told = len(bench.memberships())
    bench.tell(bus.Lost(5, "it died", []))
    bench.welcome(6)
    bench.position = 3
    bench.open()
    bench.settle(2)
    bench.event(bus_events.RING, 1, 7, [1, 3])
    bench.event(bus_events.MEMBERSHIP, GROUP, [ME, [3, 9]], [[*ME, 1]], [], 2)
    idents = [struct.unpack_from("<i", each)[0] for each in bench.program.events]
    assert idents[-3:] == [4, 4, 13], "the ring is told after the memberships that follow from it"
    assert bench.memberships()[told:] == [
        ([(1, 77)], [(2, 5, 3)], []),
        ([(1, 77), (3, 9)], [], [(3, 9, 4)]),
    ]
    assert bench.program.replies == [(0, Code.OK)], "nothing is answered twice"


def test_the_ring_where_it_joins_again_is_told_even_if_it_began_before_the_session(bench: Bench) -> None:
    """Then no event tells of the ring: cpg says what it is when it opens the session."""
    bench.join()
    told = len(bench.program.events)
    bench.tell(bus.Lost(5, "it died", []))
    bench.welcome(6)
    bench.position = 3
    bench.open([1, 12, [1]])
    bench.settle(2)
    bench.event(bus_events.MEMBERSHIP, GROUP, [ME], [[*ME, 1]], [], 2)
    bench.event(bus_events.MEMBERSHIP, GROUP, [ME, [2, 5]], [[2, 5, 4]], [], None)
    bench.event(bus_events.RING, 1, 16, [1, 2])
    since = bench.program.events[told:]
    idents = [struct.unpack_from("<i", each)[0] for each in since]
    assert idents == [4, 13, 4, 13]
    assert [since[1], since[3]] == [cpg.ring_event(1, 12, [1]), cpg.ring_event(1, 16, [1, 2])]


def test_who_was_leaving_when_the_log_ended_is_out(bench: Bench) -> None:
    bench.join()
    bench.member.leave(LEAVE)
    bench.tell(bus.Lost(5, "it died", []))
    bench.welcome(6)
    bench.open()
    assert bench.program.replies[-1] == (1, Code.OK)
    assert bench.memberships()[-1] == ([], [(1, 77, 2)], [])
    assert bench.is_in(State.OUT)


def test_who_cannot_join_again_is_hung_up(bench: Bench) -> None:
    bench.join()
    bench.tell(bus.Lost(5, "it died", []))
    bench.welcome(6)
    bench.open()
    bench.refuse(2, Code.TOO_MANY_GROUPS)
    assert "join its group again" in bench.program.hang_up_reason
    assert bench.program.replies == [(0, Code.OK)]
