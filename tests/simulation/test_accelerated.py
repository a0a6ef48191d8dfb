"""The accelerated ring: a node sends part of its data after the token. Only rings of Rondo nodes alone do that."""

from __future__ import annotations

import pytest

from services.totem.ring.capabilities import Capability
from services.totem.wire.frames import Kind, decode_mcast
from tests.simulation.cluster import Cluster
from tests.simulation.crashes import CrashPoint
from tests.simulation.network import Rule


def seen_mcasts(cluster: Cluster) -> list[tuple[int, bytes]]:
    """A list to which (round, frame) of every mcast is added from now on."""
    seen: list[tuple[int, bytes]] = []

    def note(frame: bytes) -> bool:
        seen.append((decode_mcast(frame).node_id, frame))
        return False

    cluster.world.network.rules.append(Rule(Kind.MCAST, matching=note))
    return seen


def test_who_is_rondo_is_known_from_the_sync_on() -> None:
    cluster = Cluster(3)
    cluster.form()
    assert cluster.ring(2).rondo_members == (1, 2, 3)
    assert cluster.ring(2).accelerated
    cluster.crash(3)
    cluster.expect_ring(1, 2)
    assert cluster.ring(2).rondo_members == (1, 2)
    cluster.finish()


def test_with_a_corosync_member_the_ring_is_classic() -> None:
    cluster = Cluster(3, wide_windows=True, host={"receive_bytes": 1 << 20})
    cluster.like_corosync(2)
    cluster.form()
    seen = seen_mcasts(cluster)
    before = len(cluster.events("token_out"))
    assert cluster.ring(1).rondo_members == (1, 3)
    assert not cluster.ring(1).accelerated
    assert cluster.ring(1).windows == (50, 17)
    cluster.send(1, *[1300] * 40)
    cluster.run(20)
    assert not any(event["after_token"] for event in cluster.events("token_out")[before:])
    assert {number for number, _ in seen} == {0}
    cluster.crash(2)
    cluster.expect_ring(1, 3)
    assert cluster.ring(1).accelerated
    cluster.finish()


def test_what_is_in_the_window_follows_the_token() -> None:
    cluster = Cluster(3, accelerated_window=10)
    cluster.form()
    cluster.run(50)
    seen = seen_mcasts(cluster)
    cluster.send(2, *[1300] * 25)
    cluster.run(20)
    visit = next(event for event in cluster.events("token_out", 2) if event["new"] == 17)
    assert visit["after_token"] == 10
    rounds = [number for number, _ in seen[:34]]
    assert sorted(set(rounds)) == [visit["round"] - 1, visit["round"]]
    assert rounds.count(visit["round"]) == 20
    cluster.finish()


@pytest.mark.parametrize("sent", [1, 4, 9])
def test_a_node_that_dies_behind_its_token_leaves_holes_and_nothing_else(sent: int) -> None:
    """Sequence numbers were assigned to the packets that the node did not send. Nobody can ever get these packets."""
    cluster = Cluster(4, accelerated_window=10)
    cluster.form()
    cluster.run(50)

    class After(CrashPoint):
        """The node dies after it has passed the token on and sent `sent` packets behind it."""

        def among(self, state: object, packets: list[tuple[int, bytes]], world: object) -> int | None:
            kinds = [data[3] for _, data in packets]
            behind = kinds.index(Kind.TOKEN) + 1 if Kind.TOKEN in kinds else len(kinds)
            return behind + sent if len(kinds) > behind + sent else None

    cluster.world.hosts[2].crash_point = After(1)
    cluster.send(3, *[100] * 3)
    cluster.send(2, *[1380] * 16)
    cluster.send(4, *[100] * 3)
    assert cluster.world.run_while(lambda: 2 in cluster.world.alive(), 100)
    cluster.expect_ring(1, 3, 4)
    cluster.finish()
    assert cluster.delivered(1) == cluster.delivered(3) == cluster.delivered(4)
    assert len(cluster.delivered(1, sender=4)) == 4
    assert len(cluster.delivered(1, sender=2)) == sent + 6


def test_packets_on_their_way_behind_the_token_are_not_asked_for() -> None:
    """They come later than the token, but less than a rotation later, so they are not lost."""
    cluster = Cluster(3, accelerated_window=17, seqno_unchanged_const=10_000)
    cluster.form()
    cluster.world.network.rules.append(Rule(Kind.MCAST, source=1, target=3, delay_ns=400_000))
    cluster.world.network.rules.append(Rule(Kind.MCAST, source=2, target=1, delay_ns=400_000))
    for _ in range(5):
        cluster.send(1, *[1300] * 17)
        cluster.send(2, *[1300] * 17)
        cluster.run(20)
    assert not any(event["requested"] for event in cluster.events("token_out"))
    cluster.finish()


