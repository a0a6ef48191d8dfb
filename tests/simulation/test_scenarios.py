"""Scripted situations, each with its expected outcome. The checker judges the trace of every one."""

from __future__ import annotations

from random import Random

import pytest

from services.totem.ring.estrangement import PAUSE_MS_MAX
from services.totem.ring.events import GatherReason, State
from services.totem.ring.options import MESSAGE_SIZE_MAX
from services.totem.wire.frames import Join, Kind, encode_join
from tests.simulation.cluster import Cluster
from tests.simulation.network import Rule

RESTART_MS = 100
"""The time between two restarts. A real process takes longer to end and to start."""


def reasons(cluster: Cluster, since: int = 0) -> set[int]:
    """Why nodes entered Gather. `since`: the index of the first state event that counts."""
    return {event["reason"] for event in cluster.events("state")[since:] if event["state"] == "gather"}


def test_three_nodes_form_a_ring_and_order_their_messages() -> None:
    cluster = Cluster(3)
    cluster.form()
    for node in cluster.nodes:
        cluster.send(node, *[100] * 20)
    cluster.finish()
    orders = {tuple(cluster.delivered(node)) for node in cluster.nodes}
    assert len(orders) == 1
    assert len(orders.pop()) == 63
    assert cluster.rings(1)[-1] == (1, 2, 3)


def test_a_single_node_is_a_ring() -> None:
    cluster = Cluster(1)
    cluster.form()
    cluster.send(1, 0, 10, 5000)
    cluster.finish()
    assert cluster.rings(1) == [(1,)]
    assert len(cluster.delivered(1)) == 4


def test_a_lost_token_is_sent_again_and_no_ring_is_formed() -> None:
    cluster = Cluster(3)
    cluster.form()
    before = [len(cluster.rings(node)) for node in cluster.nodes]
    lost = cluster.lose(Kind.TOKEN, count=1)
    cluster.run(400)
    assert lost.hits == 1
    assert cluster.events("token_resend")
    cluster.finish()
    assert [len(cluster.rings(node)) for node in cluster.nodes] == before


def test_a_crashed_node_is_out_after_token_and_consensus() -> None:
    cluster = Cluster(4)
    cluster.form()
    cluster.crash(2)
    options = cluster.options
    took_ms = cluster.expect_ring(1, 3, 4, within_ms=options.token_timeout_ms + options.consensus_timeout_ms + 100)
    assert took_ms >= options.token_timeout_ms - options.token_hold_ms
    assert GatherReason.TOKEN_LOST_IN_OPERATIONAL in reasons(cluster)
    cluster.finish()
    assert cluster.events("conf", 1)[-1]["left"] == (2,)


def test_a_partition_makes_two_rings_and_healing_one() -> None:
    cluster = Cluster(3)
    cluster.form()
    cluster.partition((1, 2), (3,))
    cluster.expect_ring(1, 2)
    cluster.expect_ring(3)
    cluster.send(1, 100)
    cluster.send(3, 100)
    cluster.settle()
    assert cluster.delivered(2, sender=3) == []
    assert cluster.delivered(3, sender=1) == []
    cluster.heal()
    cluster.expect_ring(1, 2, 3)
    cluster.finish()


def test_two_idle_rings_find_each_other_by_merge_detection() -> None:
    cluster = Cluster(4)
    cluster.partition((1, 2), (3, 4))
    cluster.start()
    cluster.expect_ring(1, 2)
    cluster.expect_ring(3, 4)
    cluster.run(1000)
    cluster.heal()
    took_ms = cluster.expect_ring(1, 2, 3, 4)
    assert took_ms < 1000
    assert reasons(cluster) & {GatherReason.MERGE_DURING_OPERATIONAL, GatherReason.JOIN_DURING_OPERATIONAL}
    cluster.finish()


def test_two_singletons_merge() -> None:
    cluster = Cluster(2)
    cluster.partition((1,), (2,))
    cluster.start()
    cluster.expect_ring(1)
    cluster.expect_ring(2)
    cluster.heal()
    cluster.expect_ring(1, 2)
    assert cluster.rings(1)[0] == (1,)
    cluster.finish()


def test_a_ring_that_falls_into_three() -> None:
    cluster = Cluster(6)
    cluster.form()
    for node in cluster.nodes:
        cluster.send(node, *[200] * 5)
    cluster.partition((1, 4), (2, 5), (3, 6))
    for part in ((1, 4), (2, 5), (3, 6)):
        cluster.expect_ring(*part)
    cluster.heal()
    cluster.finish()


