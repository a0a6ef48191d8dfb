"""The gateway's logic without sockets, for orders of events that a real run meets only now and then."""

import logging
import os
import resource

import pytest

from rondo.node.process_watch import start_time_of
from rondo.protocol import cpg_gateway as bus
from rondo.protocol.client_gateway import FROM_GATEWAY, VERSION, Kind, decode, encode
from rondo.protocol.codes import Code
from services.ipc_gateway.credentials import Peer
from services.ipc_gateway.gateway import REQUESTS_WINDOW, Gateway
from services.ipc_gateway.limits import raise_descriptor_limit
from services.ipc_gateway.listener import Received
from services.ipc_gateway.outboxes import SESSION_BYTES_MAX, USER_BYTES_MAX
from services.ipc_gateway.session_registry import SESSIONS_MAX, SessionRegistry, digest

SECRET = b"s" * 16
EPOCH = 7
STAMP = f"0:0:{os.getpid()}:0:1"


class Wires:
    """Both neighbours: remembers what it was given."""

    def __init__(self) -> None:
        self.to_cpg: list[bus.Envelope] = []
        self.to_clients: list[tuple[bytes, int, list[object]]] = []
        self.stamp = STAMP
        self.ended: list[bytes] = []
        self.hits: list[str] = []
        self.full = False
        self.gateway = Gateway(Clients(self), self, 1024)

    def send(self, envelope: bus.Envelope) -> None:
        self.to_cpg.append(envelope)

    def client(self, connection: bytes, kind: Kind, epoch: int, *fields: object) -> None:
        self.gateway.on_client(Received(connection, self.stamp, encode(kind, epoch, *fields)))

    def welcome(self, *known: int) -> None:
        who = [[n, os.getpid(), start_time_of(os.getpid()), 0, 0, 0, digest(SECRET)] for n in known]
        self.gateway.on_cpg(bus.CpgWelcome(EPOCH, 1, 1, 1, who))

    def opened(self) -> list[int]:
        """Sessions that cpg was asked to open."""
        return [item[0] for each in self.to_cpg if isinstance(each, bus.Open) for item in each.sessions]


class Clients:
    """The listeners."""

    def __init__(self, wires: Wires) -> None:
        self._wires = wires

    def send(self, connection: bytes, envelope: bytes, *, more: bool = False) -> bool:
        if self._wires.full:
            return False
        kind, _, fields = decode(envelope, FROM_GATEWAY)
        self._wires.to_clients.append((connection, kind, fields))
        return True

    def has_spoken(self, connection: bytes) -> None:
        pass

    def must_speak(self, connection: bytes) -> None:
        pass

    def end(self, connection: bytes) -> bool:
        self._wires.ended.append(connection)
        return True

    def hit(self, connection: bytes, bound: str) -> None:
        self._wires.hits.append(bound)


def test_a_resumption_waits_until_cpg_has_said_whose_sessions_there_are() -> None:
    wires = Wires()
    wires.client(b"c", Kind.HELLO, 0, VERSION, 0, "early", [99, SECRET, EPOCH, 3, 2])
    assert wires.to_cpg == []
    wires.welcome(99)
    assert wires.opened() == [99]
    wires.gateway.on_cpg(bus.Opened(EPOCH, [[99, 1, 3, 2, None]]))
    connection, kind, fields = wires.to_clients[-1]
    assert (connection, kind, fields[3], fields[4]) == (b"c", Kind.WELCOME, 99, SECRET)


def test_an_early_resumption_whose_connection_ended_is_forgotten() -> None:
    wires = Wires()
    wires.client(b"c", Kind.HELLO, 0, VERSION, 0, "early", [99, SECRET, EPOCH, 3, 2])
    wires.gateway.detach(b"c")
    wires.welcome(99)
    assert wires.opened() == []


def test_a_gateway_that_was_there_before_says_that_there_is_no_session() -> None:
    """cpg frees nothing of the log until it knows; of a gateway that is new, clients may still come back."""
    wires = Wires()
    wires.welcome()
    assert wires.to_cpg == []
    wires.welcome()
    assert wires.to_cpg == [bus.Open(EPOCH, [])]
    wires.welcome(99)
    assert wires.to_cpg == [bus.Open(EPOCH, [])], "the client of 99 is away, and may come back"


