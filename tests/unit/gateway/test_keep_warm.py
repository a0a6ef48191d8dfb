"""The gateway's own client keeps a message's way warm, is in nobody's way, and comes back from whatever goes wrong.

The first tests have a gateway in small, in the time that the test says; the last ones a real one in real time.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import rondo
from rondo.ipc.control import ask
from rondo.protocol import events
from rondo.protocol.client_gateway import VERSION, Kind, encode
from rondo.protocol.codes import Code
from rondo.protocol.envelope import pack
from rondo.protocol.requests import Op
from services.ipc_gateway.keep_warm import ACK_S, AFTER_S, INTERVAL_S, NAME, NEVER_S, PAYLOAD, RETRY_S, group_of
from tests.unit.gateway.conftest import GatewayProcess, StartGateway, eventually
from tests.unit.gateway.loopback import Loopback
from tests.unit.gateway.small_gateway import MOMENT_S, NODE, Node


@pytest.fixture
def node(run_dir: Path) -> Iterator[Node]:
    """The client that keeps the way warm, and the gateway in small that it is a client of."""
    node = Node(run_dir)
    yield node
    node.close()


def test_nothing_is_sent_before_a_client_has_sent_something(node: Node) -> None:
    node.after(60.0)
    assert node.heard == []
    assert node.keep_warm.due_s == NEVER_S
    assert node.keep_warm.warm_ups == 0


def test_warm_ups_come_every_two_milliseconds_for_a_second_after_the_last_request(node: Node) -> None:
    node.client_sends()
    node.after(10.0)
    hello, *others = node.times_of(Kind.HELLO, Kind.REQUEST)
    assert [hello, *others] == pytest.approx([INTERVAL_S * n for n in range(1, len(others) + 2)])
    assert others[-1] == pytest.approx(AFTER_S, abs=2 * INTERVAL_S)
    assert others[-1] < AFTER_S
    assert node.keep_warm.warm_ups == len(others)
    assert node.keep_warm.due_s == NEVER_S


def test_every_request_of_a_client_prolongs_it(node: Node) -> None:
    node.client_sends()
    node.after(0.9)
    node.client_sends()
    node.after(10.0)
    times = node.times_of(Kind.REQUEST)
    assert times[-1] == pytest.approx(0.9 + AFTER_S, abs=2 * INTERVAL_S)
    assert max(later - earlier for earlier, later in itertools.pairwise(times)) < 2 * INTERVAL_S + MOMENT_S


def test_warm_ups_begin_again_with_the_session_that_there_is(node: Node) -> None:
    node.warm()
    node.after(60.0)
    count = len(node.asked())
    node.client_sends()
    node.after(0.1)
    assert len(node.asked()) > count + 10
    assert {each.op for each in node.asked()} == {Op.MCAST}
    assert node.times_of(Kind.HELLO, Kind.BYE) == []


def test_a_warm_up_is_a_message_to_a_group_in_which_nobody_else_is(node: Node) -> None:
    node.client_sends()
    node.after(0.1)
    assert node.heard[0].kind == Kind.HELLO
    assert node.heard[0].epoch == 0
    assert node.heard[0].fields == [VERSION, 0, NAME, None]
    join, *warm_ups = node.asked()
    assert (join.epoch, join.number, join.op, join.group) == (node.epoch, 1, Op.JOIN, b"rondo.lap.3")
    assert [each.number for each in warm_ups] == list(range(2, len(warm_ups) + 2))
    assert {(each.op, each.group, each.arguments[1]) for each in warm_ups} == {(Op.MCAST, group_of(NODE), PAYLOAD)}


def test_its_own_requests_are_not_taken_for_a_clients(node: Node) -> None:
    """Also if the gateway comes to read them only later, as while cpg takes nothing."""
    node.warm()
    node.after(0.5)
    node.is_reading = False
    node.after(INTERVAL_S)
    node.settle()
    node.is_reading = True
    node.after(10.0)
    # The client sent 0.1 s before what is counted here.
    assert node.times_of(Kind.REQUEST)[-1] <= AFTER_S - 0.1 + MOMENT_S
    assert node.keep_warm.due_s == NEVER_S


@pytest.mark.parametrize("gap_s", [0.0005, 0.001, 0.003, 0.0055])
def test_no_warm_up_is_sent_between_requests_that_come_in_short_intervals(node: Node, gap_s: float) -> None:
    node.warm()
    node.client_sends()
    node.after(gap_s)
    node.client_sends()
    node.heard.clear()
    node.begun_s = node.now_s
    node.after(200 * gap_s, client_sends_every_s=gap_s)
    assert node.times_of(Kind.REQUEST) == []
    node.after(0.1)
    last_s = 200 * gap_s
    assert node.times_of(Kind.REQUEST)[0] == pytest.approx(last_s + max(INTERVAL_S, 1.5 * gap_s))


def test_a_request_that_comes_before_a_warm_up_was_read_counts(node: Node) -> None:
    node.warm()
    node.after(0.5)
    node.is_reading = False
    node.after(INTERVAL_S)
    node.client_sends()
    node.is_reading = True
    node.after(10.0)
    assert node.times_of(Kind.REQUEST)[-1] == pytest.approx(0.5 + AFTER_S, abs=3 * INTERVAL_S)


def test_a_request_that_was_dropped_does_not_hide_those_of_clients(node: Node) -> None:
    """What is sent into an epoch that is over the gateway does not pass on."""
    node.warm()
    node.lose()
    node.after(0.1)
    node.welcome()
    node.after(10.0)
    for _ in range(3):
        warm_ups = node.keep_warm.warm_ups
        node.client_sends()
        node.after(0.1)
        assert node.keep_warm.warm_ups > warm_ups + 10
        node.after(10.0)


def test_an_interval_may_be_half_as_long_again_as_the_one_before(node: Node) -> None:
    node.warm()
    node.client_sends()
    node.after(0.001)
    node.client_sends()
    node.heard.clear()
    for gap_s in (0.0019, 0.0028, 0.0041, 0.0059, 0.0059, 0.0088):
        node.after(gap_s)
        node.client_sends()
    assert node.times_of(Kind.REQUEST) == []


def test_between_requests_in_longer_intervals_there_are_warm_ups(node: Node) -> None:
    node.warm()
    node.after(0.2, client_sends_every_s=0.01)
    assert len(node.times_of(Kind.REQUEST)) >= 20 * 3
    assert node.keep_warm.warm_ups > 20 * 3


def test_a_warm_up_is_acknowledged_by_the_next_one(node: Node) -> None:
    node.warm()
    position = node.head
    node.after(0.1)
    kinds = [each.kind for each in node.heard]
    assert kinds == [Kind.ACK, Kind.REQUEST] * (len(kinds) // 2)
    acknowledged = [each.fields[0] for each in node.heard if each.kind == Kind.ACK]
    assert len(acknowledged) > 10
    assert acknowledged == list(range(position, position + len(acknowledged)))
    assert {each.epoch for each in node.heard} == {node.epoch}


def test_the_last_warm_up_is_acknowledged_after_a_while(node: Node) -> None:
    node.warm()
    node.after(10.0)
    assert node.heard[-1].kind == Kind.ACK
    assert node.heard[-1].fields == [node.head]
    last_warm_up_s, ack_s = node.times_of(Kind.REQUEST)[-1], node.times_of(Kind.ACK)[-1]
    assert ack_s == pytest.approx(last_warm_up_s + ACK_S)


def test_a_warm_up_is_acknowledged_also_while_requests_postpone_the_next_one(node: Node) -> None:
    node.warm()
    node.after(1.0, client_sends_every_s=0.001)
    assert node.times_of(Kind.REQUEST) == []
    assert [each.fields for each in node.heard] == [[node.head]]
    assert node.times_of(Kind.ACK) == pytest.approx([ACK_S])


def test_who_is_a_member_already_goes_on_with_messages(node: Node) -> None:
    node.client_sends()
    node.after(INTERVAL_S)
    assert [each.kind for each in node.heard] == [Kind.HELLO]
    node.is_member = True
    node.after(0.1)
    assert [each.op for each in node.asked()[:4]] == [Op.JOIN, Op.MCAST, Op.MCAST, Op.MCAST]
    assert node.keep_warm.warm_ups > 10
    assert node.times_of(Kind.BYE) == []


def test_who_is_no_member_any_more_joins_again(node: Node) -> None:
    node.warm()
    node.is_member = False
    node.after(0.1)
    assert [each.op for each in node.asked()[:4]] == [Op.MCAST, Op.JOIN, Op.MCAST, Op.MCAST]
    assert {each.op for each in node.asked()[2:]} == {Op.MCAST}
    assert node.times_of(Kind.HELLO, Kind.BYE) == []


def test_whose_message_had_no_effect_joins_again(node: Node) -> None:
    node.warm()
    warm_ups = node.keep_warm.warm_ups
    node.fails_next = Code.NOT_EXIST
    node.after(INTERVAL_S)
    assert node.keep_warm.warm_ups == warm_ups
    failed_at = node.head
    node.after(0.1)
    assert [each.op for each in node.asked()[:4]] == [Op.MCAST, Op.JOIN, Op.MCAST, Op.MCAST]
    assert [failed_at] in [each.fields for each in node.heard if each.kind == Kind.ACK]
    assert node.times_of(Kind.HELLO, Kind.BYE) == []


@pytest.mark.parametrize("is_under_way", [False, True])
def test_it_joins_again_in_the_next_epoch(node: Node, is_under_way: bool) -> None:
    node.warm()
    if is_under_way:
        node.is_silent = True
        node.after(INTERVAL_S)
        node.taken = node.asked()[-1].number
        node.is_silent = False
    node.lose()
    node.after(0.3)
    # What was sent into the old epoch is dropped by the gateway, and nothing follows it.
    assert len(node.asked()) == 1
    warm_ups, taken = node.keep_warm.warm_ups, node.taken
    node.heard.clear()
    node.welcome()
    node.after(0.1)
    join, *others = node.asked()
    assert (join.epoch, join.number, join.op) == (node.epoch, taken + 1, Op.JOIN)
    assert {each.op for each in others} == {Op.MCAST}
    assert node.keep_warm.warm_ups > warm_ups + 10
    assert node.times_of(Kind.HELLO, Kind.BYE) == []


@pytest.mark.parametrize("is_under_way", [False, True])
def test_it_goes_on_after_what_was_taken(node: Node, is_under_way: bool) -> None:
    """The gateway says WELCOME again when cpg was started again, and expects the next number."""
    node.warm()
    if is_under_way:
        node.is_silent = True
        node.after(INTERVAL_S)
        node.is_silent = False
        node.heard.clear()
    node.welcome(taken=4000)
    node.after(0.1)
    assert [each.number for each in node.asked()[:3]] == [4001, 4002, 4003]
    assert {each.op for each in node.asked()} == {Op.MCAST}
    assert node.times_of(Kind.HELLO, Kind.BYE) == []


def test_a_welcome_of_another_epoch_alone_makes_it_join(node: Node) -> None:
    """LOST may have been lost with the process that was to say it."""
    node.warm()
    node.is_member = False
    node.welcome(epoch=8, taken=0)
    node.after(0.1)
    assert [(each.epoch, each.number, each.op) for each in node.asked()[:2]] == [(8, 1, Op.JOIN), (8, 2, Op.MCAST)]


def test_after_the_gateways_bye_it_says_hello_a_second_later(node: Node) -> None:
    node.warm()
    node.session = None
    node.say(Kind.BYE, Code.QUEUE_FULL, "it does not acknowledge")
    node.after(RETRY_S - 0.001, client_sends_every_s=0.1)
    assert node.heard == []
    warm_ups = node.keep_warm.warm_ups
    node.after(0.2, client_sends_every_s=0.1)
    assert node.times_of(Kind.HELLO) == pytest.approx([RETRY_S])
    assert [(each.number, each.op) for each in node.asked()[:2]] == [(1, Op.JOIN), (2, Op.MCAST)]
    assert node.keep_warm.warm_ups > warm_ups + 10


def test_after_the_gateways_bye_it_says_nothing_while_there_are_no_clients(node: Node) -> None:
    node.warm()
    node.session = None
    node.say(Kind.BYE, Code.QUEUE_FULL, "it does not acknowledge")
    node.after(60.0)
    assert node.heard == []
    assert node.keep_warm.due_s == NEVER_S
    node.client_sends()
    node.after(0.1)
    assert node.times_of(Kind.HELLO) == pytest.approx([60.0 + INTERVAL_S])
    assert node.is_member


def test_a_warm_up_that_never_comes_back_is_given_up(node: Node) -> None:
    node.warm()
    node.is_silent = True
    node.after(INTERVAL_S)
    assert [each.kind for each in node.heard] == [Kind.ACK, Kind.REQUEST]
    node.after(RETRY_S - 0.001, client_sends_every_s=0.1)
    assert [each.kind for each in node.heard] == [Kind.ACK, Kind.REQUEST]
    node.is_silent = False
    node.after(0.002, client_sends_every_s=0.1)
    assert [each.kind for each in node.heard[2:]] == [Kind.BYE]
    assert node.times_of(Kind.BYE) == pytest.approx([node.asked()[0].at_s - node.begun_s + RETRY_S])
    warm_ups = node.keep_warm.warm_ups
    node.after(1.5, client_sends_every_s=0.1)
    assert node.times_of(Kind.HELLO) == pytest.approx([node.times_of(Kind.BYE)[0] + RETRY_S])
    assert [(each.number, each.op) for each in node.asked()[1:3]] == [(1, Op.JOIN), (2, Op.MCAST)]
    assert node.keep_warm.warm_ups > warm_ups + 10


def test_a_hello_that_is_not_answered_is_said_again(node: Node) -> None:
    """As long as the node is in no ring."""
    node.is_silent = True
    node.after(3.5, client_sends_every_s=0.1)
    # A second for the answer, a second until it begins anew.
    hello_s = 0.1 + INTERVAL_S
    assert [each.kind for each in node.heard] == [Kind.HELLO, Kind.BYE, Kind.HELLO, Kind.BYE]
    assert node.times_of(Kind.HELLO, Kind.BYE) == pytest.approx([hello_s + n * RETRY_S for n in range(4)])
    node.is_silent = False
    node.after(1.0, client_sends_every_s=0.1)
    assert node.keep_warm.warm_ups > 10


def test_a_hello_that_is_refused_is_not_said_all_the_time(node: Node) -> None:
    node.is_silent = True
    node.client_sends()
    node.after(INTERVAL_S)
    node.say(Kind.BYE, Code.NO_RESOURCES, "too many sessions")
    node.after(RETRY_S, client_sends_every_s=0.01)
    assert len(node.times_of(Kind.HELLO)) == 1
    node.is_silent = False
    node.after(2.0, client_sends_every_s=0.01)
    assert node.keep_warm.warm_ups > 10


def test_after_a_broken_connection_it_begins_anew(node: Node) -> None:
    node.warm()
    node.die_and_come_back()
    node.after(RETRY_S - 0.001, client_sends_every_s=0.1)
    assert node.heard == []
    warm_ups = node.keep_warm.warm_ups
    node.after(0.2, client_sends_every_s=0.1)
    assert node.heard[0].kind == Kind.HELLO
    assert node.heard[0].epoch == 0
    assert [(each.number, each.op) for each in node.asked()[:2]] == [(1, Op.JOIN), (2, Op.MCAST)]
    assert node.keep_warm.warm_ups > warm_ups + 10


GARBAGE = {
    "nothing": b"",
    "not msgpack": b"\xc1",
    "no array": pack("welcome"),
    "no epoch": pack([int(Kind.WELCOME)]),
    "unknown kind": pack([99, 7]),
    "a client's kind": encode(Kind.HELLO, 7, VERSION, 0, "", None),
    "a welcome of a wrong shape": encode(Kind.WELCOME, 7, VERSION),
    "events that are not msgpack": encode(Kind.EVENTS, 7, 101, 101, b"\xc1"),
    "events that are none": encode(Kind.EVENTS, 7, 101, 101, pack([[101]])),
    "an event of a wrong shape": encode(Kind.EVENTS, 7, 101, 101, pack([[101, events.MESSAGE]])),
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
def test_garbage_makes_it_begin_anew(node: Node, garbage: bytes) -> None:
    node.warm()
    node.say_bytes(garbage)
    node.after(RETRY_S - 0.001, client_sends_every_s=0.1)
    # The gateway knows the session still, and gives it another one after its BYE.
    assert [each.kind for each in node.heard] == [Kind.BYE]
    warm_ups = node.keep_warm.warm_ups
    node.after(0.2, client_sends_every_s=0.1)
    assert [each.kind for each in node.heard[:2]] == [Kind.BYE, Kind.HELLO]
    assert [(each.number, each.op) for each in node.asked()[:2]] == [(1, Op.JOIN), (2, Op.MCAST)]
    assert node.keep_warm.warm_ups > warm_ups + 10


# -- a real gateway --------------------------------------------------------------------------------------------------


class Warmed:
    """A gateway process, and what its status says of warm-up messages."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self.gateway = gateway
        eventually(lambda: "Waiting for clients" in gateway.log.read_text())

    def status(self) -> dict[str, Any]:
        return ask(self.gateway.run_dir, "ipc_gateway", "status", timeout=20)

    def warm_ups(self) -> int:
        return int(self.status()["counters"]["laps"])

    def is_listed(self) -> bool:
        return NAME in [each["name"] for each in self.status()["sessions"]]

    def see_more_warm_ups(self, cluster: rondo.Cluster) -> None:
        """Whatever happened before, warm-up messages come again while a client uses the node."""
        before = self.warm_ups()

        def is_warm() -> bool:
            cluster.cpg.groups(timeout=60)
            time.sleep(0.02)
            return self.warm_ups() > before + 10

        eventually(is_warm)


