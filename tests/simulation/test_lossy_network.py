"""How a Rondo node repairs losses faster than Corosync's rules do: among Rondo nodes, and among Corosync nodes."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest

from services.totem.ring.sizing import CUT_PACKET_BYTES, MIDDLE_PACKET_BYTES
from services.totem.transport.base import COPIES_WHERE_LOST
from services.totem.transport.link import HEADERS_BYTES_MAX
from services.totem.transport.segments import parities
from services.totem.wire.frames import Kind
from tests.simulation.cluster import Cluster
from tests.simulation.world import MS


def busy_cluster(*like_corosync: int, **options: Any) -> Cluster:
    """Three nodes whose token goes round all the time and is never held."""
    cluster = Cluster(3, seqno_unchanged_const=10_000, **options)
    cluster.like_corosync(*like_corosync)
    cluster.form()
    cluster.run(50)
    return cluster


def behind(cluster: Cluster, node: int) -> list[bool]:
    """For each token visit after the first 50 ms at which this node missed a packet: whether it asked for one."""
    events = [event for event in cluster.events("token_out", node) if event["t"] > 0.05]
    return [bool(event["requested"]) for event in events if event["seq"] > event["my_aru"]]


def requests(cluster: Cluster, node: int) -> list[list[int]]:
    """The sequence numbers that this node asked for: a list for each token visit with requests."""
    return [event["requested"] for event in cluster.events("token_out", node) if event["requested"]]


@pytest.mark.parametrize("like_corosync", [(), (1, 3)])
def test_a_lost_token_is_missed_after_a_few_rotations(like_corosync: tuple[int, ...]) -> None:
    cluster = busy_cluster(*like_corosync)
    lost = cluster.lose(Kind.TOKEN, source=2, count=1)
    cluster.run(2)
    assert lost.hits == 1
    before = len(cluster.events("token_in", 3))
    cluster.run(8)
    assert len(cluster.events("token_in", 3)) > before
    cluster.finish()


def test_beside_a_corosync_node_its_own_loss_takes_its_own_time() -> None:
    cluster = busy_cluster(2)
    cluster.lose(Kind.TOKEN, source=2, count=1)
    cluster.run(2)
    before = len(cluster.events("token_in", 3))
    cluster.run(cluster.options.token_retransmit_ms - 10)
    assert len(cluster.events("token_in", 3)) == before
    cluster.run(30)
    assert len(cluster.events("token_in", 3)) > before
    cluster.finish()


@pytest.mark.parametrize("like_corosync", [(), (1, 3)])
def test_a_lost_packet_among_others_of_its_sender_is_asked_for_at_once(like_corosync: tuple[int, ...]) -> None:
    cluster = busy_cluster(*like_corosync, accelerated_window=0)
    cluster.send(1, 10)
    cluster.run(5)
    seq = cluster.events("token_out", 1)[-1]["seq"]
    lost = cluster.lose(Kind.MCAST, source=1, target=2, count=2)
    lost.matching = lambda frame: int.from_bytes(frame[17:21], "little") in (seq + 3, seq + 4)
    cluster.send(1, *[1300] * 8)
    cluster.run(10)
    assert lost.hits == 2
    assert requests(cluster, 2)[0] == [seq + 3, seq + 4]
    asked = next(event for event in cluster.events("token_out", 2) if event["requested"])
    assert asked["seq"] == seq + 8
    first_after = next(event for event in cluster.events("token_out", 2) if event["seq"] >= seq + 8)
    assert asked is first_after
    assert len(requests(cluster, 2)) == 1
    cluster.finish()


def test_what_is_sent_again_is_counted_by_node() -> None:
    """Node 2 does not get some packets of node 1, and node 3 sends them again. Then a token of node 1 is lost."""
    cluster = busy_cluster()
    counted = [cluster.ring(node).counters for node in (1, 2, 3)]
    lost = cluster.lose(Kind.MCAST, source=1, target=2, count=4)
    cluster.send(1, *[1300] * 8)
    cluster.run(20)
    assert lost.hits == 4
    again = [counters.packets_again for counters in counted]
    assert {node for each in again for node in each} == {1}
    assert again[2][1] > 0
    assert [sum(each.values()) for each in again] == [counters.mcast_retx for counters in counted]
    assert sum(counters.mcast_retx for counters in counted) >= 4
    before = counted[0].tokens_again.get(2, 0)
    lost = cluster.lose(Kind.TOKEN, source=1, count=1)
    cluster.run(20)
    assert lost.hits == 1
    assert counted[0].tokens_again[2] > before
    assert sum(counted[0].tokens_again.values()) == counted[0].token_retransmitted
    cluster.finish()


@pytest.mark.parametrize("like_corosync", [(), (1, 3)])
def test_a_lost_last_packet_is_asked_for_at_the_second_visit(like_corosync: tuple[int, ...]) -> None:
    cluster = busy_cluster(*like_corosync)
    lost = cluster.lose(Kind.MCAST, source=1, target=2, count=1)
    cluster.send(1, 10)
    cluster.run(10)
    assert lost.hits == 1
    assert behind(cluster, 2)[:2] == [False, True]
    assert len(requests(cluster, 2)) == 1
    cluster.finish()


def test_what_was_answered_in_vain_is_asked_for_again_one_rotation_later() -> None:
    cluster = busy_cluster()
    cluster.lose(Kind.MCAST, target=2, count=2)
    cluster.send(1, 10)
    cluster.run(12)
    assert behind(cluster, 2)[:4] == [False, True, False, True]
    cluster.finish()


def test_corosyncs_nodes_keep_half_of_the_list() -> None:
    for like_corosync, bounds in (((), (50, 80)), ((3,), (15, 15))):
        cluster = busy_cluster(*like_corosync, window_size=300, max_messages=100)
        deaf = cluster.lose(Kind.MCAST, target=2)
        cluster.send(1, *[1300] * 60)
        cluster.run(4)
        assert bounds[0] <= max(map(len, requests(cluster, 2))) <= bounds[1]
        cluster.stop(deaf)
        cluster.finish()


def test_losses_that_are_mended_do_not_add_up_to_a_failure() -> None:
    """Node 3 loses two packets in five, and each is soon sent again. At many token visits the node misses something. In
    all these are far more than fail_recv_const, but never so many in a row."""
    cluster = Cluster(3, fail_recv_const=20)
    cluster.form()
    rings = len(cluster.rings(1))
    draw = Random(0)
    lossy = cluster.lose(Kind.MCAST, target=3)
    lossy.matching = lambda frame: draw.random() < 0.4
    before = len(cluster.events("token_out", 3))
    for _ in range(300):
        cluster.send(1, *[600] * 3)
        cluster.run(10)
    held_back = sum(event["my_aru"] < event["seq"] for event in cluster.events("token_out", 3)[before:])
    assert held_back > 20 * 10
    assert len(cluster.rings(1)) == rings
    cluster.stop(lossy)
    cluster.finish()


def test_a_lost_hold_cancel_is_sent_again() -> None:
    cluster = Cluster(3, token_timeout_ms=3000, token_retransmit_ms=714, token_hold_ms=561)
    cluster.form()
    cluster.run(1000)
    lost = cluster.lose(Kind.HOLD_CANCEL, source=3, count=2)
    cluster.send(3, 100)
    began_ns = cluster.world.now()
    assert cluster.world.run_while(lambda: not cluster.world.settled(), 1000, step_ms=1)
    assert lost.hits == 2
    assert cluster.world.now() - began_ns < 60 * MS
    cluster.finish()


def test_one_who_cannot_be_heard_leaves_the_answer_to_others() -> None:
    """Node 1 sees node 3's requests first, but the answers of node 1 never arrive."""
    cluster = busy_cluster()
    deaf = cluster.lose(Kind.MCAST, source=1, target=3)
    cluster.send(1, *[100] * 3)
    cluster.run(30)
    assert deaf.hits > 3
    assert len(cluster.delivered(3)) == 3
    cluster.stop(deaf)
    cluster.finish()