def test_a_frozen_node_learns_that_the_others_went_on() -> None:
    cluster = Cluster(3)
    cluster.form()
    cluster.freeze(2)
    cluster.send(2, 100)
    cluster.expect_ring(1, 3)
    cluster.send(1, 100)
    cluster.run(5000)
    cluster.thaw(2)
    cluster.expect_ring(1, 2, 3)
    cluster.finish()
    after = [e for e in cluster.events("conf", 2) if e["kind"] == "trans"][-1]
    assert set(after["members"]) == {2}


def test_a_short_pause_changes_nothing() -> None:
    cluster = Cluster(3)
    cluster.form()
    cluster.freeze(2)
    cluster.run(60)
    cluster.thaw(2)
    cluster.run(1000)
    cluster.finish()
    assert cluster.rings(1)[-1] == (1, 2, 3)
    assert len(cluster.rings(1)) == len(cluster.rings(3))


def test_the_process_of_a_pair_is_frozen_for_long() -> None:
    cluster = Cluster(2, host={"queue_bytes_max": 2000})
    cluster.form()
    cluster.freeze(1)
    cluster.expect_ring(2)
    cluster.send(2, *[1000] * 20)
    cluster.run(8000)
    cluster.thaw(1)
    cluster.expect_ring(1, 2)
    cluster.finish()


def test_leaving_is_noticed_at_once() -> None:
    cluster = Cluster(3)
    cluster.form()
    cluster.leave(3)
    took_ms = cluster.expect_ring(1, 2)
    assert took_ms < cluster.options.token_timeout_ms
    cluster.finish()


def test_a_node_that_lost_its_state_file_comes_back() -> None:
    cluster = Cluster(3)
    cluster.form()
    cluster.crash(1)
    lost_at = cluster.world.wall_clock_sequence()
    cluster.start(1, lost_state=True)
    cluster.expect_ring(1, 2, 3)
    cluster.finish()
    assert cluster.ring(2).ring_id.sequence > lost_at


def test_nodes_that_are_killed_often_do_not_run_ahead_of_the_clock() -> None:
    """Every start skips the ring sequences that were reserved in the state file. A node that lost its file takes the
    clock for its first sequence. This must be higher than all that were used."""
    cluster = Cluster(3)
    cluster.form()
    cluster.crash(1)
    cluster.start(1, lost_state=True)
    for node in [1, 2, 3] * 5:
        cluster.run(RESTART_MS)
        cluster.crash(node)
        cluster.start(node)
        cluster.expect_ring(1, 2, 3)
    assert cluster.ring(1).ring_id.sequence < cluster.world.wall_clock_sequence()
    cluster.crash(3)
    cluster.start(3, lost_state=True)
    cluster.expect_ring(1, 2, 3)
    cluster.finish()


def test_a_node_that_is_back_before_it_was_missed() -> None:
    cluster = Cluster(3)
    cluster.form()
    cluster.send(2, *[100] * 30)
    cluster.run(1)
    cluster.crash(2)
    cluster.start(2)
    cluster.expect_ring(1, 2, 3)
    cluster.finish()


@pytest.mark.parametrize("count", [1, 3, 10])
def test_lost_commit_tokens_delay_a_ring_but_do_not_prevent_it(count: int) -> None:
    cluster = Cluster(4)
    lost = cluster.lose(Kind.COMMIT, count=count)
    cluster.start()
    cluster.expect_ring(*cluster.nodes)
    assert lost.hits == count
    cluster.finish()


def test_a_commit_token_that_never_arrives_ends_in_gather() -> None:
    cluster = Cluster(3)
    cluster.form()
    lost = cluster.lose(Kind.COMMIT)
    cluster.reform(2)
    cluster.run(1500)
    cluster.stop(lost)
    assert reasons(cluster) & {GatherReason.TOKEN_LOST_IN_COMMIT, GatherReason.CONSENSUS_EXPIRED}
    cluster.expect_ring(1, 2, 3)
    cluster.finish()


@pytest.mark.parametrize(
    ("join_ms", "reason"), [(60, GatherReason.TOKEN_LOST_IN_RECOVERY), (20, GatherReason.STANDSTILL)]
)
def test_a_token_lost_in_recovery_starts_over(join_ms: int, reason: GatherReason) -> None:
    cluster = Cluster(3, join_timeout_ms=join_ms)
    cluster.form()
    cluster.send(1, *[100] * 10)
    cluster.settle()
    lost = cluster.lose(Kind.TOKEN)
    cluster.reform(3)
    cluster.run(1500)
    cluster.stop(lost)
    assert reason in reasons(cluster)
    cluster.expect_ring(1, 2, 3)
    cluster.finish()