@pytest.fixture
def warmed(loopback: Loopback, start_gateway: StartGateway) -> Warmed:
    """A gateway with low_latency: yes."""
    return Warmed(start_gateway(low_latency=True))


def test_a_gateway_makes_warm_ups_while_clients_use_it(warmed: Warmed, loopback: Loopback) -> None:
    with warmed.gateway.connect() as cluster:
        time.sleep(0.3)
        assert warmed.warm_ups() == 0
        assert not warmed.is_listed()
        warmed.see_more_warm_ups(cluster)
        alone = [{"node": 1, "pid": warmed.gateway.process.pid}]
        groups = [{"group": group_of(1).decode(), "members": alone}]
        eventually(lambda: cluster.cpg.groups(timeout=60, hidden=True) == groups and warmed.is_listed())
        assert cluster.cpg.groups(timeout=60) == []
        with pytest.raises(rondo.InvalidParameter, match="hidden"):
            cluster.cpg.groups(hidden="no")  # type: ignore[arg-type]

        def is_at_rest() -> bool:
            before = warmed.status()["counters"]["requests"]
            time.sleep(0.5)
            return bool(warmed.status()["counters"]["requests"] == before)

        eventually(is_at_rest)
        eventually(lambda: all(not each.outstanding for each in loopback.sessions.values()))
        warmed.see_more_warm_ups(cluster)


