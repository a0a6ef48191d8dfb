"""What one user's sessions may take of this process: groups, answers, snapshots, memory for what they send."""

from __future__ import annotations

import msgpack
import pytest

from rondo.protocol import control_gateway
from rondo.protocol import cpg_gateway as bus
from rondo.protocol.batch import decode_body
from rondo.protocol.client_gateway import FROM_CLIENT, decode
from rondo.protocol.codes import Code
from rondo.protocol.envelope import BusError, unpack
from rondo.protocol.requests import Op, decode_requests
from rondo.protocol.sam_gateway import decode_request
from services.cpg import answers, gateways, machine, quotas
from services.cpg.accounts import Accounts
from services.cpg.answers import Answers
from services.cpg.core import Core
from services.cpg.groups import Group
from services.cpg.quotas import may_have_another_group
from services.cpg.sessions import Session
from tests.unit.cpg.test_requests import outcome
from tests.unit.cpg.world import World

OWNER, USER, OTHER = 900, 61001, 61002

NESTED = b"\xdd" + (1 << 16).to_bytes(4) + (b"\xdc\xff\xff" + b"\x90" * 0xFFFF) * (1 << 4)
"""A megabyte that would be a million lists."""


def session_of(accounts: Accounts, uid: int, groups: int) -> Session:
    session = Session(1, 1, 0, uid, uid, 0, b"")
    session.charge_to(accounts.enter(uid))
    for number in range(groups):
        session.will_join(b"%d" % number)
    return session


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quotas, "GROUPS_PER_USER_MAX", 10)
    monkeypatch.setattr(quotas, "GROUPS_OF_OTHERS_MAX", 15)
    monkeypatch.setattr(quotas, "GROUPS_MAX", 20)


def test_a_user_may_be_in_so_many_groups_with_all_sessions_together() -> None:
    accounts = Accounts(OWNER)
    one, two = session_of(accounts, USER, 6), session_of(accounts, USER, 3)
    assert may_have_another_group(one.account, accounts) == Code.OK
    two.will_join(b"one more")
    assert may_have_another_group(one.account, accounts) == Code.TOO_MANY_GROUPS
    one.will_join(b"0")
    two.will_leave(b"one more")
    two.will_leave(b"one more")
    assert may_have_another_group(one.account, accounts) == Code.OK, "each counts once"


def test_users_together_leave_room_for_root_and_the_owner() -> None:
    accounts = Accounts(OWNER)
    for uid, groups in ((USER, 8), (OTHER, 7)):
        session_of(accounts, uid, groups)
    third, root, owner = (session_of(accounts, uid, groups) for uid, groups in ((61003, 0), (0, 0), (OWNER, 4)))
    assert may_have_another_group(third.account, accounts) == Code.TOO_MANY_GROUPS
    assert may_have_another_group(root.account, accounts) == Code.OK
    assert may_have_another_group(owner.account, accounts) == Code.OK
    owner.will_join(b"the last one")
    assert may_have_another_group(root.account, accounts) == Code.TOO_MANY_GROUPS


def test_a_join_beyond_the_quota_is_refused_and_a_leave_makes_room() -> None:
    world = World(1, 1)
    world.form((1,))
    node = world.nodes[1]
    node.machine.clients.accounts.owner_uid = OWNER
    client = node.new_client()
    world.settle()
    session = node.machine.clients.table[client.session]
    session.charge_to(node.machine.clients.accounts.enter(USER))
    for number in range(10):
        assert outcome(world, client, Op.JOIN, b"%d" % number) == Code.OK
    assert outcome(world, client, Op.JOIN, b"more") == Code.TOO_MANY_GROUPS
    assert outcome(world, client, Op.LEAVE, b"1") == Code.OK
    assert outcome(world, client, Op.JOIN, b"more") == Code.OK


def test_answers_of_a_turn_are_bounded_and_others_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "ANSWER_BYTES_PER_TURN", 1000)
    core = Core(1)
    for number in range(10):
        core.table.add(b"%0100d" % number, (1, 1))
    due = Answers()
    asked = 0
    while due.has_room(is_congested=False):
        asked += 1
        due.answer(1, [asked, int(Op.GROUPS)], core)
    assert asked == 1, "one answer of any size fits"
    assert due.were_held_back
    due.begin_turn()
    assert due.has_room(is_congested=False)
    assert not due.is_congested
    assert not due.has_room(is_congested=True), "what waits for the gateway is not added to"
    assert due.is_congested


def test_queries_wait_while_the_gateway_has_not_read_what_it_was_sent() -> None:
    """Else everybody's events would wait behind megabytes of one client's answers."""
    world = World(1, 1)
    world.form((1,))
    node = world.nodes[1]
    client = node.new_client()
    world.settle()
    unsent = gateways.UNSENT_BYTES_MAX
    node.machine.clients.gateways.unsent_bytes = lambda _: unsent
    client.request(node.gateway, Op.GROUPS)
    node.pump(5)
    assert client.answers == {}
    assert node.machine.due_s() == pytest.approx(world.now_s + machine.CONGESTED_S), "it does not spin"
    unsent = 0
    node.pump(5)
    assert len(client.answers) == 1