@pytest.mark.parametrize("size", [0, 1, 1399, 1400, 1401, 65536, MESSAGE_SIZE_MAX - 5])
def test_messages_of_all_sizes(size: int) -> None:
    cluster = Cluster(3)
    cluster.form()
    cluster.send(1, size, 10)
    cluster.send(2, size)
    cluster.finish()
    assert len(cluster.delivered(3, sender=1)) == 3
    assert cluster.delivered(3) == cluster.delivered(1)


@pytest.mark.parametrize("target", [None, 2])
def test_lost_data_is_asked_for_and_sent_again(target: int | None) -> None:
    cluster = Cluster(3)
    cluster.form()
    lost = cluster.lose(Kind.MCAST, source=1, target=target, count=4)
    cluster.send(1, *[1000] * 12)
    cluster.settle()
    assert lost.hits == 4
    assert any(not event["new"] for event in cluster.events("packet_out"))
    assert len(cluster.delivered(2)) == 12
    cluster.finish()


def test_rings_that_merge_keep_their_old_packets_apart() -> None:
    """All four see those which node 3 sends again to node 4, and the numbers fit in the old ring of nodes 1 and 2."""
    cluster = Cluster(4)
    cluster.partition((1, 2), (3, 4))
    cluster.start()
    cluster.expect_ring(1, 2)
    cluster.expect_ring(3, 4)
    lost = cluster.lose(Kind.MCAST, source=3, target=4)
    cluster.send(3, *[1000] * 40)
    cluster.run(3)
    cluster.heal()
    cluster.reform(3)
    cluster.stop(lost)
    cluster.expect_ring(1, 2, 3, 4)
    assert lost.hits
    assert any(event["encapsulated"] for event in cluster.events("packet_in", 1)), "nothing was sent again"
    cluster.settle()
    assert len(cluster.delivered(4, sender=3)) == 40
    assert cluster.delivered(1, sender=3) == cluster.delivered(2, sender=3) == []
    cluster.finish()


def test_half_a_message_of_a_node_that_has_gone_is_kept_by_nobody() -> None:
    cluster = Cluster(3, max_messages=5)
    cluster.form()
    cluster.send(3, 100_000)
    assert cluster.world.run_while(lambda: not assembly_bytes(cluster, 1), 100, step_ms=0.1)
    cluster.crash(3)
    cluster.expect_ring(1, 2)
    assert assembly_bytes(cluster, 1) == assembly_bytes(cluster, 2) == 0
    cluster.finish()


def assembly_bytes(cluster: Cluster, node: int) -> int:
    """What this node keeps of messages of which parts are still to come, as it said last."""
    said = cluster.events("buffers", node)
    return int(said[-1]["assembly_bytes"]) if said else 0


def test_recovery_gives_the_members_of_the_old_ring_what_they_miss() -> None:
    cluster = Cluster(4)
    cluster.form()
    lost = cluster.lose(Kind.MCAST, target=3)
    cluster.send(1, *[1000] * 10)
    cluster.run(3)
    assert lost.hits
    cluster.reform(1)
    cluster.stop(lost)
    cluster.expect_ring(*cluster.nodes)
    assert any(event["encapsulated"] for event in cluster.events("packet_in", 3))
    cluster.finish()
    assert cluster.delivered(3) == cluster.delivered(1)


def test_a_hole_that_nobody_can_fill_ends_the_dead_senders_messages_only() -> None:
    cluster = Cluster(3)
    cluster.form()
    lost = cluster.lose(Kind.MCAST, source=1)
    cluster.send(1, *[100] * 3)
    cluster.run(5)
    cluster.send(2, *[100] * 3)
    cluster.run(8)
    assert lost.hits
    cluster.crash(1)
    cluster.expect_ring(2, 3)
    cluster.finish()
    assert len(cluster.delivered(2, sender=2)) == 4
    assert cluster.delivered(2) == cluster.delivered(3)


