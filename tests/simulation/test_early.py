"""A dead member is given up before the consensus time-out: it answers no join, or the host reports its death."""

from __future__ import annotations

from typing import Any

import pytest

from services.totem.ring.events import GatherReason
from services.totem.ring.options import consensus_ms, token_hold_ms, token_retransmit_ms
from tests.simulation.cluster import Cluster

TOKEN_MS = 3000
JOINS_MS = 50
DEFAULTS: dict[str, Any] = {
    "token_timeout_ms": TOKEN_MS,
    "token_retransmit_ms": token_retransmit_ms(TOKEN_MS),
    "token_hold_ms": token_hold_ms(token_retransmit_ms(TOKEN_MS)),
    "consensus_timeout_ms": consensus_ms(TOKEN_MS),
    "join_timeout_ms": JOINS_MS,
    "merge_timeout_ms": 200,
    "seqno_unchanged_const": 30,
}


def reasons(cluster: Cluster, *nodes: int) -> list[int]:
    """Why these nodes entered Gather, in order."""
    return [e["reason"] for e in cluster.events("state") if e["state"] == "gather" and e["node"] in nodes]


def test_a_silent_member_is_given_up_early() -> None:
    cluster = Cluster(4, **DEFAULTS)
    cluster.form()
    cluster.crash(2)
    took_ms = cluster.expect_ring(1, 3, 4)
    assert TOKEN_MS - DEFAULTS["token_hold_ms"] < took_ms < TOKEN_MS + 500 + 2 * JOINS_MS
    assert GatherReason.CONSENSUS_EARLY in reasons(cluster, 1, 3, 4)
    cluster.finish()


def test_each_side_of_a_cut_goes_on_early_and_they_merge() -> None:
    cluster = Cluster(3, **DEFAULTS)
    cluster.form()
    cluster.partition((1, 2), (3,))
    began_ns = cluster.world.now()
    cluster.expect_ring(1, 2)
    cluster.expect_ring(3)
    assert cluster.world.now() - began_ns < (TOKEN_MS + 1000) * 1_000_000
    cluster.heal()
    assert cluster.expect_ring(1, 2, 3) < 500
    cluster.finish()


def test_early_consensus_can_be_switched_off() -> None:
    cluster = Cluster(3, **DEFAULTS, consensus_early_ms=0)
    cluster.form()
    cluster.crash(2)
    took_ms = cluster.expect_ring(1, 3)
    assert took_ms > DEFAULTS["consensus_timeout_ms"]
    assert GatherReason.CONSENSUS_EARLY not in reasons(cluster, 1, 3)
    cluster.finish()


def test_a_node_that_only_some_hear_does_not_keep_the_others_from_working() -> None:
    """Node 3 is no member. Node 1 cannot hear it, but learns of it from the joins of node 2."""
    cluster = Cluster(3, **DEFAULTS)
    cluster.start(1, 2)
    cluster.expect_ring(1, 2)
    cluster.block(3, 1)
    cluster.start(3)
    cluster.run(100)
    assert cluster.expect_ring(1, 2) < 600
    cluster.heal()
    cluster.expect_ring(1, 2, 3)
    cluster.finish()


def test_patience_doubles_with_each_early_failure_up_to_consensus() -> None:
    cluster = Cluster(3, **DEFAULTS)
    cluster.form()
    waits_ms = []
    for _ in range(5):
        cluster.freeze(2)
        took_ms = cluster.expect_ring(1, 3)
        waits_ms.append(took_ms)
        cluster.thaw(2)
        cluster.expect_ring(1, 2, 3)
        cluster.run(500)
    for wait_ms, patience_ms in zip(waits_ms, (500, 1000, 2000, 3600, 3600), strict=True):
        assert patience_ms <= wait_ms - TOKEN_MS + DEFAULTS["token_hold_ms"] < patience_ms + 700, waits_ms
    cluster.finish()


def test_a_node_that_answers_too_slowly_for_the_first_patience_stays() -> None:
    """Node 2 runs for a moment every 1.2 s. At first the others exclude it, but no more when patience has doubled."""
    cluster = Cluster(3, **DEFAULTS, seed=1)
    cluster.form()
    for _ in range(40):
        cluster.freeze(2)
        cluster.run(1200)
        cluster.thaw(2)
        cluster.run(20)
        cluster.reform(1)
    assert reasons(cluster, 1, 3).count(GatherReason.CONSENSUS_EARLY) <= 4
    cluster.run(500)
    cluster.finish()


def test_a_pause_of_its_own_is_nobody_elses_silence() -> None:
    """While a node is not scheduled, the others' answers wait in its sockets. It must not take them for silent."""
    cluster = Cluster(3, **DEFAULTS, host={"wake_latency_ns": 1_000_000})
    cluster.form()
    cluster.reform(1)
    cluster.lose(count=3)
    cluster.freeze(1)
    cluster.run(1400)
    cluster.thaw(1)
    cluster.expect_ring(1, 2, 3)
    assert GatherReason.CONSENSUS_EARLY not in reasons(cluster, 1)
    cluster.finish()


@pytest.mark.parametrize("told", [(1,), (3,), (1, 3, 4)])
def test_a_known_death_needs_no_time_out(told: tuple[int, ...]) -> None:
    cluster = Cluster(4, **DEFAULTS)
    cluster.form()
    cluster.send(3, *[100] * 20)
    cluster.crash(2)
    for node in told:
        cluster.member_dead(node, 2)
    assert cluster.expect_ring(1, 3, 4) < 20
    assert GatherReason.MEMBER_DEAD in reasons(cluster, *told)
    cluster.finish()


def test_who_is_dead_is_known_while_a_ring_is_formed() -> None:
    cluster = Cluster(3, **DEFAULTS)
    cluster.form()
    cluster.reform(1)
    cluster.run(0.5)
    cluster.crash(3)
    cluster.run(1)
    cluster.member_dead(1, 3)
    assert cluster.expect_ring(1, 2) < 20
    cluster.finish()


def test_a_member_that_is_not_dead_comes_back() -> None:
    cluster = Cluster(3, **DEFAULTS)
    cluster.form()
    cluster.member_dead(1, 3)
    cluster.run(50)
    assert cluster.expect_ring(1, 2, 3) < 1500
    cluster.finish()


def test_a_death_that_changes_nothing_is_not_told_to_others() -> None:
    cluster = Cluster(3, **DEFAULTS)
    cluster.form()
    before = len(cluster.events("state"))
    for dead in (1, 99):
        cluster.member_dead(1, dead)
    cluster.run(50)
    assert len(cluster.events("state")) == before
    cluster.finish()


def test_a_healed_cut_is_found_whatever_an_idle_ring_is_doing() -> None:
    """An idle ring holds its token for longer than the merge time-out. It must announce itself all the same."""
    for phase_ms in range(0, 900, 90):
        cluster = Cluster(3, **DEFAULTS)
        cluster.form()
        cluster.partition((1, 2), (3,))
        cluster.expect_ring(1, 2)
        cluster.expect_ring(3)
        cluster.run(1000 + phase_ms)
        cluster.heal()
        assert cluster.expect_ring(1, 2, 3) < 300
        cluster.finish()
