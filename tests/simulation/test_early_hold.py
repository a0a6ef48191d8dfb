"""The representative holds the token of an idle ring, and any member that wants to send gets it soon."""

from __future__ import annotations

from typing import Any

import pytest

from services.totem.wire.frames import Kind
from tests.simulation.cluster import Cluster
from tests.simulation.world import MS

LONG_HOLD: dict[str, Any] = {
    "token_timeout_ms": 3000, "token_retransmit_ms": 714, "token_hold_ms": 561, "consensus_timeout_ms": 3600,
    "seqno_unchanged_const": 30, "merge_timeout_ms": 200,
}  # fmt: skip


def quiet_ring(*, early: bool = True, **options: Any) -> Cluster:
    cluster = Cluster(3, early_hold=early, accelerated_window=10, **{**LONG_HOLD, **options})
    cluster.form()
    cluster.run(100)
    return cluster


def visits_of_one_message(cluster: Cluster, node: int) -> int:
    before = len(cluster.events("token_out"))
    cluster.send(node, 100)
    cluster.run(100)
    return len(cluster.events("token_out")) - before


def time_until_all_have_it_ms(cluster: Cluster, node: int, *, safe: bool = False) -> float:
    before = len(cluster.events("deliver"))
    began_ns = cluster.world.now()
    cluster.send(node, 100, safe=safe)
    assert cluster.world.run_while(lambda: len(cluster.events("deliver")) < before + 3, 2000, step_ms=0.05)
    return (cluster.world.now() - began_ns) / MS


def test_after_one_rotation_without_news_the_token_rests() -> None:
    cluster = quiet_ring()
    assert visits_of_one_message(cluster, 1) == 1 + 3
    assert cluster.events("token_out", 1)[-1]["held"]
    assert visits_of_one_message(cluster, 2) <= 3 * 3
    cluster.finish()


def tokens_passed_on(cluster: Cluster, node: int) -> int:
    return sum(not event["held"] for event in cluster.events("token_out", node))


def test_the_representative_goes_on_holding_the_token_for_a_moment_after_it_has_sent() -> None:
    """Messages that it sends one after the other are delivered everywhere without the token. It passes the token on two
    milliseconds after the first one."""
    cluster = quiet_ring()
    passed_on, delivered = tokens_passed_on(cluster, 1), len(cluster.events("deliver"))
    came = [len(cluster.events("token_in", node)) for node in (2, 3)]
    for _ in range(3):
        cluster.send(1, 100)
        cluster.run(0.5)
    assert tokens_passed_on(cluster, 1) == passed_on
    assert len(cluster.events("deliver")) == delivered + 3 * 3
    cluster.run(2)
    assert [len(cluster.events("token_in", node)) for node in (2, 3)] == [number + 1 for number in came]
    held = cluster.events("token_out", 1)[-1]
    assert (held["held"], held["new"]) == (True, 0)
    assert held["seq"] == held["aru"]
    cluster.finish()


def test_much_is_not_sent_without_the_token() -> None:
    cluster = quiet_ring()
    passed_on = tokens_passed_on(cluster, 1)
    for _ in range(16):
        cluster.send(1, 1000)
        cluster.run(0.01)
    assert tokens_passed_on(cluster, 1) == passed_on
    cluster.send(1, 1000)
    cluster.run(0.01)
    assert tokens_passed_on(cluster, 1) == passed_on + 1
    cluster.finish()


def test_a_safe_message_takes_the_token_along_at_once() -> None:
    cluster = quiet_ring()
    passed_on = tokens_passed_on(cluster, 1)
    cluster.send(1, 100)
    cluster.run(0.1)
    assert tokens_passed_on(cluster, 1) == passed_on
    cluster.send(1, 100, safe=True)
    cluster.run(0.1)
    assert tokens_passed_on(cluster, 1) == passed_on + 1
    cluster.finish()


@pytest.mark.parametrize("node", [2, 3])
def test_whoever_wants_a_token_that_is_held_after_sending_has_it_at_once(node: int) -> None:
    cluster = quiet_ring()
    cluster.send(1, 100)
    cluster.run(0.3)
    assert cluster.events("token_out", 1)[-1]["new"]
    assert cluster.events("token_out", 1)[-1]["held"]
    assert time_until_all_have_it_ms(cluster, node) < 1.5
    cluster.finish()


def test_a_member_that_does_not_say_so_keeps_corosyncs_rule() -> None:
    cluster = quiet_ring(early=False)
    assert visits_of_one_message(cluster, 1) > 3 * 30
    cluster.finish()


@pytest.mark.parametrize("node", [1, 2, 3])
@pytest.mark.parametrize("safe", [False, True])
def test_nobody_waits_for_a_token_that_is_held(node: int, safe: bool) -> None:
    cluster = quiet_ring()
    for _ in range(5):
        assert time_until_all_have_it_ms(cluster, node, safe=safe) < 20
        cluster.run(37)
    cluster.finish()


