"""Rings over knet with two links, encrypted: two C nodes and Rondo, one C node and two of Rondo, and Rondo alone."""

import itertools
from functools import partial
from pathlib import Path

import pytest

from rondo.config.key import fingerprint, write_key
from rondo.testing.lab.complete_node import CompleteNode
from rondo.testing.lab.corosync import CorosyncNode
from rondo.testing.lab.netns import Lab
from rondo.testing.lab.ring_config import KnetConfig
from rondo.testing.lab.ring_nodes import Cluster, RingNode
from rondo.testing.lab.rondo_node import RondoNode
from rondo.testing.lab.waiting import wait_for
from tests.interop import scenarios
from tests.interop.cpg_member import CpgMember
from tests.interop.rondo_member import RondoMember

pytestmark = pytest.mark.namespaces

NO_LINKS = r"\[KNET *\] host: host: \d+ has no active links"
"""At the start of a C node, and where a node has gone."""
c_nodes = partial(pytest.param, marks=pytest.mark.corosync)
each_mixture = pytest.mark.parametrize(
    "c", [c_nodes((1, 2), id="CCR"), c_nodes((1,), id="CRR"), pytest.param((), id="RRR")]
)
SIZES = [*(1 + size * 7 % 3000 for size in range(1000)), 100_000, 300_000]


def _cluster(lab: Lab, tmp_path: Path, c: tuple[int, ...], **totem: str | int) -> Cluster:
    config = KnetConfig.of_lab(lab, tmp_path, **totem)
    cluster = Cluster(
        CorosyncNode(host, config) if number in c else RondoNode(host, config) for number, host in lab.hosts.items()
    )
    cluster.start()
    return cluster


def _links_up(lab: Lab, cluster: Cluster, c: tuple[int, ...]) -> bool:
    """Whether every node says that every link to every other one is up."""
    for number, node in cluster.nodes.items():
        if number in c:
            said = lab.host(number).run(["corosync-cfgtool", "-n"]).stdout
            if said.count("enabled connected") != 2 * (len(cluster.nodes) - 1):
                return False
        else:
            assert isinstance(node, RondoNode)
            status = node.status()
            if status is None or not all(link["up"] for links in status["links"].values() for link in links):
                return False
    return True


def _link_down(lab: Lab, cluster: Cluster, c: tuple[int, ...], unplugged: int, link: int) -> bool:
    """Whether every other node says that its link to this one is down."""
    for number, node in cluster.nodes.items():
        if number == unplugged:
            continue
        if number in c:
            said = lab.host(number).run(["corosync-cfgtool", "-n"]).stdout
            if f"->{lab.host(unplugged).address_of_link(link)}) enabled mtu" not in said:
                return False
        else:
            assert isinstance(node, RondoNode)
            status = node.status()
            if status is None or status["links"][str(unplugged)][link]["up"]:
                return False
    return True


@each_mixture
def test_all_links_come_up(lab: Lab, tmp_path: Path, c: tuple[int, ...]) -> None:
    cluster = _cluster(lab, tmp_path, c)
    wait_for(partial(_links_up, lab, cluster, c), bool, "all links up", 20)
    assert cluster.suspicious(NO_LINKS) == {}


@each_mixture
@pytest.mark.slow
def test_a_killed_node_is_missed_and_comes_back(lab: Lab, tmp_path: Path, c: tuple[int, ...]) -> None:
    cluster = _cluster(lab, tmp_path, c)
    for victim in (1, 3):
        scenarios.kill_and_restart(cluster, victim)
    assert cluster.suspicious(NO_LINKS) == {}


@each_mixture
def test_a_node_leaves_with_a_word_and_returns(lab: Lab, tmp_path: Path, c: tuple[int, ...]) -> None:
    cluster = _cluster(lab, tmp_path, c)
    scenarios.leave_and_return(cluster, 3)
    assert cluster.suspicious(NO_LINKS) == {}


