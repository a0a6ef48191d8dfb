"""Sessions with a cpg that is killed, and with a log that ends because totem was."""

from typing import Any

from rondo.protocol import cpg_gateway as bus
from rondo.protocol import events as bus_events
from rondo.protocol.batch import decode_body
from rondo.protocol.codes import Code
from rondo.protocol.envelope import pack
from rondo.protocol.events import encode_events
from rondo.protocol.requests import Op, decode_requests
from services.qb_gateway.cpg.session import Session
from services.qb_gateway.cpg.sessions import LEAVING_BYTES_MAX, Sessions

GROUP = b"g"


class Owner:
    """Joins again when there is a new log."""

    def __init__(self) -> None:
        self.session: Session | None = None
        self.events: list[list[Any]] = []
        self.ended = ""

    def on_progress(self) -> None:
        pass

    def on_events(self, events: list[list[Any]], last: int) -> None:
        self.events += events
        assert self.session is not None
        self.session.acknowledged = last

    def on_new_log(self, ring: list[Any] | None) -> None:
        assert self.session is not None
        self.session.request(Op.JOIN, GROUP)

    def on_end(self, reason: str) -> None:
        self.ended = reason


class Bench:
    """A session, and cpg's side of it."""

    def __init__(self) -> None:
        self.sent: list[bus.Envelope] = []
        self.sessions = Sessions(self.sent.append)
        self.owner = Owner()
        self.sessions.hello()
        self.welcome(epoch=5)
        self.session = self.owner.session = self.sessions.open(self.owner, 77, 0, 0, 0)
        self.opened(taken=0)
        self.take()

    def take(self) -> list[bus.Envelope]:
        """The envelopes that were sent to cpg."""
        self.sessions.flush()
        taken = list(self.sent)
        self.sent.clear()
        return taken

    def requests(self) -> list[list[Any]]:
        """The requests among it, batches taken apart: `[number, op, ...]`."""
        found: list[list[Any]] = []
        for envelope in self.take():
            if isinstance(envelope, bus.Request):
                for _, _, _, blob in envelope.requests:
                    found += decode_requests(blob)
        return [
            [request[0] + index, int(Op.MCAST), data]
            for request in found
            if request[1] in (Op.MCAST, Op.BATCH)
            for index, data in enumerate(decode_body(request[4]) if request[1] == Op.BATCH else [request[4]])
        ] + [request[:2] for request in found if request[1] not in (Op.MCAST, Op.BATCH)]

    def welcome(self, epoch: int, known: list[int] | None = None) -> None:
        who = [[number, 77, 0, 0, 0, 0, b""] for number in known or []]
        self.sessions.receive(bus.CpgWelcome(epoch, 1, 1, 99, who))

    def opened(self, taken: int, code: int = Code.OK, position: int = 10) -> None:
        row = [self.session.number, int(code), position, taken, None]
        self.sessions.receive(bus.Opened(self.sessions.epoch, [row]))

    def multicast(self, *payloads: bytes) -> None:
        for data in payloads:
            self.session.requests.add_message("", GROUP, 2, data)
        self.sessions.touch(self.session)

    def tell(self, envelope: bus.Envelope) -> None:
        self.sessions.receive(envelope)


def mcast(number: int, data: bytes) -> list[Any]:
    return [number, int(Op.MCAST), data]


def test_the_numbers_of_sessions_say_whose_they_are() -> None:
    assert Bench().session.number >> bus.KIND_SHIFT == bus.GatewayKind.C_PROGRAMS


def test_what_was_not_accepted_is_repeated_to_the_next_cpg() -> None:
    bench = Bench()
    bench.multicast(b"a", b"b")
    assert bench.requests() == [mcast(1, b"a"), mcast(2, b"b")]
    bench.tell(bus.Settled(5, [[bench.session.number, 2]]))
    bench.multicast(b"c")
    assert bench.requests() == [mcast(3, b"c")]
    bench.sessions.hello()
    bench.multicast(b"d")
    assert bench.requests() == []
    bench.welcome(epoch=5, known=[bench.session.number])
    (opening,) = [each for each in bench.take() if isinstance(each, bus.Open)]
    assert opening.sessions[0][7] == [5, 10, 2]
    bench.opened(taken=3)
    assert bench.requests() == [mcast(3, b"c"), mcast(4, b"d")]