def test_who_cannot_receive_a_packet_keeps_the_ring_for_as_long_as_corosync_would() -> None:
    """Node 3 asks for the packet. All others answer in turn, and each answer is lost. In some rotations nobody answers.
    The nodes must not conclude that nobody has the packet, and form a new ring. Only fail_recv_const ends the ring."""
    cluster = busy_cluster()
    ring = cluster.ring(1).ring_id
    lost = cluster.lose(Kind.MCAST, target=3)
    lost.matching = lambda frame: len(frame) > 500
    rotations = len(cluster.events("token_in", 3))
    cluster.send(1, 600)
    while len(cluster.events("token_in", 3)) < rotations + 1000:
        cluster.run(10)
    assert lost.hits > 300
    assert [cluster.ring(node).ring_id for node in cluster.nodes] == [ring] * 3
    cluster.stop(lost)
    cluster.run(50)
    assert [cluster.ring(node).ring_id for node in cluster.nodes] == [ring] * 3
    cluster.finish()


def cutting_cluster() -> Cluster:
    """Three nodes that send large packets, each cut into segments."""
    cluster = Cluster(
        3, host={"receive_bytes": 2 << 20}, large_packets=True, large_packet_bytes=CUT_PACKET_BYTES,
        large_in_segments=True, wide_windows=True, early_hold=True, accelerated_window=10, seqno_unchanged_const=30,
    )  # fmt: skip
    cluster.form()
    return cluster