@each_mixture
@pytest.mark.slow
def test_a_cable_may_be_pulled(lab: Lab, tmp_path: Path, c: tuple[int, ...]) -> None:
    """Each in turn, at each node: all stay in one ring, and the links come back. Both: a partition, and a ring again.

    Among Rondo nodes it is the same ring. C Corosync takes many seconds to see that a link is dead that has just come
    up, and may form its ring anew meanwhile, of the same members.
    """
    cluster = _cluster(lab, tmp_path, c)
    wait_for(partial(_links_up, lab, cluster, c), bool, "all links up", 20)
    first = cluster.wait_ring(1, 2, 3)
    for number, link in itertools.product((1, 3), (0, 1)):
        lab.unplug(number, link)
        wait_for(partial(_link_down, lab, cluster, c, number, link), bool, "everybody to see it", 20)
        found = cluster.wait_ring(1, 2, 3)
        assert found == first or c
        lab.plug(number, link)
        wait_for(partial(_links_up, lab, cluster, c), bool, "all links up again", 20)
    for link in (0, 1):
        lab.unplug(3, link)
    cluster.wait_ring(1, 2)
    cluster.wait_ring(3)
    for link in (0, 1):
        lab.plug(3, link)
    assert cluster.wait_ring(1, 2, 3) != first
    assert cluster.suspicious(NO_LINKS) == {}


@pytest.mark.corosync
@pytest.mark.parametrize(
    "totem",
    [
        {"link_mode": "active"},
        {"link_mode": "rr"},
        {"knet_compression_model": "zlib", "knet_compression_level": 6},
        {"crypto_cipher": "none"},
    ],
    ids=lambda each: "-".join(map(str, each.values())),
)
@pytest.mark.slow
def test_messages_have_one_order_everywhere(lab: Lab, tmp_path: Path, totem: dict[str, str | int]) -> None:
    """From the C node and from Rondo's, in each way that links and packets can be used."""
    config = KnetConfig.of_lab(lab, tmp_path, **totem)
    cluster = Cluster(
        [CorosyncNode(lab.host(1), config), *(CompleteNode(lab.host(number), config) for number in (2, 3))]
    )
    cluster.start()
    members: list[CpgMember] = [CpgMember(lab.host(1), "bank")]
    members += [RondoMember(lab.host(number), "bank") for number in (2, 3)]
    for member in members:
        member.wait_members(*members)
    for member in members:
        member.send("m", SIZES)
    messages = [member.wait_messages(len(members) * len(SIZES), 60.0) for member in members]
    assert messages[0] == messages[1] == messages[2]
    assert cluster.suspicious(NO_LINKS) == {}


DIGEST = (r"\[KNET *\] \w*crypto: Digest does not match", r"\[KNET *\] rx: Unable to decrypt packet")
"""C nodes among themselves say this too, of packets that cross the change."""


@pytest.mark.parametrize("c", [c_nodes((1, 2), id="CCR"), c_nodes((1,), id="CRR")])
@pytest.mark.slow
def test_corosync_changes_the_key_under_traffic(lab: Lab, tmp_path: Path, c: tuple[int, ...]) -> None:
    """`corosync-cfgtool -R` on a C node after the key file was replaced; twice. The ring stays, nothing is lost."""
    config = KnetConfig.of_lab(lab, tmp_path)
    cluster = Cluster(
        CorosyncNode(host, config) if number in c else CompleteNode(host, config) for number, host in lab.hosts.items()
    )
    cluster.start()
    members: list[CpgMember] = [
        (CpgMember if number in c else RondoMember)(host, "bank") for number, host in lab.hosts.items()
    ]
    for member in members:
        member.wait_members(*members)
    ring = cluster.wait_ring(1, 2, 3)
    key_file, rondo = Path(config.key_file), [node for number, node in cluster.nodes.items() if number not in c]
    for _ in range(2):
        for member in members:
            member.send("m", SIZES)
        key_file.unlink()
        new = write_key(key_file)
        assert "Done" in lab.host(1).run(["corosync-cfgtool", "-R"]).stdout
        wanted = [[fingerprint(new)]] * len(rondo)
        wait_for(partial(_keys_of, rondo), wanted.__eq__, "the new key alone", 20)
    messages = [member.wait_messages(2 * len(members) * len(SIZES), 60.0) for member in members]
    assert messages[0] == messages[1] == messages[2]
    assert cluster.wait_ring(1, 2, 3) == ring
    assert cluster.suspicious(NO_LINKS, *DIGEST) == {}


def _keys_of(nodes: list[RingNode]) -> list[list[str]]:
    """Fingerprints of the valid keys of each Rondo node."""
    found = []
    for node in nodes:
        assert isinstance(node, CompleteNode)
        status = node.service_status("totem")
        found.append(status["security"]["fingerprints"] if status is not None else [])
    return found
