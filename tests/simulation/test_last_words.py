"""Last words: the LEAVE that sam sends for a killed totem. Only the ring of which it was a member believes it."""

from __future__ import annotations

from services.totem.ring.events import State
from services.totem.wire.base import Reason
from tests.simulation.cluster import Cluster
from tests.simulation.test_early import DEFAULTS


def test_the_others_go_on_at_once() -> None:
    cluster = Cluster(3, **DEFAULTS)
    cluster.form()
    words = cluster.ring(2).last_words()
    cluster.crash(2)
    for node in (1, 3):
        cluster.world.hosts[node].arrive(words)
    assert cluster.expect_ring(1, 3) < 50
    cluster.finish()


def test_one_who_hears_them_is_enough() -> None:
    cluster = Cluster(4, **DEFAULTS)
    cluster.form()
    words = cluster.ring(1).last_words()
    cluster.crash(1)
    cluster.world.hosts[3].arrive(words)
    assert cluster.expect_ring(2, 3, 4) < 100
    cluster.finish()


def test_those_of_an_earlier_life_are_ignored_while_a_ring_is_being_formed() -> None:
    cluster = Cluster(3, **DEFAULTS)
    cluster.form()
    words = cluster.ring(2).last_words()
    cluster.crash(2)
    cluster.expect_ring(1, 3)
    cluster.start(2)
    cluster.expect_ring(1, 2, 3)
    before = len(cluster.rings(1))
    cluster.reform(1)
    assert cluster.ring(1).state is State.GATHER
    for node in (1, 3):
        cluster.world.hosts[node].arrive(words)
    assert cluster.ring(1).counters.dropped[Reason.OLD_LEAVE] == 1
    cluster.run(50)
    cluster.expect_ring(1, 2, 3)
    assert [tuple(members) for members in cluster.rings(1)[before:]] == [(1, 2, 3)]
    cluster.finish()


def test_a_probe_lets_the_token_of_an_idle_ring_go() -> None:
    cluster = Cluster(3, **DEFAULTS)
    cluster.form()
    cluster.run(5000)
    for node in (1, 3):
        ring, host = cluster.ring(node), cluster.world.hosts[node]
        before = ring.counters.orf_token_rx
        host.call(lambda ring, now_ns: ring.probe(now_ns))
        cluster.run(20)
        assert ring.counters.orf_token_rx >= before + 2
        cluster.run(5000)
    cluster.finish()