def lose_segments(cluster: Cluster, source: int, loss_of_a_frame: float, *, each: bool = True) -> None:
    """Lose this share of the frames that this node's link sends. If `each`, every segment of a packet is a frame and
    is lost on its own. Otherwise a packet of any size is one frame."""
    draw = Random(f"{loss_of_a_frame} {each} {source}")

    def is_lost(frame: bytes) -> bool:
        size = cluster.ring(source).packet_size
        shares = -(-len(frame) // 1440) if each else 1
        copies = COPIES_WHERE_LOST if shares > 1 and len(frame) > size.limit + HEADERS_BYTES_MAX else 1
        lost = [index for index in range(shares) if draw.random() < loss_of_a_frame**copies]
        if shares == 1 or copies > 1 or not size.parity:
            return bool(lost)
        rows = parities(shares)
        lost += [row for row in range(rows) if draw.random() < loss_of_a_frame]
        return max(Counter(index % rows for index in lost).values(), default=0) > 1

    cluster.lose(source=source).matching = is_lost


def size_of_packets(loss_of_a_frame: float, *, each_segment: bool) -> int:
    """The limit of packet sizes that a busy sender has most often, once it has adapted to the loss."""
    cluster = cutting_cluster()
    for node in cluster.nodes:
        lose_segments(cluster, node, loss_of_a_frame, each=each_segment)
    limits = []
    for _ in range(40):
        if cluster.ring(1).submit_space() > 2_000_000:
            cluster.send(1, *[20_000] * 40)
        cluster.run(4 + 100 * loss_of_a_frame)  # longer with loss: tokens are lost, too
        limits.append(cluster.ring(1).packet_size.limit)
    cluster.finish()
    return Counter(limits[len(limits) // 2 :]).most_common(1)[0][0]


@pytest.mark.parametrize(
    ("loss", "each_segment", "expected"),
    [
        (0, True, CUT_PACKET_BYTES),
        (0.001, True, CUT_PACKET_BYTES),
        (0.01, True, CUT_PACKET_BYTES),
        (0.05, True, MIDDLE_PACKET_BYTES),
        (0.3, True, 1410),
        (0.05, False, CUT_PACKET_BYTES),
    ],
)
def test_packets_are_as_large_as_their_loss_permits(loss: float, each_segment: bool, expected: int) -> None:
    assert size_of_packets(loss, each_segment=each_segment) == expected


def test_large_packets_on_their_way_when_heavy_loss_begins_do_not_hold_up_the_ring() -> None:
    """The nodes that send nothing of their own send these packets to each other again. They must know of the loss, too.
    Otherwise their large answers would fill the whole window for ever, and never arrive."""
    cluster = cutting_cluster()
    for _ in range(3):
        cluster.send(1, *[20_000] * 60)
        cluster.run(20)
    cluster.send(1, *[20_000] * 60)
    cluster.run(1)
    for node in cluster.nodes:
        lose_segments(cluster, node, 0.3)
    cluster.send(1, *[20_000] * 60)
    rings = [cluster.ring(node) for node in cluster.nodes]
    assert cluster.world.run_while(lambda: min(ring.counters.messages_rx for ring in rings) < 300, 2000, step_ms=10)
    cluster.finish()