@pytest.mark.parametrize("source", [1, 2, 3])
@pytest.mark.parametrize("kind", [Kind.TOKEN, Kind.HOLD_CANCEL, Kind.MCAST])
def test_what_is_lost_on_the_way_is_made_up_for_soon(source: int, kind: Kind) -> None:
    cluster = quiet_ring()
    for sender in (1, 2, 3):
        cluster.lose(kind, source=source, count=1)
        assert time_until_all_have_it_ms(cluster, sender) < 60
        cluster.run(100)
    cluster.finish()


def test_a_wish_that_comes_while_the_token_is_on_its_way_is_not_forgotten() -> None:
    """Node 3 wants to send just when the representative is about to find that nobody does, and to hold the token."""
    for phase in range(40):
        cluster = quiet_ring()
        cluster.send(1, 100)
        cluster.run(phase * 0.02)
        assert time_until_all_have_it_ms(cluster, 3) < 20
        cluster.finish()


def test_a_probe_makes_the_token_come_round_more_than_once() -> None:
    """A token that comes round twice shows that a member that was suspected to be dead is alive."""
    for node in (1, 2, 3):
        cluster = quiet_ring()
        before = len(cluster.events("token_in", 2))
        cluster.world.hosts[node].probe_ring()
        cluster.run(20)
        assert len(cluster.events("token_in", 2)) >= before + 2
        cluster.finish()


@pytest.mark.parametrize("source", [1, 2, 3])
def test_a_token_that_was_lost_while_nobody_sent_anything_is_no_longer_missing_than_one_of_a_busy_ring(
    source: int,
) -> None:
    """The representative sends the token round from time to time. If the token is then lost, the member that passed it
    on last believes that the representative holds it."""
    for sender in (1, 2, 3):
        cluster = quiet_ring()
        cluster.run(LONG_HOLD["token_hold_ms"])
        lost = cluster.lose(Kind.TOKEN, source=source, count=1)
        assert cluster.world.run_while(lambda lost=lost: not lost.hits, 2000, step_ms=0.05)  # type: ignore[misc]
        assert time_until_all_have_it_ms(cluster, sender) < 60
        cluster.finish()


def test_a_quiet_ring_wakes_only_its_representative_to_announce_it() -> None:
    """Only the token wakes the other nodes, and the timer by which they detect that they were not scheduled."""
    cluster = quiet_ring()
    woken_at_ns: dict[int, set[int]] = {1: set(), 2: set()}
    for _ in range(2000):
        for node, seen in woken_at_ns.items():
            seen.add(cluster.ring(node).next_deadline_ns() or 0)
        cluster.run(0.5)
    expired = {node: sum(at_ns <= cluster.world.now() for at_ns in seen) for node, seen in woken_at_ns.items()}
    assert expired[1] >= 1000 // LONG_HOLD["merge_timeout_ms"]
    assert expired[2] < 1000 // LONG_HOLD["merge_timeout_ms"]
    cluster.finish()


LISTED: dict[str, Any] = {**LONG_HOLD, "members": frozenset({1, 2, 3})}


def announced_in_two_seconds(cluster: Cluster) -> int:
    """How often the representative has announced its ring in the next two seconds."""
    counters = cluster.ring(1).counters
    before = counters.memb_merge_detect_tx
    cluster.run(2000)
    return counters.memb_merge_detect_tx - before


def test_a_quiet_ring_of_all_listed_nodes_is_announced_to_nobody() -> None:
    assert announced_in_two_seconds(quiet_ring(**LISTED)) == 0


def test_a_quiet_ring_is_announced_where_others_may_hear_it() -> None:
    often = 2000 // LONG_HOLD["merge_timeout_ms"] - 1
    assert announced_in_two_seconds(quiet_ring()) >= often, "without a nodelist any node may hear it"
    assert announced_in_two_seconds(quiet_ring(**{**LISTED, "members": frozenset({1, 2, 3, 4})})) >= often, "node 4"
    assert announced_in_two_seconds(quiet_ring(**LISTED, like_corosync=True)) >= often, "a member may be a C node"


def test_a_quiet_ring_is_announced_as_soon_as_a_listed_node_is_no_member() -> None:
    cluster = quiet_ring(**LISTED)
    cluster.partition([1, 2], [3])
    cluster.expect_ring(1, 2)
    cluster.run(1000)
    assert announced_in_two_seconds(cluster) >= 2000 // LONG_HOLD["merge_timeout_ms"] - 1
    cluster.heal()
    cluster.expect_ring(1, 2, 3)
    cluster.run(1000)
    assert announced_in_two_seconds(cluster) == 0
    cluster.finish()