def test_a_session_that_cpg_cannot_resume_is_replaced_by_a_new_one() -> None:
    wires = Wires()
    wires.welcome(99)
    wires.client(b"c", Kind.HELLO, 0, VERSION, 0, "late", [99, SECRET, EPOCH, 3, 2])
    wires.gateway.on_cpg(bus.Opened(EPOCH, [[99, 12, 0, 0, None]]))
    new = wires.opened()[-1]
    assert new != 99
    assert bus.Close(EPOCH, [[99, bus.CloseReason.DIED]]) in wires.to_cpg
    wires.gateway.on_cpg(bus.Opened(EPOCH, [[new, 1, 0, 0, None]]))
    assert wires.to_clients[-1][2][3] == new


def test_a_client_that_says_hello_again_and_again_is_told_where_to_go_on() -> None:
    """cpg answers each time. The answer to the second hello welcomes the third connection, which then hears that its
    request is settled, and goes on with the next one: that is not one too far when the last answer has come."""
    wires = Wires()
    wires.welcome(99)
    resume = [99, SECRET, EPOCH, 3, 2]
    wires.client(b"a", Kind.HELLO, 0, VERSION, 0, "x", resume)
    wires.client(b"b", Kind.HELLO, 0, VERSION, 0, "x", resume)
    wires.gateway.on_cpg(bus.Opened(EPOCH, [[99, 1, 3, 2, None]]))
    wires.client(b"b", Kind.REQUEST, EPOCH, 3, 3, b"third")
    wires.client(b"c", Kind.HELLO, 0, VERSION, 0, "x", resume)
    wires.gateway.on_cpg(bus.Opened(EPOCH, [[99, 1, 3, 2, None]]))
    wires.gateway.on_cpg(bus.Settled(EPOCH, [[99, 3]]))
    wires.gateway.on_cpg(bus.Opened(EPOCH, [[99, 1, 3, 3, None]]))
    wires.gateway.flush()
    assert (b"c", Kind.SETTLED, [3]) in wires.to_clients
    wires.client(b"c", Kind.REQUEST, EPOCH, 4, 4, b"fourth")
    assert wires.to_cpg[-1] == bus.Request(EPOCH, [[99, 4, 4, b"fourth"]])


def test_a_close_that_cpg_did_not_hear_is_said_again() -> None:
    wires = Wires()
    wires.welcome()
    wires.client(b"c", Kind.HELLO, 0, VERSION, 0, "x", None)
    session = wires.opened()[0]
    wires.gateway.on_cpg(bus.Opened(EPOCH, [[session, 1, 0, 0, None]]))
    wires.client(b"c", Kind.BYE, EPOCH, 1, "")
    wires.to_cpg.clear()
    wires.gateway.hello()
    wires.welcome(session)
    assert bus.Close(EPOCH, [[session, bus.CloseReason.LEFT]]) in wires.to_cpg


def test_what_a_client_has_no_room_for_waits_for_it_alone() -> None:
    wires = Wires()
    wires.welcome()
    wires.client(b"c", Kind.HELLO, 0, VERSION, 0, "x", None)
    session = wires.opened()[0]
    wires.gateway.on_cpg(bus.Opened(EPOCH, [[session, 1, 0, 0, None]]))
    wires.full = True
    for n in (1, 2, 3):
        wires.gateway.on_cpg(bus.Events(EPOCH, [[session, n, n, b"blob"]]))
    assert wires.gateway.outboxes.has_blocked
    wires.full = False
    wires.gateway.flush()
    assert [fields[0] for _, kind, fields in wires.to_clients if kind == Kind.EVENTS] == [1, 2, 3]
    assert not wires.gateway.outboxes.has_blocked


def test_another_stamp_on_a_known_connection_is_not_its_client() -> None:
    wires = Wires()
    wires.welcome()
    wires.client(b"c", Kind.HELLO, 0, VERSION, 0, "x", None)
    session = wires.opened()[0]
    wires.gateway.on_cpg(bus.Opened(EPOCH, [[session, 1, 0, 0, None]]))
    request = encode(Kind.REQUEST, EPOCH, 1, 1, b"blob")
    wires.gateway.on_client(Received(b"c", "0:0:1:2", request))
    assert wires.to_clients[-1][1] == Kind.ERROR
    assert not any(isinstance(each, bus.Request) for each in wires.to_cpg)


def test_the_kernels_word_for_a_process() -> None:
    assert start_time_of(os.getpid()) > 0
    assert start_time_of(2**22 + 1) == 0


