"""SAFE from end to end: a line typed at one node is printed when all have it, or says that it may not be everywhere."""

import json
from contextlib import ExitStack

import pytest

import rondo
from rondo.testing.lab.complete_node import CompleteNode
from rondo.testing.lab.faults import Faults
from rondo.testing.lab.netns import Lab
from rondo.testing.lab.ring_config import RingConfig
from rondo.testing.lab.ring_nodes import Cluster
from rondo.testing.lab.rondo_node import RUN_DIRECTORY
from rondo.testing.lab.waiting import wait_for
from tests.cluster.test_cpg_join import Typist

pytestmark = pytest.mark.namespaces

WAIT_S = 60.0
CALM: dict[str, str | int] = {"token": 5000, "fail_recv_const": 100_000}
"""A busy machine does not break the ring, nor does a node that gets nothing: only what is killed leaves it."""
MESSAGES = 100
GUARANTEES = (rondo.Guarantee.AGREED, rondo.Guarantee.SAFE)
LONG = "x" * 600
# Tokens are shorter, and so pass.
FRAMES_WITH_IT = "udp length > 500"


def messages(typist: Typist) -> list[tuple[str, str]]:
    """(data, configuration) of the messages that were printed."""
    events = [json.loads(line) for line in typist.printed()]
    return [(event["data"], event["configuration"]) for event in events if event["event"] == "message"]


def test_a_line_that_not_all_have_waits_and_is_then_called_transitional(lab: Lab) -> None:
    config = RingConfig.of_lab(lab, "udpu", totem=CALM)
    nodes = {number: CompleteNode(host, config) for number, host in lab.hosts.items()}
    cluster = Cluster(nodes.values())
    cluster.start()
    typists = [Typist(lab.host(1), "--guarantee", "safe"), Typist(lab.host(2))]
    for typist in typists:
        typist.wait_members(*typists)
    typists[0].type(b"all have this")
    for typist in typists:
        typist.wait_message("all have this")

    def sent() -> list[int]:
        """How many messages nodes 1 and 2 have put on the wire."""
        states = [nodes[number].service_status("totem") for number in (1, 2)]
        return [0 if state is None else int(state["counters"]["messages_tx"]) for state in states]

    Faults(lab).cut({1, 2}, {3}, FRAMES_WITH_IT)
    before = sent()  # from here on node 3 keeps the ring, until it is killed
    typists[0].type(LONG.encode())
    wait_for(sent, lambda counts: counts[0] > before[0], "node 1 to send", 60)
    typists[1].type(b"held back")
    wait_for(sent, lambda counts: counts[1] > before[1], "node 2 to send", 60)
    assert [messages(typist) for typist in typists] == [[("all have this", "regular")]] * 2

    nodes[3].kill()
    cluster.wait_ring(1, 2)
    for typist in typists:
        typist.wait_message("held back")
    wanted = [("all have this", "regular"), (LONG, "transitional"), ("held back", "transitional")]
    assert [messages(typist) for typist in typists] == [wanted, wanted]
    typists[0].type(b"all two have this")
    for typist in typists:
        typist.wait_message("all two have this")
        assert messages(typist)[-1] == ("all two have this", "regular")


def test_safe_and_agreed_messages_of_all_come_to_all_in_one_order(lab: Lab) -> None:
    """As a program sends them: every second message SAFE; `ordered` returns when it came back, which says that all
    have it."""
    config = RingConfig.of_lab(lab, "udpu", totem=CALM)
    Cluster(CompleteNode(host, config) for host in lab.hosts.values()).start()
    with ExitStack() as stack:
        endpoints = [f"ipc://{host.path(RUN_DIRECTORY)}/gateway.sock" for host in lab.hosts.values()]
        clients = [stack.enter_context(rondo.connect(endpoint, timeout=WAIT_S)) for endpoint in endpoints]
        groups = [client.cpg.join("bank", timeout=WAIT_S) for client in clients]
        sent = {node: [b"%d %d" % (node, n) + bytes(n * n) for n in range(MESSAGES)] for node in lab.hosts}
        requests = [
            group.mcast(sent[client.node_id][number], guarantee=GUARANTEES[number % 2], timeout=WAIT_S)
            for number in range(MESSAGES)
            for client, group in zip(clients, groups, strict=True)
        ]
        for request in requests:
            request.ordered(WAIT_S)
        came = [take(group, len(requests)) for group in groups]
    one, two, three = [[(message.sender, message.data) for message in each] for each in came]
    assert one == two == three
    for node, data in sent.items():
        assert [message.data for message in came[0] if message.sender.node == node] == data
    assert {message.configuration for each in came for message in each} == {rondo.Configuration.REGULAR}


def take(group: rondo.Group, count: int) -> list[rondo.Message]:
    """The next messages of a group."""
    found: list[rondo.Message] = []
    while len(found) < count:
        event = group.poll(WAIT_S)
        assert event is not None, f"{len(found)} of {count} messages after {WAIT_S} s"
        if isinstance(event, rondo.Message):
            found.append(event)
    return found
