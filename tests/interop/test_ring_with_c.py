"""Rondo as the third member of a ring with two C Corosync nodes, and three Rondo nodes: the same things happen to both.

Hosts 1 and 2 have the C nodes, host 3 has Rondo. Corosync's own word decides: its runtime keys must list the Rondo
node, and its log must be free of complaints. `test_c_ring.py` shows the same scenarios with C nodes alone.
"""

from collections.abc import Mapping
from functools import partial

import pytest

from rondo.testing.lab.corosync import CorosyncNode
from rondo.testing.lab.faults import Faults
from rondo.testing.lab.netns import Lab
from rondo.testing.lab.ring_config import PATIENT, RingConfig, Transport
from rondo.testing.lab.ring_nodes import Cluster
from rondo.testing.lab.rondo_node import RondoNode
from tests.interop import scenarios

pytestmark = pytest.mark.namespaces

RONDO_IN_MIXED_RING = 3
each_transport = pytest.mark.parametrize("transport", ["udp", "udpu"])
# A ring with C nodes needs Corosync; three Rondo nodes need only namespaces.
mixed = partial(pytest.param, "mixed", marks=pytest.mark.corosync)
rondo = partial(pytest.param, "rondo")


@pytest.fixture
def cluster(lab: Lab, kind: str, transport: Transport) -> Cluster:
    """Three nodes in one ring: two C nodes and Rondo, or three Rondo nodes."""
    return cluster_of(lab, kind, transport, {})


def cluster_of(lab: Lab, kind: str, transport: Transport, totem: Mapping[str, str | int]) -> Cluster:
    config = RingConfig.of_lab(lab, transport, totem=totem)
    rondo_hosts = {RONDO_IN_MIXED_RING} if kind == "mixed" else set(lab.hosts)
    cluster = Cluster(
        RondoNode(host, config) if number in rondo_hosts else CorosyncNode(host, config)
        for number, host in lab.hosts.items()
    )
    cluster.start()
    return cluster


@each_transport
@pytest.mark.parametrize(("kind", "victim"), [mixed(1), mixed(3), rondo(1)])
def test_a_killed_node_is_missed_and_comes_back(cluster: Cluster, victim: int) -> None:
    scenarios.kill_and_restart(cluster, victim)
    assert cluster.suspicious() == {}


@each_transport
@pytest.mark.parametrize(("kind", "alone"), [mixed(1), mixed(3), rondo(3)])
def test_a_partition_heals(lab: Lab, cluster: Cluster, alone: int) -> None:
    scenarios.partition_and_heal(cluster, Faults(lab), alone)
    assert cluster.suspicious() == {}


@each_transport
@pytest.mark.parametrize(("kind", "leaver"), [mixed(2), mixed(3), rondo(2)])
def test_a_node_leaves_with_a_word_and_returns(lab: Lab, kind: str, transport: Transport, leaver: int) -> None:
    cluster = cluster_of(lab, kind, transport, PATIENT)
    scenarios.leave_and_return(cluster, leaver)
    assert cluster.suspicious() == {}


@each_transport
@pytest.mark.parametrize("kind", [mixed(), rondo()])
def test_a_frozen_node_finds_the_new_ring(cluster: Cluster) -> None:
    scenarios.freeze_and_thaw(cluster, sleeper=3)
    assert cluster.suspicious() == {}


@each_transport
@pytest.mark.parametrize("kind", [mixed()])
def test_c_nodes_list_the_rondo_node_with_its_address(lab: Lab, cluster: Cluster) -> None:
    for number in (1, 2):
        keys = lab.host(number).run(["corosync-cmapctl", "runtime.members"]).stdout
        assert "runtime.members.3.status (str) = joined" in keys
        assert "runtime.members.3.ip (str) = r(0) ip(10.77.0.3)" in keys
    assert cluster.suspicious() == {}


@each_transport
@pytest.mark.parametrize("kind", [mixed()])
def test_a_ring_goes_on_with_one_frame_in_a_hundred_lost(lab: Lab, cluster: Cluster) -> None:
    faults = Faults(lab)
    faults.lose(1)
    scenarios.kill_and_restart(cluster, victim=2)
    faults.heal()
    cluster.wait_ring(1, 2, 3)
    assert cluster.suspicious() == {}