def test_answers_to_a_client_that_does_not_read_are_bounded() -> None:
    wires = Wires()
    wires.welcome()
    wires.client(b"c", Kind.HELLO, 0, VERSION, 0, "x", None)
    session = wires.opened()[0]
    wires.gateway.on_cpg(bus.Opened(EPOCH, [[session, 1, 0, 0, None]]))
    wires.full = True
    answer, count = bytes(1024 * 1024), 0
    while wires.gateway.counters["cut"] == 0:
        wires.gateway.on_cpg(bus.Reply(EPOCH, [[session, answer]]))
        count += 1
        assert count < 100
    assert count == SESSION_BYTES_MAX // len(answer) + 1, "besides the largest"
    wires.gateway.flush()
    assert not wires.gateway.outboxes.has_blocked
    assert bus.Close(EPOCH, [[session, bus.CloseReason.CUT]]) in wires.to_cpg


def opened(wires: Wires, *connections: bytes) -> list[int]:
    """Open sessions of these connections; gives their numbers."""
    for connection in connections:
        wires.client(connection, Kind.HELLO, 0, VERSION, 0, "x", None)
    numbers = wires.opened()[-len(connections) :]
    wires.gateway.on_cpg(bus.Opened(EPOCH, [[number, 1, 0, 0, None] for number in numbers]))
    return numbers


def test_what_waits_for_all_sessions_of_a_user_is_bounded_and_nothing_is_lost() -> None:
    wires = Wires()
    wires.stamp = f"12345:12345:{os.getpid()}:0:1"
    wires.welcome()
    first, second, third = opened(wires, b"a", b"b", b"c")
    wires.full = True
    blob = bytes(24 * 1024 * 1024)
    for number in (first, second, third):
        wires.gateway.on_cpg(bus.Events(EPOCH, [[number, 1, 1, blob]]))
    assert wires.ended == [b"b"], "who has most waiting, besides the first, loses its connection"
    assert wires.hits == ["unread_ended"]
    assert wires.gateway.outboxes.total_bytes < USER_BYTES_MAX
    session = wires.gateway.registry.get(second)
    assert session is not None, "but not its session"
    # Its client comes again, and goes on after what it had.
    wires.full = False
    wires.client(b"d", Kind.HELLO, 0, VERSION, 0, "x", [second, session.secret, EPOCH, 0, 0])
    assert wires.opened()[-1] == second
    wires.gateway.flush()
    assert wires.gateway.outboxes.total_bytes == 0


def test_root_may_have_four_times_as_much_waiting() -> None:
    wires = Wires()
    wires.welcome()
    numbers = opened(wires, b"a", b"b", b"c", b"d")
    wires.full = True
    for number in numbers:
        wires.gateway.on_cpg(bus.Events(EPOCH, [[number, 1, 1, bytes(24 * 1024 * 1024)]]))
    assert wires.gateway.outboxes.total_bytes > USER_BYTES_MAX
    assert wires.ended == []


def test_a_client_may_not_have_more_requests_on_their_way_than_two_windows() -> None:
    wires = Wires()
    wires.welcome()
    (number,) = opened(wires, b"a")
    step = 1024
    for first in range(1, 10 * REQUESTS_WINDOW, step):
        wires.client(b"a", Kind.REQUEST, EPOCH, first, first + step - 1, b"tiny")
    passed = sum(len(each.requests) for each in wires.to_cpg if isinstance(each, bus.Request)) * step
    assert 2 * REQUESTS_WINDOW <= passed <= 2 * REQUESTS_WINDOW + step
    _, _, fields = next(each for each in wires.to_clients if each[1] == Kind.BYE)
    assert fields[0] == Code.QUEUE_FULL
    assert wires.gateway.registry.get(number) is None


def test_some_sessions_are_kept_for_root_and_the_nodes_own_user() -> None:
    registry = SessionRegistry()
    registry.sessions_max = 16
    stranger = Peer(os.geteuid() + 12345, 5, os.getpid())
    while not registry.why_full(stranger):
        registry.create(stranger, "x", 0)
    assert len(registry) == 14
    assert not registry.why_full(Peer(os.geteuid(), os.getegid(), os.getpid()))


def test_the_log_tells_of_the_beginning_of_a_session_as_of_its_end(caplog: pytest.LogCaptureFixture) -> None:
    wires = Wires()
    wires.welcome()
    with caplog.at_level(logging.INFO, "IPC_GATEWAY"):
        wires.client(b"c", Kind.HELLO, 0, VERSION, 0, "app", None)
        (session,) = wires.gateway.registry
        wires.client(b"d", Kind.HELLO, 0, VERSION, 0, "app", [session.number, session.secret, EPOCH, 0, 0])
        wires.gateway.sessions.died(session)
    texts = [record.getMessage() for record in caplog.records if record.getMessage().startswith("session ")]
    heads = {text.partition("): ")[0] for text in texts}
    assert len(heads) == 1, "all lines of a session begin alike"
    assert [text.partition("): ")[2] for text in texts] == ["opened", "resumed", "closed: the process is dead"]


