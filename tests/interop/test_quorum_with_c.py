"""Quorum in rings of C Corosync and Rondo nodes: both tools say the same, after whatever happens."""

import pytest

from rondo.testing.lab.complete_node import CompleteNode
from rondo.testing.lab.corosync import CorosyncNode
from rondo.testing.lab.faults import Faults
from rondo.testing.lab.netns import Lab
from rondo.testing.lab.ring_config import RingConfig
from rondo.testing.lab.ring_nodes import Cluster
from tests.interop.votes_shown import Ask, c_tool, check_agree, of_c, of_rondo, rondo, votes

pytestmark = [pytest.mark.corosync, pytest.mark.namespaces]


def test_three_nodes_one_of_them_rondo(lab: Lab) -> None:
    config = RingConfig.of_lab(lab, "udpu", quorum={})
    one, two, three = CorosyncNode(lab.host(1), config), CorosyncNode(lab.host(2), config), CompleteNode(
        lab.host(3), config
    )  # fmt: skip
    cluster = Cluster([one, two, three])
    faults = Faults(lab)
    cluster.start()
    everybody: dict[int, Ask] = {1: of_c, 2: of_c, 3: of_rondo}
    check_agree(lab, everybody, votes(True, 3, 3, 2, (1, 2, 3)))

    two.kill()
    check_agree(lab, {1: of_c, 3: of_rondo}, votes(True, 3, 2, 2, (1, 3)))

    faults.partition({1}, {3})
    check_agree(lab, {1: of_c}, votes(False, 3, 1, 2, (1,)))
    check_agree(lab, {3: of_rondo}, votes(False, 3, 1, 2, (3,)))
    faults.heal()
    check_agree(lab, {1: of_c, 3: of_rondo}, votes(True, 3, 2, 2, (1, 3)))

    two.start()
    check_agree(lab, everybody, votes(True, 3, 3, 2, (1, 2, 3)))

    c_tool(lab.host(1), "-e", "5")
    check_agree(lab, everybody, votes(True, 5, 3, 3, (1, 2, 3)))
    rondo(lab.host(3), "quorum", "expected", "3")
    # Quorum sinks at once: it was lowered by hand.
    check_agree(lab, everybody, votes(True, 3, 3, 2, (1, 2, 3)))

    rondo(lab.host(3), "quorum", "votes", "2", "2")
    check_agree(lab, everybody, votes(True, 4, 4, 3, {1: 1, 2: 2, 3: 1}))
    c_tool(lab.host(2), "-v", "3", "-n", "3")
    check_agree(lab, everybody, votes(True, 6, 6, 4, {1: 1, 2: 2, 3: 3}))

    three.kill()
    check_agree(lab, {1: of_c, 2: of_c}, votes(False, 6, 3, 4, {1: 1, 2: 2}))
    three.start()
    cluster.wait_ring(1, 2, 3)
    for node in (one, two, three):
        assert not node.suspicious(), node.suspicious()
