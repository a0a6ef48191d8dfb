"""Requests, refusals, slow sessions and the loss of totem, seen from a client of one node."""

from __future__ import annotations

from typing import Any

import pytest

from rondo.protocol import cpg_gateway as bus
from rondo.protocol import events as ev
from rondo.protocol.codes import Code
from rondo.protocol.envelope import BusError
from rondo.protocol.requests import HIDDEN_PREFIX, Op, decode_replies
from rondo.protocol.totem_reader import Again
from services.cpg import sessions
from services.cpg.checkpoints import SNAPSHOTS_MAX, Checkpoints
from services.totem import ordered_log
from tests.unit.cpg.client import Client
from tests.unit.cpg.world import OPTIONS, World


@pytest.fixture
def world() -> World:
    """One node in a ring of its own, and a client."""
    world = World(1, 1)
    world.form((1,))
    world.nodes[1].new_client()
    world.settle()
    return world


def outcome(world: World, client: Client, op: int, *arguments: Any) -> int:
    """The code with which a request is refused, or OK."""
    number = client.request(world.nodes[1].gateway, op, *arguments)  # type: ignore[arg-type]
    world.settle()
    assert not client.unsettled
    return client.refused.get(number, Code.OK)


def test_refusals(world: World) -> None:
    """Corosync's codes for what cannot be done; nothing of it is ordered."""
    client = world.nodes[1].clients[0]
    assert outcome(world, client, Op.MCAST, b"g", 2, b"x") == Code.NOT_EXIST
    assert outcome(world, client, Op.LEAVE, b"g") == Code.NOT_EXIST
    assert outcome(world, client, Op.JOIN, b"") == Code.INVALID_PARAM
    assert outcome(world, client, Op.JOIN, "text") == Code.INVALID_PARAM
    assert outcome(world, client, Op.JOIN) == Code.INVALID_PARAM
    assert outcome(world, client, Op.JOIN, b"n" * 129) == Code.NAME_TOO_LONG
    assert outcome(world, client, Op.JOIN, b"n" * 128) == Code.OK
    assert outcome(world, client, Op.JOIN, b"g") == Code.OK
    assert outcome(world, client, Op.JOIN, b"g") == Code.EXIST
    assert outcome(world, client, Op.MCAST, b"g", 2, b"x" * (OPTIONS.message_size_max + 1)) == Code.TOO_BIG
    assert outcome(world, client, Op.MCAST, b"g", 2, b"x" * OPTIONS.message_size_max) == Code.OK
    assert outcome(world, client, Op.MCAST, b"g", 4, b"x") == Code.INVALID_PARAM
    assert outcome(world, client, Op.MCAST, b"g", 2, "text") == Code.INVALID_PARAM
    assert outcome(world, client, Op.MCAST, b"g", 2) == Code.INVALID_PARAM
    assert outcome(world, client, 99) == Code.NOT_SUPPORTED
    assert [event[6] for _, event in client.stream if event[1] == ev.MESSAGE] == [b"x" * OPTIONS.message_size_max]


def test_second_session_of_a_process(world: World) -> None:
    """A process is in a group once, whichever of its sessions asks; another process of the node may join."""
    node = world.nodes[1]
    one, other = node.clients[0], node.new_client()
    two = Client(4711, 1, one.pid)
    node.clients.append(two)
    node.gateway.connect(two)
    world.settle()
    assert outcome(world, one, Op.JOIN, b"g") == Code.OK
    assert outcome(world, two, Op.JOIN, b"g") == Code.EXIST
    assert outcome(world, two, Op.JOIN, b"h") == Code.OK
    assert outcome(world, other, Op.JOIN, b"g") == Code.OK


def test_leave_join_and_send_in_one_breath(world: World) -> None:
    """Requests are judged by what will be when those before them are done."""
    node, client = world.nodes[1], world.nodes[1].clients[0]
    for op, arguments in [
        (Op.JOIN, ()), (Op.MCAST, (2, b"1")), (Op.LEAVE, ()), (Op.JOIN, ()), (Op.MCAST, (3, b"2")),
    ]:  # fmt: skip
        client.request(node.gateway, op, b"g", *arguments)
    world.settle()
    assert not client.refused
    seen = [(event[1], event[-1]) for _, event in client.stream if event[1] != ev.RING]
    assert seen == [(1, 1), (0, 2), (1, 3), (1, 4), (0, 5)]


def test_queries(world: World) -> None:
    """Answers about all groups, one group and the ring, in their place among the requests."""
    node, client = world.nodes[1], world.nodes[1].clients[0]
    for group in (b"z", b"a"):
        client.request(node.gateway, Op.JOIN, group)
    world.settle()
    numbers = [client.request(node.gateway, op, *arguments) for op, arguments in [
        (Op.GROUPS, ()), (Op.NAMES, ()), (Op.MEMBERS, (b"z",)), (Op.MEMBERS, (b"none",)), (Op.RING, ()),
    ]]  # fmt: skip
    world.settle()
    me = [[1, client.pid]]
    assert [client.answers[n] for n in numbers[:4]] == [[[b"a", me], [b"z", me]], [b"a", b"z"], me, []]
    assert client.answers[numbers[4]][2] == [1]


