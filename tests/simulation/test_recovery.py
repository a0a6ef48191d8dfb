"""Packets that are lost while a ring is being formed: when a member may install it, and what it asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.totem.wire.frames import Kind, Mcast, decode_mcast
from tests.simulation.cluster import Cluster

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.totem.wire.base import RingId


def lose_in_the_next_ring(cluster: Cluster, installed: RingId, node: int, comes: Callable[[Mcast], bool]) -> None:
    """From now on this node gets no packet of the installed ring. Of the next ring it gets only those packets for which
    `comes` returns True."""

    def is_lost(frame: bytes) -> bool:
        mcast = decode_mcast(frame)
        return mcast.ring == installed or not comes(mcast)

    cluster.lose(Kind.MCAST, target=node).matching = is_lost


def test_what_was_asked_for_in_the_old_ring_is_asked_for_in_the_new_one() -> None:
    """Sequence numbers and token visits are counted anew in each ring. Node 3 asked for some of these numbers at the
    350th visit of the old ring. It must ask for them again at the first visit of the new ring."""
    cluster = Cluster(3, seqno_unchanged_const=10_000, sync_services=(2,))
    cluster.form()
    cluster.run(300)
    lost: list[int] = []

    def comes_the_second_time(mcast: Mcast) -> bool:
        if mcast.seq in lost:
            return True
        lost.append(mcast.seq)
        return False

    lose_in_the_next_ring(cluster, cluster.ring(3).ring_id, 3, comes_the_second_time)
    cluster.send(1, *[1300] * 14)
    cluster.run(8)
    asked = next(event["requested"] for event in cluster.events("token_out", 3) if event["requested"])
    cluster.reform(1)
    assert cluster.expect_ring(1, 2, 3) < 50
    assert set(lost) & set(asked)
    cluster.finish()


def test_no_member_installs_a_ring_of_which_another_misses_a_packet() -> None:
    """Only node 1 has the old packets, and sends them again. Node 3 misses the first one for a while, and node 2 misses
    the second one for longer. When node 3 has all, it raises the token's aru. Only node 2 knows that it still misses a
    packet below this aru."""
    cluster = Cluster(3, seqno_unchanged_const=10_000)
    cluster.form()
    cluster.run(50)
    old = cluster.ring(1).ring_id
    missed = {2: (2, 6), 3: (1, 2)}
    left = {node: times for node, (_, times) in missed.items()}

    def comes(node: int, mcast: Mcast) -> bool:
        if mcast.seq != missed[node][0] or not mcast.encapsulated or not left[node]:
            return True
        left[node] -= 1
        return False

    lose_in_the_next_ring(cluster, old, 2, lambda mcast: comes(2, mcast))
    lose_in_the_next_ring(cluster, old, 3, lambda mcast: comes(3, mcast))
    cluster.send(1, *[1300] * 5)
    cluster.run(5)
    before = len(cluster.world.trace.events)
    cluster.reform(1)
    cluster.expect_ring(1, 2, 3)
    assert left == {2: 0, 3: 0}
    has_all: set[int] = set()
    for event in cluster.world.trace.events[before:]:
        if event["ev"] == "packet_in" and event["node"] in missed and event["encapsulated"]:
            if event["seq"] == missed[event["node"]][0]:
                has_all.add(event["node"])
        elif event["ev"] == "state" and event["state"] == "operational":
            assert has_all == {2, 3}, f"node {event['node']} installs the ring"
    cluster.finish()