def test_a_full_node_says_so_in_its_log_and_to_the_client(caplog: pytest.LogCaptureFixture) -> None:
    wires = Wires()
    wires.welcome()
    wires.gateway.registry.sessions_max = 2
    with caplog.at_level(logging.WARNING, "IPC_GATEWAY"):
        for connection in (b"a", b"b", b"c", b"d"):
            wires.client(connection, Kind.HELLO, 0, VERSION, 0, "app", None)
    why = "the node has 2 sessions already: its limit of open files allows no more; raise it there"
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.endswith(f" was refused: {why} (1 so far)")
    assert [fields[1] for connection, kind, fields in wires.to_clients if kind == Kind.BYE] == [why, why]
    assert wires.gateway.counters["refused"] == 2


@pytest.mark.parametrize(("hard", "sessions"), [(-1, SESSIONS_MAX), (1 << 20, SESSIONS_MAX), (1024, 341), (256, 56)])
def test_the_limit_of_open_files_bounds_the_sessions(monkeypatch: pytest.MonkeyPatch, hard: int, sessions: int) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _kind: (256, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _kind, limits: asked.append(limits))
    found, connections = raise_descriptor_limit()
    assert found == sessions
    assert connections > found, "there is room for who asks without a session"


HIDDEN = "0:0:0:0:1"
"""A process of another pid namespace has no pid here."""


def test_a_process_without_a_pid_here_has_a_number_of_its_own_and_ends_with_its_connection() -> None:
    wires = Wires()
    wires.welcome()
    for connection in (b"a", b"b"):
        hello = encode(Kind.HELLO, 0, VERSION, 0, "hidden", None)
        wires.gateway.on_client(Received(connection, HIDDEN, hello))
    sessions = list(wires.gateway.registry)
    assert len({session.peer.pid for session in sessions}) == 2
    assert all(session.peer.is_hidden for session in sessions)
    numbers = [session.number for session in sessions]
    wires.gateway.on_cpg(bus.Opened(EPOCH, [[n, 1, 0, 0, None] for n in numbers]))
    # It goes on over another connection: the end of the first one then means nothing.
    resume = encode(Kind.HELLO, 0, VERSION, 0, "hidden", [numbers[0], sessions[0].secret, EPOCH, 0, 0])
    wires.gateway.on_client(Received(b"c", HIDDEN, resume))
    wires.gateway.detach(b"a")
    assert wires.gateway.registry.get(numbers[0]) is not None
    wires.gateway.detach(b"c")
    assert wires.gateway.registry.get(numbers[0]) is None
    wires.gateway.flush()
    assert wires.to_cpg[-1] == bus.Close(EPOCH, [[numbers[0], bus.CloseReason.DIED]])


@pytest.mark.parametrize(("of_client", "spoken"), [(2, 2), (3, 3), (9, 3)])
@pytest.mark.parametrize("is_replaced", [False, True])
def test_the_version_that_is_spoken_is_the_highest_that_both_know(
    of_client: int, spoken: int, is_replaced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.ipc_gateway.gateway.VERSION_MIN", 2)
    monkeypatch.setattr("services.ipc_gateway.gateway.VERSION", 3)
    wires = Wires()
    wires.welcome(99)
    wires.client(b"c", Kind.HELLO, 0, of_client, 0, "x", [99, SECRET, EPOCH, 3, 2])
    session = 99
    if is_replaced:
        wires.gateway.on_cpg(bus.Opened(EPOCH, [[99, 12, 0, 0, None]]))
        session = wires.opened()[-1]
    wires.gateway.on_cpg(bus.Opened(EPOCH, [[session, 1, 0, 0, None]]))
    _, kind, fields = wires.to_clients[-1]
    assert (kind, fields[0], fields[3]) == (Kind.WELCOME, spoken, session)


def test_a_client_that_knows_no_version_that_is_high_enough_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.ipc_gateway.gateway.VERSION_MIN", 2)
    wires = Wires()
    wires.welcome()
    wires.client(b"c", Kind.HELLO, 0, 1, 0, "x", None)
    said = "this node speaks version 2 at least, not 1"
    assert wires.to_clients == [(b"c", Kind.BYE, [Code.VERSION, said])]
    assert wires.opened() == []