def test_the_nodes_own_groups_are_shown_to_who_asks_for_them(world: World) -> None:
    node, client = world.nodes[1], world.nodes[1].clients[0]
    for group in (HIDDEN_PREFIX + b"1", b"seen"):
        client.request(node.gateway, Op.JOIN, group)
    world.settle()
    numbers = [client.request(node.gateway, op, *arguments) for op, arguments in [
        (Op.NAMES, ()), (Op.NAMES, (True,)), (Op.NAMES, (False,)), (Op.GROUPS, (True,)), (Op.GROUPS, (1,)),
    ]]  # fmt: skip
    world.settle()
    both = [HIDDEN_PREFIX + b"1", b"seen"]
    assert [client.answers[n] for n in numbers[:3]] == [[b"seen"], both, [b"seen"]]
    assert [name for name, _ in client.answers[numbers[3]]] == both
    assert client.refused == {numbers[4]: Code.INVALID_PARAM}


def test_no_room(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without credit requests wait, within a bound; what was refused for want of room has no effect, ever."""
    monkeypatch.setattr("services.cpg.sessions.QUEUE_BYTES_MAX", 2000)
    node, client = world.nodes[1], world.nodes[1].clients[0]
    assert outcome(world, client, Op.JOIN, b"g") == Code.OK
    credit, node.machine.credit = node.machine.credit, 0
    numbers = [client.request(node.gateway, Op.MCAST, b"g", 2, b"%d:" % i + bytes(1000)) for i in range(4)]
    node.pump(20)
    assert client.refused == {numbers[2]: Code.TRY_AGAIN, numbers[3]: Code.TRY_AGAIN}
    assert client.settled == numbers[0] - 1
    node.machine.credit = credit
    world.settle()
    ordered = [event[-1] for _, event in client.stream if event[1] == ev.MESSAGE]
    assert (ordered, client.settled) == (numbers[:2], numbers[3])


def test_entries_that_come_twice_are_evaluated_once(world: World) -> None:
    """A frame that was on its way while cpg said hello is followed by one that begins before it ends."""
    node, client = world.nodes[1], world.nodes[1].clients[0]
    assert outcome(world, client, Op.JOIN, b"g") == Code.OK
    client.request(node.gateway, Op.MCAST, b"g", 2, b"once")
    replayed: list[bytes] = []
    receive = node.machine.receive_totem

    def receive_twice(frame: bytes) -> None:
        receive(frame)
        replayed.append(frame)
        receive(frame)

    node.machine.receive_totem = receive_twice  # type: ignore[method-assign]
    world.settle()
    assert replayed
    assert node.machine.core.n == node.log.head
    assert [event[6] for _, event in client.stream if event[1] == ev.MESSAGE] == [b"once"]


def test_garbage_from_a_client_ends_its_session_alone(world: World) -> None:
    """A blob that is not a list of requests, or numbered with a gap."""
    node = world.nodes[1]
    for blob in (b"\xc1", b"", b"\x93\x01\x02", b"\x91\x91\x01", b"\x91\x92\x05\x01"):
        client = node.new_client()
        world.settle()
        node.gateway.tell(bus.Request(node.gateway.epoch, [[client.session, 1, 1, blob]]))
        world.settle()
        assert client.cut is not None
        assert client.cut[0] == Code.INVALID_PARAM
    assert outcome(world, node.clients[0], Op.JOIN, b"g") == Code.OK


def test_slow_session_is_warned_then_cut(world: World) -> None:
    """Its group sees it leave; the others go on."""
    node = world.nodes[1]
    slow, good = node.clients[0], node.new_client()
    world.settle()
    for client in (slow, good):
        assert outcome(world, client, Op.JOIN, b"g") == Code.OK
    slow.acknowledge = lambda gateway: None  # type: ignore[method-assign]
    for _ in range(900):
        good.request(node.gateway, Op.MCAST, b"g", 2, bytes(1900))
        for _ in range(4):
            node.submit(9)
            node.deliver(9)
            node.pump(2)
            good.acknowledge(node.gateway)
        if slow.cut:
            break
    assert slow.cut is not None
    assert slow.cut[0] == Code.NO_RESOURCES
    assert [n[1] for e in node.gateway.heard if isinstance(e, bus.Notice) for n in e.notices] == [
        bus.NoticeKind.SLOW, bus.NoticeKind.CUT,
    ]  # fmt: skip
    world.settle()
    memberships = [event for _, event in good.stream if event[1] == ev.MEMBERSHIP]
    assert memberships[-1][5] == [[1, slow.pid, ev.Reason.PROCDOWN]]


def test_session_that_handles_nothing_is_detached_and_may_catch_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log goes on without it. Its events wait, and once it has handled them the log waits for it again."""
    monkeypatch.setattr(ordered_log, "QUEUE_BYTES_MAX", 1 << 16)  # as small beside the log as it is by default
    world = World(1, 1)
    world.form((1,))
    node = world.nodes[1]
    lazy, good = node.new_client(), node.new_client()
    world.settle()
    for client in (lazy, good):
        assert outcome(world, client, Op.JOIN, b"g") == Code.OK
    with monkeypatch.context() as patched:
        patched.setattr(lazy, "acknowledge", lambda gateway: None)
        before = node.log.head
        for _ in range(2500):
            good.request(node.gateway, Op.MCAST, b"g", 2, b"x")
            for _ in range(4):
                node.submit(9)
                node.deliver(9)
                node.pump(2)
                good.acknowledge(node.gateway)
        session = node.machine.clients.table[lazy.session]
        assert lazy.cut is None
        assert session.is_detached
        assert node.log.head >= before + 2500
        assert node.log.pressure < 0.2
    world.settle()
    assert not node.machine.clients.table[lazy.session].is_detached
    assert len([event for _, event in lazy.stream if event[1] == ev.MESSAGE]) == 2500


def test_loss_of_totem_names_what_is_unknown(world: World) -> None:
    """Submitted and not seen ordered: unknown. Not submitted: refused. Joined again afterwards, all works."""
    node, client = world.nodes[1], world.nodes[1].clients[0]
    assert outcome(world, client, Op.JOIN, b"g") == Code.OK
    submitted = client.request(node.gateway, Op.MCAST, b"g", 2, b"1")
    node.pump(9)
    node.machine.credit = 0
    waiting = client.request(node.gateway, Op.MCAST, b"g", 2, b"2")
    node.pump(9)
    node.kill_totem()
    world.form((1,))
    world.settle()
    (lost,) = node.gateway.heard
    assert isinstance(lost, bus.Lost)
    assert lost.sessions == [[client.session, [submitted]]]
    assert client.refused == {waiting: Code.LIBRARY}
    assert submitted in client.unknown
    assert outcome(world, client, Op.MCAST, b"g", 2, b"3") == Code.NOT_EXIST
    assert outcome(world, client, Op.JOIN, b"g") == Code.OK


def test_who_is_not_known_has_to_say_hello(world: World) -> None:
    """Envelopes of a stranger, or after a restart, are answered with AGAIN and do nothing."""
    clients = world.nodes[1].machine.clients
    clients.receive(b"stranger", bus.encode(bus.EventAck(clients.epoch, [])))
    identity, frame = clients.frames.pop()
    assert (identity, bus.decode(frame)) == (b"stranger", Again(clients.epoch))
    for bad in (b"", b"\xc1", b"\x93\x15\x01\x02", bus.encode(bus.GatewayHello(0, 99, 1, 0))):
        with pytest.raises(BusError):
            clients.receive(b"stranger", bad)
    with pytest.raises(BusError):
        world.nodes[1].machine.receive_totem(b"\x92\x03\x01")


def test_missing_request_number(world: World) -> None:
    """A gap means that something was lost: the session has to be opened anew, and nothing is skipped."""
    node, client = world.nodes[1], world.nodes[1].clients[0]
    client.request(node.gateway, Op.JOIN, b"g")
    client.request(node.gateway, Op.MCAST, b"g", 2, b"1")
    client.request(node.gateway, Op.MCAST, b"g", 2, b"2")
    del node.gateway.out[-2]
    world.settle()
    assert [event[6] for _, event in client.stream if event[1] == ev.MESSAGE] == [b"1", b"2"]
    assert not client.refused


def test_checkpoints() -> None:
    """The newest snapshot that all have come to, and how far it is good."""
    points = Checkpoints(0)
    points.changed(5)
    points.add(7, b"seven")
    points.changed(20)
    points.add(22, b"twentytwo")
    assert [points.best(n) for n in (3, 4, 6, 7, 12, 19, 21, 22, 90)] == [3, 4, 4, 7, 12, 19, 19, 22, 90]
    assert (points.take(19), points.take(19), points.take(50)) == (b"seven", None, b"twentytwo")


def test_checkpoints_are_bounded() -> None:
    """That holds however often groups change while one session sleeps."""
    points = Checkpoints(0)
    for n in range(1, 1000):
        points.changed(2 * n)
        points.add(2 * n + 1, b"%d" % n)
    assert len(points.snapshots) <= SNAPSHOTS_MAX
    assert (points.best(5000), points.take(5000)) == (5000, b"999")


def test_replies_are_decoded_strictly() -> None:
    """A reply is three things, and the table of sessions is one."""
    with pytest.raises(BusError):
        decode_replies(b"\x91\x92\x01\x02")
    for bad in (b"\x01", b"\x91\x01", b"\x91\x91\x01", b"\xc1"):
        with pytest.raises(BusError):
            sessions.unpack_table(bad)
