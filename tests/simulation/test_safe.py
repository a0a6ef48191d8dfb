"""SAFE messages are delivered when all members have them, or in the transitional configuration."""

from __future__ import annotations

import pytest

from services.totem.ring import delivery
from services.totem.ring.state import RingState
from services.totem.wire.frames import Kind
from tests.simulation.cluster import Cluster


def deliveries(cluster: Cluster, node: int) -> list[tuple[str, str]]:
    """(level, kind of configuration) of all client messages that this node has delivered."""
    client = {event["msg"] for event in cluster.events("submit") if not event["sync"]}
    return [(e["level"], e["cfg"][0]) for e in cluster.events("deliver", node) if e["msg"] in client]


def test_a_safe_message_waits_until_all_members_have_it_and_holds_back_what_follows() -> None:
    cluster = Cluster(3)
    cluster.form()
    cluster.send(1, 100)
    cluster.settle()
    deaf = cluster.lose(Kind.MCAST, target=3)
    cluster.send(1, 100, safe=True)
    cluster.run(5)
    cluster.send(2, 100)
    cluster.run(30)
    assert [deliveries(cluster, node) for node in (1, 2)] == [[("agreed", "r")]] * 2
    cluster.stop(deaf)
    cluster.run(100)
    for node in cluster.nodes:
        assert deliveries(cluster, node) == [("agreed", "r"), ("safe", "r"), ("agreed", "r")]
    cluster.finish()


def test_a_safe_message_takes_two_rotations_and_no_hold_of_the_token() -> None:
    cluster = Cluster(3)
    cluster.form()
    cluster.run(300)
    cluster.send(2, 100, safe=True)
    assert cluster.world.run_while(lambda: not cluster.world.settled(), 10, step_ms=0.1)
    cluster.run(3)
    assert deliveries(cluster, 3) == [("safe", "r")]
    cluster.finish()


@pytest.mark.parametrize("like_corosync", [(), (2,)])
def test_what_is_not_known_to_be_stable_is_delivered_in_the_transitional_configuration(
    like_corosync: tuple[int, ...],
) -> None:
    cluster = Cluster(4)
    cluster.like_corosync(*like_corosync)
    cluster.form()
    cluster.lose(Kind.MCAST, target=4)
    cluster.send(1, 100)
    cluster.run(3)
    cluster.send(3, 100, safe=True)
    cluster.send(3, 50)
    cluster.run(5)
    cluster.crash(4)
    cluster.expect_ring(1, 2, 3)
    cluster.finish()
    for node in (1, 2, 3):
        kinds = "rrr" if node in like_corosync else "rtt"
        levels = ("agreed", "safe", "agreed")
        assert deliveries(cluster, node)[:3] == list(zip(levels, kinds, strict=True))


def test_what_one_has_delivered_all_who_come_along_deliver_in_the_old_ring() -> None:
    """Node 2 has seen at two token visits that all members have the message, and has delivered it. Node 1 gets no token
    any more. It learns only from the commit token that all members have the message."""
    cluster = Cluster(3)
    cluster.form()
    cluster.send(1, 100, safe=True)
    assert cluster.world.run_while(lambda: not deliveries(cluster, 2), 50, step_ms=0.01)
    lost = [cluster.lose(Kind.TOKEN, target=target) for target in (1, 3)]
    cluster.run(2)
    cluster.crash(3)
    for rule in lost:
        cluster.stop(rule)
    assert deliveries(cluster, 1) == []
    cluster.reform(1)
    cluster.expect_ring(1, 2)
    assert deliveries(cluster, 1) == [("safe", "r")]
    cluster.finish()


def test_a_corosync_node_is_not_believed() -> None:
    """The guarantee field of a Corosync node's mcasts has no meaning. So its messages are AGREED, never SAFE."""
    cluster = Cluster(3)
    cluster.like_corosync(2)
    cluster.form()
    host = cluster.world.hosts[2]
    data, n = host.make_message(100)
    host.outstanding.add(n)
    cluster.ring(2).submit(data, (host.inc, n), safe=True)
    cluster.ring(2).flush(cluster.world.now())
    host.settle()
    cluster.lose(Kind.MCAST, target=3)
    cluster.run(20)
    assert deliveries(cluster, 1) == [("agreed", "r")]
    cluster.world.network.rules.clear()
    cluster.finish()


@pytest.mark.parametrize("fault", ["at once", "never known"])
def test_the_checker_notices_a_ring_that_does_not_wait(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Property A7 is for this: the first situation above violates it if nodes deliver SAFE messages at once."""
    whole = delivery.deliver_ready

    def at_once(s: RingState) -> None:
        s.delivery.settle(s.delivery.regular.high)
        whole(s)

    if fault == "at once":
        monkeypatch.setattr(delivery, "deliver_ready", at_once)
    else:
        monkeypatch.setattr(delivery, "_is_believed", lambda s, frame: False)
    with pytest.raises(AssertionError, match="A7"):
        _unsafe()


def _unsafe() -> None:
    cluster = Cluster(3)
    cluster.form()
    deaf = cluster.lose(Kind.MCAST, target=3)
    cluster.send(1, 100, safe=True)
    cluster.run(5)
    cluster.stop(deaf)
    cluster.finish()