def test_an_answer_is_packed_once_for_each_change() -> None:
    core = Core(1)
    core.table.add(b"g", (1, 1))
    due = Answers()
    due.answer(1, [1, int(Op.NAMES)], core)
    core.table.add(b"h", (1, 1))
    due.answer(1, [2, int(Op.NAMES)], core)
    core.version += 1
    due.answer(1, [3, int(Op.NAMES)], core)
    ((_, blob),) = due.take()
    assert isinstance(blob, bytes)
    assert unpack(blob) == [[1, 1, [b"g"]], [2, 1, [b"g"]], [3, 1, [b"g", b"h"]]]
    assert due.take() == []


def test_many_queries_are_answered_a_few_in_each_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "ANSWER_BYTES_PER_TURN", 1000)
    world = World(1, 1)
    world.form((1,))
    node = world.nodes[1]
    client, other = node.new_client(), node.new_client()
    world.settle()
    for number in range(9):
        assert outcome(world, client, Op.JOIN, b"%0120d" % number) == Code.OK
    clients = node.machine.clients
    for _ in range(1000):
        client.request(node.gateway, Op.GROUPS)
    while node.gateway.out:
        clients.receive(node.gateway.identity, node.gateway.out.popleft())
    node.machine.flush(0.0)
    assert len(clients.table[client.session].queue) == 999
    assert node.machine.due_s() != 0.0, "the gateway has not taken the answer yet"
    while clients.frames:
        node.gateway.receive(bus.decode(clients.frames.popleft()[1]))
    assert node.machine.due_s() == 0.0, "now the next turn is at once"
    assert outcome(world, other, Op.JOIN, b"others go on") == Code.OK
    world.settle()
    assert len(client.answers) == 1000


def test_a_large_table_is_not_packed_for_every_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "SNAPSHOT_S_PER_BYTE", 1.0)
    world = World(1, 1)
    world.form((1,))
    node = world.nodes[1]
    client = node.new_client()
    world.settle()
    packed = 0
    snapshot = Core.snapshot

    def count(self: Core) -> bytes:
        nonlocal packed
        packed += 1
        return snapshot(self)

    monkeypatch.setattr(Core, "snapshot", count)
    for number in range(5):
        assert outcome(world, client, Op.JOIN, b"%d" % number) == Code.OK
        node.pump(9)
    assert packed <= 1
    node.machine.flush(1e9)
    assert packed <= 2
    node.machine.flush(2e9)
    assert node.machine.acked == node.log.head


def test_no_turn_packs_more_than_some_groups_for_a_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a restart, when no row of the table is packed."""
    monkeypatch.setattr(machine, "ROWS_PER_TURN", 100)
    world = World(1, 1)
    world.form((1,))
    node = world.nodes[1]
    client = node.new_client()
    world.settle()
    table = node.machine.core.table
    for number in range(1000):
        table.add(b"%d" % number, (1, 7))
    packed = 0
    pack_row = Group.pack

    def count(self: Group) -> bytes:
        nonlocal packed
        packed += 1
        return pack_row(self)

    turns: list[int] = []
    flush = machine.Machine.flush

    def turn(self: machine.Machine, now_s: float) -> None:
        before = packed
        flush(self, now_s)
        turns.append(packed - before)

    monkeypatch.setattr(Group, "pack", count)
    monkeypatch.setattr(machine.Machine, "flush", turn)
    assert outcome(world, client, Op.JOIN, b"another") == Code.OK
    for number in range(15):
        node.machine.flush(1e9 + number)
        if node.machine.core.first_change is not None:
            assert node.machine.due_s() == 0.0, "the next ones are packed in the next turn"
    assert node.machine.core.first_change is None, "the snapshot was taken"
    assert packed >= 1000
    assert max(turns) <= 100


@pytest.mark.parametrize(
    "read",
    [decode_requests, decode_body, decode_request, control_gateway.decode_request, lambda f: decode(f, FROM_CLIENT)],
)
def test_nested_arrays_take_no_memory(read: object) -> None:
    assert callable(read)
    with pytest.raises(BusError):
        read(NESTED)


def test_what_is_sent_in_earnest_is_read() -> None:
    blob = msgpack.packb([[number, int(Op.MCAST), b"g", 2, b"x"] for number in range(1, 60_000)])
    assert len(decode_requests(blob)) == 59_999


def test_groups_that_change_faster_than_they_are_packed_do_not_put_off_the_snapshot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine, "ROWS_PER_TURN", 1)
    world = World(1, 1)
    world.form((1,))
    node = world.nodes[1]
    client = node.new_client()
    world.settle()
    table = node.machine.core.table
    assert outcome(world, client, Op.JOIN, b"one") == Code.OK
    for turn in range(machine.PACKING_TURNS_MAX + 1):
        for number in range(2):
            table.add(b"%d %d" % (turn, number), (1, 7))
        node.machine.flush(1e9 + turn)
    assert node.machine.core.first_change is None
