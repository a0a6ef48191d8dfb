"""Nodes of a `DemoCluster` in one ring of all: its start returns when each is in a ring, which may be its own still."""

from rondo.demo.cluster import DemoCluster
from rondo.testing.lab.waiting import wait_for

ONE_RING_S = 60.0


def start_in_one_ring(cluster: DemoCluster) -> None:
    """Start all nodes. Return when each of them says that all are members of its ring."""
    cluster.start()
    wait_until_one_ring(cluster)


def wait_until_one_ring(cluster: DemoCluster) -> None:
    """Wait until each node says that all are members of its ring."""
    everybody = sorted(cluster.nodes)
    wait_for(
        lambda: [node.members() for node in cluster.nodes.values()],
        lambda found: all(members == everybody for members in found),
        "one ring of all nodes",
        ONE_RING_S,
    )
