"""What the sessions of one user may hold in cpg, however many they are: requests that wait, events not acknowledged."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from rondo.protocol import cpg_gateway as bus
from rondo.protocol import events
from rondo.protocol.codes import Code
from rondo.protocol.envelope import PROTOCOL_VERSION
from rondo.protocol.requests import Op, decode_replies, encode_requests
from services.cpg import accounts
from services.cpg.clients import Clients, Options
from services.cpg.groups import Group
from services.cpg.quotas import GROUPS_PER_USER_MAX
from services.cpg.sessions import Session

OWNER, USER, OTHER = 900, 61001, 61002
KIB, MIB = 1 << 10, 1 << 20
GATEWAY = b"gateway"


class Cpg:
    """The sessions of a cpg that has no credit, so that all requests wait."""

    def __init__(self) -> None:
        self.clients = Clients(Options(client_bytes_max=MIB), pid=1)
        self.clients.accounts.owner_uid = OWNER
        self.clients.ready = True
        self._tell(bus.GatewayHello(0, PROTOCOL_VERSION, 1, bus.GatewayKind.CLIENTS))

    def _tell(self, envelope: bus.Envelope) -> None:
        self.clients.receive(GATEWAY, bus.encode(envelope))

    def open(self, ident: int, uid: int) -> Session:
        self._tell(bus.Open(0, [[ident, ident, 0, uid, uid, 0, b"", None]]))
        session = self.clients.table[ident]
        session.will_join(b"g")
        return session

    def send(self, session: Session, size: int, count: int = 1) -> None:
        """Multicast in a group in which it is."""
        self._ask(session, [[int(Op.MCAST), b"g", 2, bytes(size)]] * count)

    def _ask(self, session: Session, what: list[list[object]]) -> None:
        first = session.expected
        blob = encode_requests([[first + number, *each] for number, each in enumerate(what)])
        self._tell(bus.Request(0, [[session.ident, first, first + len(what) - 1, blob]]))

    def join(self, session: Session, *groups: bytes) -> None:
        self._ask(session, [[int(Op.JOIN), group] for group in groups])

    def events(self, session: Session, size: int) -> None:
        """Events come for it, and it acknowledges none."""
        self.clients.core.n += 1
        self.clients.core.out[session.ident].append(
            [self.clients.core.n, events.MESSAGE, b"g", 1, 1, False, bytes(size), None]
        )
        self.clients.distribute()

    def heard(self) -> list[bus.Envelope]:
        self.clients.flush()
        heard = [bus.decode(frame) for _, frame in self.clients.frames]
        self.clients.frames.clear()
        return heard

    def refusals(self) -> list[int]:
        """The codes since the last time."""
        replies = [row for each in self.heard() if isinstance(each, bus.Reply) for row in each.replies]
        return [code for _, blob in replies for _, code, _ in decode_replies(blob)]


@pytest.fixture
def cpg(monkeypatch: pytest.MonkeyPatch) -> Cpg:
    monkeypatch.setattr(accounts, "QUEUED_BYTES_PER_USER_MAX", 100 * KIB)
    return Cpg()


def test_requests_of_all_sessions_of_a_user_have_one_bound(cpg: Cpg) -> None:
    one, two, other, owner, root = (
        cpg.open(n, uid) for n, uid in enumerate((USER, USER, OTHER, OWNER, 0), start=1)
    )  # fmt: skip
    cpg.send(one, 60 * KIB)
    cpg.send(two, 60 * KIB)
    assert cpg.refusals() == []
    cpg.send(two, 1)
    cpg.send(one, 1)
    assert cpg.refusals() == [Code.TRY_AGAIN] * 2, "by name"
    assert cpg.clients.counters["refused_for_quota"] == 2
    cpg.send(other, 60 * KIB)
    for favoured in (owner, root):
        cpg.send(favoured, 60 * KIB, 3)
    assert cpg.refusals() == [], "nobody else is refused"
    assert cpg.clients.counters["refused_for_quota"] == 2


def test_there_is_room_again_once_requests_were_submitted_or_their_session_is_gone(cpg: Cpg) -> None:
    one, two = cpg.open(1, USER), cpg.open(2, USER)
    cpg.send(one, 60 * KIB)
    cpg.send(two, 60 * KIB)
    requests, _ = cpg.clients.next_requests(1)
    assert len(requests) == 1
    cpg.send(two, 60 * KIB)
    assert cpg.refusals() == []
    cpg.clients.remove(two)
    assert one.account.queued_bytes == one.queue_bytes == 0
    cpg.clients.remove(one)
    assert cpg.clients.accounts.told() == [], "and no account is kept for nobody"


def test_a_session_found_in_the_log_counts_for_its_user_once_he_is_known(cpg: Cpg) -> None:
    session = cpg.clients.adopt(1, 1)
    cpg.events(session, 1000)
    held_bytes = session.event_bytes
    cpg._tell(bus.Open(0, [[1, 1, 0, USER, USER, 0, b"", [0, 0, 0]]]))
    assert cpg.clients.accounts.told() == [
        {"uid": USER, "sessions": 1, "groups": 0, "queued_bytes": 0, "event_bytes": held_bytes}
    ]  # fmt: skip
    session.acknowledge(1)
    assert session.account.event_bytes == 0


def test_the_session_that_holds_most_events_of_a_user_is_cut_off(cpg: Cpg) -> None:
    sessions = [cpg.open(number, USER) for number in range(1, 9)]
    other, owners = cpg.open(10, OTHER), [cpg.open(number, OWNER) for number in range(11, 19)]
    cpg.events(other, 900 * KIB)
    for owner in owners:
        cpg.events(owner, 900 * KIB)
    cpg.events(sessions[0], 900 * KIB)
    for session in sessions[1:6]:
        cpg.events(session, 600 * KIB)
    assert not any(session.closing for session in sessions), "3.8 MiB of 4"
    cpg.events(sessions[6], 600 * KIB)
    assert [session.closing for session in sessions] == [True] + [False] * 7
    (cut,) = (row for each in cpg.heard() if isinstance(each, bus.Notice) for row in each.notices)
    assert cut[0] == sessions[0].ident
    assert cut[2][0] == Code.NO_RESOURCES
    assert "sessions of this user" in cut[2][1]
    assert cpg.clients.counters["sessions_cut_for_quota"] == cpg.clients.counters["sessions_cut"] == 1
    assert not any(each.closing for each in (other, *owners)), "nobody else"


def test_a_user_with_one_session_has_the_bound_of_a_session(cpg: Cpg) -> None:
    session = cpg.open(1, USER)
    cpg.events(session, 6 * MIB)
    assert not session.closing, "a single message of any size makes nobody slow"


def test_refusals_in_a_row_take_one_place(cpg: Cpg) -> None:
    """They cost nothing, so no bound of bytes would hold them."""
    session = cpg.open(1, USER)
    cpg.send(session, 120 * KIB)
    cpg.send(session, 1, 5000)
    assert cpg.refusals() == [Code.TRY_AGAIN] * 5000
    assert len(session.queue) == 2
    assert session.settled() == 0, "in their place"
    cpg.clients.next_requests(1)
    cpg.clients.taken([[session.ident, 1]])
    assert session.settled() == 5001


def test_what_a_thousand_sessions_of_a_user_hold_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Members, groups and queues of one user, as they are in memory. Each session does what it can with 64 requests of
    4 KiB, 20 joins of long names and 64 KiB of events: 350 MB without the bounds."""
    monkeypatch.setattr(accounts, "QUEUED_BYTES_PER_USER_MAX", 4 * MIB)
    cpg = Cpg()
    tracemalloc.start()
    try:
        for ident in range(1, 1001):
            session = cpg.open(ident, USER)
            cpg.join(session, *(b"%0124d" % (20 * ident + number) for number in range(20)))
            cpg.send(session, 4 * KIB, 64)
            if not session.closing:
                cpg.events(session, 64 * KIB)
            cpg.heard()
        taken_bytes = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    sessions = cpg.clients.table.values()
    account = next(iter(sessions)).account
    assert account.sessions == len(sessions)
    assert 4 * MIB <= account.queued_bytes < 5 * MIB
    assert account.event_bytes <= 4 * MIB
    assert taken_bytes < 15 * MIB, "what is counted, and the sessions themselves"
    assert sum(len(each.intended) for each in sessions) <= GROUPS_PER_USER_MAX


def test_a_join_costs_the_same_however_many_groups_and_sessions_there_are(cpg: Cpg) -> None:
    """A process with 60 sessions among 16,000 groups had 20 ms of cpg for each join."""
    sessions = [cpg.open(ident, OWNER) for ident in range(1, 61)]
    for session in sessions:
        session.pid = 1
        session.will_leave(b"g")
    for number in range(1000):
        cpg.clients.core.table.add(b"of others %d" % number, (2, number + 1))
    looked_at = 0

    class Counted(dict[bytes, Group]):
        def values(self) -> Any:
            nonlocal looked_at
            looked_at += 1
            return super().values()

    cpg.clients.core.table.groups = Counted(cpg.clients.core.table.groups)
    cpg.join(sessions[0], b"one", b"two")
    assert sessions[0].intended == {b"one", b"two"}
    assert looked_at == 0, "not all groups"
    cpg.join(sessions[1], b"one")
    assert cpg.refusals() == [Code.EXIST]
