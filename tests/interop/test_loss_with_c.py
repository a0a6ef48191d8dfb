"""Two C Corosync nodes and a complete Rondo node under load while one frame in twenty is lost on every link.

In `make test` that is for some seconds and a few hundred messages. RONDO_LOSS_SECONDS=60 makes it the long form: a
minute, and 5,000 messages from each side.
"""

import os
import time

import pytest

from rondo.testing.lab.complete_node import CompleteNode
from rondo.testing.lab.corosync import CorosyncNode
from rondo.testing.lab.faults import Faults
from rondo.testing.lab.netns import Lab
from rondo.testing.lab.ring_config import PATIENT, RingConfig, Transport
from rondo.testing.lab.ring_nodes import Cluster
from rondo.testing.lab.waiting import wait_for
from tests.cluster.capture import Capture
from tests.interop.test_cpg_with_c import (
    check_histories,
    check_messages,
    join_everywhere,
    mixed_cluster,
    traffic_sizes,
)

pytestmark = [pytest.mark.corosync, pytest.mark.namespaces]

CS_OK = 1
LOSS_PERCENT = 5
LOSS_SECONDS = float(os.environ.get("RONDO_LOSS_SECONDS", "4"))
MESSAGES_EACH_SIDE = 5000 if LOSS_SECONDS >= 60 else 300
ORDERED_WITHIN_S = 60.0
MCAST = 1
RONDO_MAGIC = b"RNDO"


@pytest.mark.parametrize("transport", ["udpu", "udp"] if LOSS_SECONDS >= 60 else ["udpu"])
@pytest.mark.timeout(LOSS_SECONDS + 4 * ORDERED_WITHIN_S)
def test_what_is_sent_while_frames_are_lost_arrives_in_one_order(lab: Lab, transport: Transport) -> None:
    cluster = mixed_cluster(lab, transport, PATIENT)
    members = join_everywhere(lab)
    first, second, ours = members
    sizes = {
        first: traffic_sizes("a", MESSAGES_EACH_SIDE // 2),
        second: traffic_sizes("b", MESSAGES_EACH_SIDE // 2),
        ours: traffic_sizes("c", MESSAGES_EACH_SIDE),
    }
    faults = Faults(lab)
    faults.lose(LOSS_PERCENT)
    end_s = time.monotonic() + LOSS_SECONDS
    for member, tag in zip(members, "abc", strict=True):
        member.send(tag, sizes[member])
    time.sleep(max(0.0, end_s - time.monotonic()))
    assert faults.dropped() > 0
    faults.heal()
    for member in members:
        member.wait_messages(2 * MESSAGES_EACH_SIDE, ORDERED_WITHIN_S)
        assert member.wait_answer("send", ORDERED_WITHIN_S)["result"] == CS_OK
    seen = check_histories(*members, last_joined=ours)
    for member, tag in zip(members, "abc", strict=True):
        check_messages(seen, member, tag, sizes[member])
    assert cluster.suspicious() == {}


def test_c_nodes_do_not_see_by_what_rondo_nodes_know_each_other(lab: Lab) -> None:
    """It is in their ring's first packets, they go through the sync with it, and do not say a word."""
    config = RingConfig.of_lab(lab, "udpu")
    cluster = Cluster(
        CorosyncNode(host, config) if number == 1 else CompleteNode(host, config) for number, host in lab.hosts.items()
    )
    with Capture(lab) as capture:
        cluster.start()
        nodes = [node for node in cluster.nodes.values() if isinstance(node, CompleteNode)]
        states = wait_for(
            lambda: [node.service_status("totem") for node in nodes],
            lambda told: all(each is not None and each["rondo_members"] == [2, 3] for each in told),
            "the Rondo nodes to know each other",
            ORDERED_WITHIN_S,
        )
    assert all(each is not None and not each["accelerated"] for each in states)
    told = [each for each in capture.datagrams() if RONDO_MAGIC in each.payload and each.payload[3] == MCAST]
    assert {each.source for each in told} == {lab.host(2).address, lab.host(3).address}
    assert lab.host(1).address in {each.destination for each in told}
    assert cluster.suspicious() == {}