def test_warm_ups_outlive_totem(warmed: Warmed, loopback: Loopback) -> None:
    with warmed.gateway.connect() as cluster:
        warmed.see_more_warm_ups(cluster)
        loopback.lose_totem({})
        warmed.see_more_warm_ups(cluster)


def test_warm_ups_outlive_cpg(warmed: Warmed, loopback: Loopback) -> None:
    with warmed.gateway.connect() as cluster:
        warmed.see_more_warm_ups(cluster)
        loopback.stop_serving()
        loopback.serve_again()
        warmed.see_more_warm_ups(cluster)


def test_warm_ups_outlive_a_stall_of_cpg(warmed: Warmed, loopback: Loopback) -> None:
    """For so long that the message under way is given up."""
    with warmed.gateway.connect() as cluster:
        warmed.see_more_warm_ups(cluster)
        begun = warmed.status()["counters"]["sessions"]
        loopback.stall(True)

        def has_begun_anew() -> bool:
            with contextlib.suppress(rondo.Timeout):
                cluster.cpg.groups(timeout=0.05)
            return bool(warmed.status()["counters"]["sessions"] > begun)

        eventually(has_begun_anew)
        loopback.stall(False)
        warmed.see_more_warm_ups(cluster)


def test_without_low_latency_there_are_no_warm_ups(loopback: Loopback, gateway: GatewayProcess) -> None:
    warmed = Warmed(gateway)
    with gateway.connect() as cluster:
        for _ in range(20):
            cluster.cpg.groups(timeout=60)
            time.sleep(0.01)
        assert warmed.warm_ups() == 0
        assert not warmed.is_listed()
        assert len(loopback.sessions) == 1
        assert group_of(1) not in loopback.groups