def test_events_that_came_before_are_known_by_their_position() -> None:
    bench = Bench()
    number = bench.session.number
    message = [bus_events.MESSAGE, GROUP, 1, 77, False, b"x", None]
    bench.tell(bus.Events(5, [[number, 11, 12, encode_events([[11, *message], [12, *message]])]]))
    bench.tell(bus.Events(5, [[number, 12, 13, encode_events([[12, *message], [13, *message]])]]))
    assert [event[0] for event in bench.owner.events] == [11, 12, 13]
    assert bus.EventAck(5, [[number, 13]]) in bench.take()


def test_after_a_lost_log_the_group_is_joined_before_what_was_not_accepted() -> None:
    bench = Bench()
    for data in (b"accepted", b"in totem's hands", b"refused", b"not accepted"):
        bench.multicast(data)
        bench.requests()
    number = bench.session.number
    bench.tell(bus.Settled(5, [[number, 2]]))
    bench.tell(bus.Reply(5, [[number, pack([[3, int(Code.LIBRARY), None]])]]))
    bench.multicast(b"later")
    bench.tell(bus.Lost(5, "it died", [[number, [1, 2]]]))
    bench.take()
    bench.welcome(epoch=6)
    (opening,) = [each for each in bench.take() if isinstance(each, bus.Open)]
    assert opening.sessions[0][7] == [5, 10, 5]
    bench.opened(taken=5, position=3)
    requests = bench.requests()
    assert requests[-1] == [6, int(Op.JOIN)]
    assert [request[2] for request in requests[:-1]] == [b"refused", b"not accepted", b"later"]
    assert [request[0] for request in requests[:-1]] == [7, 8, 9]
    assert bench.session.messages_lost == 2


def test_sessions_of_a_predecessor_are_closed() -> None:
    bench = Bench()
    bench.welcome(epoch=5, known=[bench.session.number, 1 << bus.KIND_SHIFT | 5])
    assert bus.Close(5, [[1 << bus.KIND_SHIFT | 5, int(bus.CloseReason.DIED)]]) in bench.take()


def test_a_session_that_cannot_be_resumed_is_ended() -> None:
    bench = Bench()
    bench.welcome(epoch=5)
    bench.opened(taken=0, code=Code.NOT_EXIST)
    assert "code 12" in bench.owner.ended
    assert bench.sessions.table == {}


def test_who_is_gone_leaves_once_all_that_it_asked_for_is_accepted() -> None:
    bench = Bench()
    bench.multicast(b"last words")
    bench.sessions.close(bench.session)
    assert not any(isinstance(each, bus.Close) for each in bench.take())
    bench.tell(bus.Settled(5, [[bench.session.number, 1]]))
    assert bus.Close(5, [[bench.session.number, int(bus.CloseReason.LEFT)]]) in bench.take()
    assert bench.sessions.table == {}


def test_programs_that_come_and_go_while_cpg_is_away_take_bounded_memory() -> None:
    bench = Bench()
    owner = Owner()
    kept = 1_000_000
    for _ in range(100):
        session = owner.session = bench.sessions.open(owner, 78, 0, 0, 0)
        session.requests.add_message("g", GROUP, 2, bytes(kept))
        bench.sessions.close(session)
    waiting = len(bench.sessions.table) - 1
    assert LEAVING_BYTES_MAX // (kept + 10_000) <= waiting <= LEAVING_BYTES_MAX // kept + 1
    assert bench.sessions.counters["messages_lost"] == 100 - waiting
    closed = [row for each in bench.take() if isinstance(each, bus.Close) for row in each.sessions]
    assert len(closed) == 100 - waiting
    # Whom cpg knows is not dropped: what it sent is done.
    bench.sessions.close(bench.session)
    assert bench.session.number in bench.sessions.table