def test_a_token_that_waits_is_read_before_more_data() -> None:
    cluster = Cluster(3, accelerated_window=10, host={"wake_latency_ns": 400_000})
    cluster.form()
    for node in cluster.nodes:
        cluster.send(node, *[1300] * 100)
    cluster.run(100)
    assert cluster.world.counts["token_read_first"] > 0
    cluster.finish()


def test_windows_follow_from_the_smallest_receive_buffer() -> None:
    cluster = Cluster(3, wide_windows=True, host={"receive_bytes": 1 << 20})
    cluster.world.hosts[3].receive_bytes = 600_000
    cluster.form()
    room = 600_000 // (2 * cluster.options.netmtu)
    for node in cluster.nodes:
        assert cluster.ring(node).windows == (room - 3 * 10, (room - 3 * 10) // 2)
    cluster.send(1, *[1300] * 200)
    cluster.run(50)
    assert max(event["new"] for event in cluster.events("token_out")) == (room - 3 * 10) // 2
    cluster.finish()


def test_one_node_that_keeps_to_its_configuration_keeps_all_to_it() -> None:
    cluster = Cluster(3, wide_windows=True, host={"receive_bytes": 1 << 20})
    cluster.world.hosts[2].receive_bytes = 0
    cluster.form()
    assert {cluster.ring(node).windows for node in cluster.nodes} == {(50, 17)}
    assert Capability.WIDE_WINDOWS not in Capability.SAFE | Capability.ACCELERATED
    cluster.finish()


def test_the_window_is_wider_while_packets_are_large_and_none_is_lost() -> None:
    cluster = Cluster(
        3, wide_windows=True, large_packets=True, large_packet_bytes=60_000, host={"receive_bytes": 4 << 20}
    )
    cluster.form()
    cluster.send(1, *[30_000] * 60)
    cluster.run(50)
    visits = [event for event in cluster.events("token_out") if event["new"]]
    assert max(event["new"] for event in visits) > cluster.ring(1).windows[1]
    cluster.lose(Kind.MCAST, target=3, count=2)
    before = len(cluster.events("token_out"))
    cluster.send(1, *[30_000] * 60)
    cluster.run(200)
    after = cluster.events("token_out")[before:]
    assert any(event["requested"] for event in after)
    asked = False
    for event in after:
        assert not asked or event["allowed"] <= cluster.ring(1).windows[1]
        asked = bool(event["requested"])
    cluster.finish()


@pytest.mark.parametrize(("receive_bytes", "nodes"), [(4 << 20, 3), (4 << 20, 16), (416 << 10, 3), (416 << 10, 8)])
def test_large_packets_follow_the_token_as_far_as_receive_buffers_take_them(receive_bytes: int, nodes: int) -> None:
    cluster = Cluster(
        nodes, wide_windows=True, large_packets=True, large_packet_bytes=18_000, host={"receive_bytes": receive_bytes},
        accelerated_window=10,
    )  # fmt: skip
    cluster.form()
    cluster.send(1, *[15_000] * 100)
    cluster.run(50)
    room = receive_bytes // (2 * cluster.options.netmtu) - cluster.ring(1).windows[0]
    units = 13  # a packet of 18,000 bytes counts as so many packets of netmtu
    most = max(min(9 * 10, room // nodes), 10) // units
    after_token = max(event["after_token"] for event in cluster.events("token_out", 1))
    assert most <= after_token <= most + 1  # the last packet may be small
    cluster.finish()


def test_many_nodes_share_the_receive_buffers_and_keep_a_window() -> None:
    """If each of twelve nodes sent ten packets after the token, these would be twice what a receive buffer takes."""
    packets, nodes = 60, 12
    cluster = Cluster(nodes, accelerated_window=10, wide_windows=True, host={"receive_bytes": packets * 2 * 1500})
    cluster.form()
    late = packets // (2 * nodes)
    assert cluster.ring(1).windows[0] == packets - nodes * late
    for node in cluster.nodes:
        cluster.send(node, *[1300] * 10)
    cluster.settle()
    assert max(event["after_token"] for event in cluster.events("token_out")) == late
    cluster.finish()