def test_what_a_dead_sender_sent_after_a_hole_of_its_own_is_not_delivered() -> None:
    cluster = Cluster(4)
    cluster.form()
    cluster.lose(Kind.MCAST, source=1, count=3)
    cluster.send(1, 1300, 1300, 1300)
    cluster.send(2, 100)
    cluster.run(2.5)
    cluster.crash(1)
    cluster.expect_ring(2, 3, 4)
    cluster.finish()
    heard = {event["seq"] for event in cluster.events("packet_in", 2) if event["origin"] == 1}
    sync = {event["msg"] for event in cluster.events("submit", 1) if event["sync"]}
    first, *others = (event["seq"] for event in cluster.events("send", 1) if event["msg"] not in sync)
    assert first not in heard
    assert heard.issuperset(others)
    assert cluster.delivered(2, sender=1) == []
    assert len(cluster.delivered(3, sender=2)) == 2


def test_a_node_that_receives_no_data_gives_itself_up() -> None:
    cluster = Cluster(3, fail_recv_const=20)
    cluster.form()
    deaf = cluster.lose(Kind.MCAST, target=2)
    cluster.send(1, *[100] * 5)
    cluster.run(2500)
    assert GatherReason.FAILED_TO_RECEIVE in reasons(cluster)
    cluster.stop(deaf)
    cluster.finish()


def test_a_link_that_works_in_one_direction_only() -> None:
    cluster = Cluster(4)
    cluster.form()
    cluster.block(1, 2)
    cluster.send(1, *[100] * 5)
    cluster.run(4000)
    cluster.heal()
    cluster.finish()


def test_sequence_numbers_wrap() -> None:
    cluster = Cluster(3, initial_sequence=(1 << 32) - 20)
    cluster.form()
    for node in cluster.nodes:
        cluster.send(node, *[1000] * 40)
    cluster.finish()
    assert max(event["seq"] for event in cluster.events("packet_out")) > 1 << 32
    assert len(cluster.rings(1)) <= 2


def test_the_ring_changes_while_a_long_message_is_on_its_way() -> None:
    cluster = Cluster(3, max_messages=5)
    cluster.form()
    cluster.send(1, 100_000)
    cluster.run(4)
    cluster.reform(2)
    cluster.expect_ring(1, 2, 3)
    cluster.finish()
    assert len(cluster.delivered(3, sender=1)) == 2


def test_a_join_that_changes_nothing_is_not_answered() -> None:
    """Otherwise two rings that count different nodes as failed would answer each other's joins without end."""
    cluster = Cluster(3)
    cluster.form()
    foreign = encode_join(Join(4, 4, (1, 2, 3, 4), (3,), ring_seq=1))
    cluster.world.hosts[1].arrive(foreign)
    joins = cluster.ring(1).counters.memb_join_tx
    for _ in range(20):
        cluster.world.hosts[1].arrive(foreign)
    assert cluster.ring(1).counters.memb_join_tx == joins
    cluster.finish()


@pytest.mark.parametrize(("state", "failed"), [(State.COMMIT, [3]), (State.RECOVERY, [])])
def test_a_failed_list_is_forgotten_when_another_member_has_installed_the_ring(state: State, failed: list[int]) -> None:
    """A late member must not exclude again the nodes with which the others already want to merge. Before Recovery
    nobody can have installed the ring. So the join is about another ring with the same sequence: the list is kept."""
    cluster = Cluster(3)
    cluster.form()
    cluster.crash(3)
    assert cluster.world.run_while(lambda: cluster.ring(1).state != state, 2000, step_ms=0.01)
    entered = cluster.events("state", 1)[-1]
    assert entered["failed"] == [3]
    cluster.world.hosts[1].arrive(encode_join(Join(2, 2, (1, 2, 3), (), ring_seq=entered["ring"][1])))
    again = cluster.events("state", 1)[-1]
    assert (again["state"], again["failed"]) == ("gather", failed)
    cluster.start(3)
    cluster.expect_ring(1, 2, 3)


def test_a_commit_token_that_comes_twice_has_not_been_round_twice() -> None:
    cluster = Cluster(3)
    cluster.form()
    seen: list[bytes] = []

    def note_and_let_pass(frame: bytes) -> bool:
        seen.append(frame)
        return False

    watch = Rule(Kind.COMMIT, target=1, matching=note_and_let_pass)
    cluster.world.network.rules.append(watch)
    cluster.reform(2)
    assert cluster.world.run_while(lambda: cluster.ring(1).state != State.RECOVERY, 2000, step_ms=0.01)
    sent = cluster.ring(1).counters.orf_token_tx
    cluster.world.hosts[1].arrive(seen[-1])
    assert cluster.ring(1).counters.orf_token_tx == sent
    cluster.stop(watch)
    cluster.finish()


