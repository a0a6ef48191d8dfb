"""Three C Corosync nodes alone: proof that the laboratory, the faults and the watching of logs are right.

What goes wrong in `test_ring_with_c.py` and not here is Rondo's doing.
"""

from collections.abc import Mapping

import pytest

from rondo.testing.lab.corosync import CorosyncNode
from rondo.testing.lab.faults import Faults
from rondo.testing.lab.netns import Lab
from rondo.testing.lab.ring_config import PATIENT, RingConfig, Transport
from rondo.testing.lab.ring_nodes import Cluster
from rondo.testing.lab.waiting import wait_for
from tests.cluster.capture import Capture
from tests.interop import scenarios

pytestmark = [pytest.mark.corosync, pytest.mark.namespaces]

each_transport = pytest.mark.parametrize("transport", ["udp", "udpu"])
PORT = 5405
MAGIC_AND_VERSION = b"\x70\xc0\x03"
ORF_TOKEN, MCAST, MEMB_JOIN, MEMB_COMMIT_TOKEN = 0, 1, 3, 4


def c_cluster(
    lab: Lab, transport: Transport, *, ipv6: bool = False, totem: Mapping[str, str | int] | None = None
) -> Cluster:
    """Return a cluster of C nodes, not started."""
    config = RingConfig.of_lab(lab, transport, ipv6=ipv6, totem=totem)
    return Cluster(CorosyncNode(host, config) for host in lab.hosts.values())


@each_transport
def test_a_killed_node_is_missed_and_comes_back(lab: Lab, transport: Transport) -> None:
    cluster = c_cluster(lab, transport)
    cluster.start()
    scenarios.kill_and_restart(cluster, victim=3)
    assert cluster.suspicious() == {}


@each_transport
def test_a_partition_heals(lab: Lab, transport: Transport) -> None:
    cluster = c_cluster(lab, transport)
    cluster.start()
    scenarios.partition_and_heal(cluster, Faults(lab), alone=1)
    assert cluster.suspicious() == {}


@each_transport
def test_a_node_leaves_with_a_word_and_returns(lab: Lab, transport: Transport) -> None:
    cluster = c_cluster(lab, transport, totem=PATIENT)
    cluster.start()
    scenarios.leave_and_return(cluster, leaver=2)
    assert cluster.suspicious() == {}


@each_transport
def test_a_frozen_node_finds_the_new_ring(lab: Lab, transport: Transport) -> None:
    cluster = c_cluster(lab, transport)
    cluster.start()
    scenarios.freeze_and_thaw(cluster, sleeper=2)
    assert cluster.suspicious() == {}


@each_transport
def test_a_ring_over_ipv6(lab: Lab, transport: Transport) -> None:
    cluster = c_cluster(lab, transport, ipv6=True)
    assert cluster.start().members == (1, 2, 3)
    assert cluster.suspicious() == {}


@each_transport
def test_the_whole_birth_of_a_ring_is_recorded(lab: Lab, transport: Transport) -> None:
    cluster = c_cluster(lab, transport)
    with Capture(lab) as capture:
        cluster.start()
    datagrams = capture.datagrams(PORT)
    assert {datagram.payload[:3] for datagram in datagrams} == {MAGIC_AND_VERSION}
    assert {datagram.source for datagram in datagrams} == {"10.77.0.1", "10.77.0.2", "10.77.0.3"}
    multicast = {datagram.destination for datagram in datagrams if datagram.destination.startswith("239.")}
    assert len(multicast) == (1 if transport == "udp" else 0)
    kinds = {datagram.payload[3] for datagram in datagrams}
    assert {ORF_TOKEN, MCAST, MEMB_JOIN, MEMB_COMMIT_TOKEN} <= kinds


def test_what_a_c_node_complains_of_is_noticed(lab: Lab) -> None:
    node = CorosyncNode(lab.host(1), RingConfig.of_lab(lab, "udpu"))
    node.start()
    cluster = Cluster([node])
    cluster.wait_ring(1)
    lab.host(1).interface_down()
    complaint = r"bind token socket failed: Cannot assign requested address"
    wait_for(cluster.suspicious, lambda found: complaint in str(found), "the complaint about the interface", 60)
    assert cluster.suspicious(complaint) == {}


def test_an_end_that_the_test_did_not_cause_is_noticed(lab: Lab) -> None:
    cluster = Cluster([CorosyncNode(lab.host(1), RingConfig.of_lab(lab, "udpu"))])
    cluster.start()
    cluster.nodes[1].process.kill()
    with pytest.raises(AssertionError, match="n1 does not run"):
        cluster.wait_ring(1)
    assert cluster.suspicious() == {"n1": ["ended by itself, with exit status -9"]}
