"""Rings over knet with two links, encrypted: two C nodes and Rondo, one C node and two of Rondo, and Rondo alone."""

import itertools
from functools import partial
from pathlib import Path

import pytest

from rondo.testing.lab.netns import Lab
from rondo.testing.lab.ring_config import PATIENT
from rondo.testing.lab.waiting import wait_for
from tests.interop import scenarios
from tests.interop.knet_ring import LINKS_TIMEOUT_S, NO_LINKS, KnetRing

pytestmark = pytest.mark.namespaces

c_nodes = partial(pytest.param, marks=pytest.mark.corosync)
each_mixture = pytest.mark.parametrize(
    "c", [c_nodes((1, 2), id="CCR"), c_nodes((1,), id="CRR"), pytest.param((), id="RRR")]
)
SIZES = [*(1 + size * 7 % 3000 for size in range(1000)), 100_000, 300_000]


@each_mixture
def test_all_links_come_up(lab: Lab, tmp_path: Path, c: tuple[int, ...]) -> None:
    ring = KnetRing(lab, tmp_path, c)
    ring.wait_links_up()
    for number in c:
        ask = partial(lab.host(number).run, ["corosync-cfgtool", "-s"])
        # A link may be down again for a moment if a busy machine holds a node up.
        wait_for(
            lambda: ask().stdout,  # noqa: B023
            lambda said: said.split().count("connected") == 2 * (len(lab.hosts) - 1),
            f"all links connected at {number}",
            LINKS_TIMEOUT_S,
        )
    assert ring.cluster.suspicious(NO_LINKS) == {}


@each_mixture
@pytest.mark.slow
def test_a_killed_node_is_missed_and_comes_back(lab: Lab, tmp_path: Path, c: tuple[int, ...]) -> None:
    ring = KnetRing(lab, tmp_path, c)
    for victim in (1, 3):
        scenarios.kill_and_restart(ring.cluster, victim)
    assert ring.cluster.suspicious(NO_LINKS) == {}


@each_mixture
def test_a_node_leaves_with_a_word_and_returns(lab: Lab, tmp_path: Path, c: tuple[int, ...]) -> None:
    ring = KnetRing(lab, tmp_path, c, totem=PATIENT)
    scenarios.leave_and_return(ring.cluster, 3)
    assert ring.cluster.suspicious(NO_LINKS) == {}


@each_mixture
@pytest.mark.slow
def test_a_cable_may_be_pulled(lab: Lab, tmp_path: Path, c: tuple[int, ...]) -> None:
    """Each in turn, at each node: all stay in one ring, and the links come back. Both: a partition, and a ring again.

    Among Rondo nodes it is the same ring. C Corosync takes many seconds to see that a link is dead that has just come
    up, and may form its ring anew meanwhile, of the same members.
    """
    # Among Rondo nodes the token must outlive the time until a link is seen to be dead, on a busy machine too.
    ring = KnetRing(lab, tmp_path, c, totem={} if c else {"token": 3000})
    ring.wait_links_up()
    first = ring.cluster.wait_ring(1, 2, 3)
    for number, link in itertools.product((1, 3), (0, 1)):
        lab.unplug(number, link)
        ring.wait_link_down(number, link)
        found = ring.cluster.wait_ring(1, 2, 3)
        assert found == first or c
        lab.plug(number, link)
        ring.wait_links_up()
    for link in (0, 1):
        lab.unplug(3, link)
    ring.cluster.wait_ring(1, 2)
    ring.cluster.wait_ring(3)
    for link in (0, 1):
        lab.plug(3, link)
    assert ring.cluster.wait_ring(1, 2, 3) != first
    assert ring.cluster.suspicious(NO_LINKS) == {}


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
    ring = KnetRing(lab, tmp_path, (1,), complete=True, totem={**PATIENT, **totem})
    members = ring.members("bank")
    for member in members:
        member.send("m", SIZES)
    messages = [member.wait_messages(len(members) * len(SIZES), 60.0) for member in members]
    assert messages[0] == messages[1] == messages[2]
    assert ring.cluster.suspicious(NO_LINKS) == {}
