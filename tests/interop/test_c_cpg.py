"""Process groups of C nodes as the test client sees them: proof that the client reports what libcpg delivers."""

from collections.abc import Mapping

import pytest

from rondo.testing.lab.corosync import CorosyncNode
from rondo.testing.lab.netns import Lab
from rondo.testing.lab.ring_config import PATIENT, RingConfig
from rondo.testing.lab.ring_nodes import Cluster
from rondo.testing.lab.waiting import wait_for
from tests.interop.cpg_member import CpgMember, expected_messages

pytestmark = [pytest.mark.corosync, pytest.mark.namespaces]

CS_OK = 1
TIMEOUT_S = 60.0
# Empty, small, around one packet, and longer than one totem message: the library cuts the last in parts.
SIZES = [0, 1, 100, 1380, 1400, 1500, 20_000, 1_000_000, 3_000_000]


@pytest.fixture
def cluster(lab: Lab) -> Cluster:
    """Three C nodes in a ring."""
    return c_cluster(lab, PATIENT)


def c_cluster(lab: Lab, totem: Mapping[str, str | int]) -> Cluster:
    config = RingConfig.of_lab(lab, "udpu", totem=totem)
    cluster = Cluster(CorosyncNode(host, config) for host in lab.hosts.values())
    cluster.start()
    return cluster


def test_members_join_leave_and_die(lab: Lab, cluster: Cluster) -> None:
    first = CpgMember(lab.host(1), "bank")
    first.wait_members(first)
    second = CpgMember(lab.host(2), "bank")
    joined = first.wait_members(first, second)
    assert joined["joined"] == [[*second.address, "join"]]
    assert joined["left"] == []
    second.tell(do="leave")
    assert first.wait_members(first)["left"] == [[*second.address, "leave"]]
    second.tell(do="quit")
    assert second.wait_end() == 0
    third = CpgMember(lab.host(3), "bank")
    first.wait_members(first, third)
    third.kill()
    assert first.wait_members(first)["left"] == [[*third.address, "procdown"]]
    first.tell(do="members")
    assert first.wait_answer("members") == {
        "event": "answer",
        "do": "members",
        "result": CS_OK,
        "members": [first.address],
    }
    first.tell(do="quit")
    assert first.wait_end() == 0
    assert cluster.suspicious() == {}


def test_messages_arrive_whole_and_in_one_order(lab: Lab, cluster: Cluster) -> None:
    members = [CpgMember(lab.host(number), "bank") for number in (1, 2, 3)]
    for member in members:
        member.wait_members(*members)
    for member, tag in zip(members, "abc", strict=True):
        member.send(tag, SIZES)
    seen = [member.wait_messages(3 * len(SIZES)) for member in members]
    assert seen[0] == seen[1] == seen[2]
    for member, tag in zip(members, "abc", strict=True):
        from_member = [message for message in seen[0] if message["node"] == member.host.number]
        assert from_member == expected_messages(member, tag, SIZES)
        assert member.wait_answer("send")["result"] == CS_OK
    assert cluster.suspicious() == {}


def test_the_death_of_a_node_is_told_to_the_group(lab: Lab) -> None:
    cluster = c_cluster(lab, {})
    survivor, lost = CpgMember(lab.host(1), "bank"), CpgMember(lab.host(3), "bank")
    survivor.wait_members(survivor, lost)
    cluster.nodes[3].kill()
    ring = cluster.wait_ring(1, 2)
    assert survivor.wait_members(survivor)["left"] == [[*lost.address, "nodedown"]]
    told = {"event": "ring", "representative": 1, "sequence": ring.sequence, "members": [1, 2]}
    # The library delivers it after the change of the group.
    wait_for(lambda: survivor.events("ring"), lambda seen: told in seen, "the ring is told", TIMEOUT_S)
    assert lost.wait_end() == 1
    assert lost.events()[-1]["event"] == "disconnected"
    assert cluster.suspicious() == {}
