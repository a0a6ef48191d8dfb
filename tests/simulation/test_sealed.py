"""Sealed packets in scripted situations: a key changed under traffic, a forgery, a long recording played back."""

from __future__ import annotations

import pytest

from tests.simulation.cluster import Cluster
from tests.simulation.network import Sealed
from tests.simulation.playback import play_back, sealed_cluster, sealing_of
from tests.simulation.trace import SimulationError
from tests.simulation.world import SECOND


def refusals(cluster: Cluster) -> dict[str, int]:
    """What all running nodes have refused so far, by reason."""
    total: dict[str, int] = {}
    for host in cluster.world.hosts.values():
        assert host.life is not None
        for name in ("wrong_key", "replayed", "unknown_boot", "other_cluster", "truncated", "malformed", "no_envelope"):
            total[name] = total.get(name, 0) + host.life.security.counters[name]
    return total


@pytest.mark.parametrize("suite", [("aes256-gcm", "none"), ("aes128", "sha1")], ids="/".join)
def test_no_packet_is_lost_while_the_key_is_changed(suite: tuple[str, str]) -> None:
    """Property F3. Each node takes each step at its own time, under traffic. Nothing is refused or sent again."""
    cluster = sealed_cluster(suite=suite)
    cluster.form()
    cluster.run(500)
    before, rings = refusals(cluster), cluster.rings(1)
    for step in ("install", "use", "remove"):
        for node in (2, 1, 3):
            for sender in cluster.nodes:
                cluster.send(sender, *[200] * 20)
            cluster.run(1.3)
            sealing_of(cluster).change_key(node, step)
        cluster.run(50)
    cluster.settle()
    assert refusals(cluster) == before
    assert cluster.rings(1) == rings
    assert not cluster.events("token_resend")
    assert all(event["retransmitted"] == 0 for event in cluster.events("token_out"))
    cluster.finish()


def test_a_node_that_comes_back_without_the_key_in_use_is_shut_out_until_it_has_it() -> None:
    cluster = sealed_cluster()
    cluster.form()
    cluster.crash(3)
    for step in ("install", "use", "remove"):
        for node in (1, 2):
            sealing_of(cluster).change_key(node, step)
    cluster.expect_ring(1, 2)
    cluster.start(3)
    cluster.run(5_000)
    assert cluster.world.formed((1, 2))
    assert refusals(cluster)["wrong_key"] > 0
    for step in ("install", "use", "remove"):
        sealing_of(cluster).change_key(3, step)
    cluster.expect_ring(1, 2, 3)
    cluster.finish()


def test_a_long_life_played_back_does_nothing_but_count() -> None:
    """One virtual minute is recorded here, and an hour by `make playback`."""
    found = play_back(minutes=1)
    assert found.recorded > 500
    assert found.rings > 3
    assert found.counted >= 2 * found.recorded


def test_a_forgery_that_is_opened_fails_the_run() -> None:
    """A test of the harness: if a node opens a packet that is marked as forged, the run must fail."""
    cluster = sealed_cluster()
    cluster.form()
    cluster.run(1_000)
    life = cluster.world.hosts[2].life
    assert life is not None
    honest = cluster.world.hosts[1].life
    assert honest is not None
    content = honest.security.seal(b"\x70\xc0\x03\x05 made with the key")
    forged = Sealed.of(content, 5, 1, forged=True)
    sealing_of(cluster).note(content)
    with pytest.raises(SimulationError, match="node 2 opened a packet of node 1 that was forged"):
        life.open(forged, lambda frame: None)
    assert cluster.world.now() > SECOND