def test_services_that_only_some_nodes_have() -> None:
    cluster = Cluster(3)
    for node, services in ((1, (0, 2)), (2, (0, 2, 3, 5)), (3, (2, 41))):
        host = cluster.world.hosts[node]
        host.options = type(host.options)(
            **{name: getattr(host.options, name) for name in host.options.__slots__} | {"sync_services": services}
        )
        host.sync_delay_ns = 20_000_000
    cluster.form()
    cluster.finish()


def test_sixty_four_nodes_form_a_ring() -> None:
    """Joins have a random delay, as corosync.conf(5) advises for large rings. Without it all nodes answer each join."""
    cluster = Cluster(64, token_timeout_ms=3000, token_retransmit_ms=714, consensus_timeout_ms=3600, send_join_ms=80)
    cluster.form()
    cluster.send(17, *[100] * 10)
    cluster.send(60, *[100] * 10)
    cluster.finish()
    assert cluster.delivered(1) == cluster.delivered(64)


def test_everything_is_sent_twice_and_overtakes() -> None:
    cluster = Cluster(4)
    cluster.form()
    network = cluster.world.network
    network.duplication, network.reordering, network.reorder_ns = 1.0, 0.5, 3_000_000
    for node in cluster.nodes:
        cluster.send(node, *[800] * 25)
    cluster.settle()
    cluster.reform(1)
    cluster.run(500)
    cluster.finish()
    assert len({tuple(cluster.delivered(node)) for node in cluster.nodes}) == 1


@pytest.mark.parametrize("seed", range(6))
def test_sound_nodes_stay_together_while_most_others_are_killed_and_started_at_once(seed: int) -> None:
    """Seven of nine nodes are restarted. While new rings take them in one after the other, the two others stay together
    in every ring."""
    cluster = Cluster(9, seed=seed)
    cluster.form()
    draw = Random(seed)
    sound = draw.sample(cluster.nodes, 2)
    before = [len(cluster.events("conf", node)) for node in sound]
    killed = [node for node in cluster.nodes if node not in sound]
    for node in killed:
        cluster.crash(node)
    cluster.run(1500)
    for node in killed:
        cluster.start(node)
        cluster.run(draw.randrange(60))
    cluster.finish()
    assert cluster.rings(1)[-1] == cluster.nodes
    for node, told in zip(sound, before, strict=True):
        for configuration in cluster.events("conf", node)[told:]:
            assert not set(sound) & set(configuration["left"])


def usable_share(cluster: Cluster, node: int, since_s: float) -> float:
    """The share of the time since then in which this node was in state Operational."""
    now_s = cluster.world.now() / 1e9
    changes = [(event["t"], event["state"]) for event in cluster.events("state", node)]
    ends = [at for at, _ in changes[1:]] + [now_s]
    spans = zip(changes, ends, strict=True)
    usable_s = sum(end - max(at, since_s) for (at, state), end in spans if end > since_s and state == "operational")
    return float(usable_s / (now_s - since_s))


@pytest.mark.parametrize(
    ("nodes", "cut", "together"),
    [(4, (1, 2), (2, 3, 4)), (4, (4, 1), (1, 2, 3)), (4, (2, 3), (3, 4)), (3, (1, 2), (2, 3))],
)
def test_those_who_hear_each_other_settle_on_a_ring_while_a_link_is_cut_one_way(
    nodes: int, cut: tuple[int, int], together: tuple[int, ...]
) -> None:
    """One node is not heard by all. Until the link is mended, the others take it in only once in some seconds."""
    cluster = Cluster(nodes, token_timeout_ms=1000, token_retransmit_ms=238, token_hold_ms=180,
                      consensus_timeout_ms=1200, join_timeout_ms=50, merge_timeout_ms=200)  # fmt: skip
    cluster.form()
    cluster.block(*cut)
    cluster.run(20_000)
    since_s = cluster.world.now() / 1e9
    cluster.run(60_000)
    for node in together:
        assert usable_share(cluster, node, since_s) > 0.85
        assert cluster.rings(node)[-1] == together
    assert sum(host.ring.counters.stranger_estranged for host in cluster.world.hosts.values() if host.ring) > 0
    cluster.heal()
    assert cluster.expect_ring(*cluster.nodes, within_ms=PAUSE_MS_MAX + 3000) is not None
    cluster.finish()
