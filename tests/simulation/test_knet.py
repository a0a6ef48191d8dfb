"""Knet in scripted situations: cables pulled in every state of the ring, links that lose some packets, restarts."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from services.totem.ring.events import State
from services.totem.transport.knet.link_options import LinkMode, LinkOptions
from services.totem.transport.knet.numbers import FADE_NS
from services.totem.transport.knet.peer_link import PeerLink
from tests.simulation.cluster import Cluster
from tests.simulation.knet_faults import KNET_FAULTS
from tests.simulation.knet_plan import has_knet
from tests.simulation.knet_playback import PACKETS_MAX, STRETCH, measure, stretches
from tests.simulation.knet_wires import KnetLife, KnetPlan, Trap, Wires
from tests.simulation.network import OnLink
from tests.simulation.plan import make_plan
from tests.simulation.run import run_seed
from tests.simulation.trace import SimulationError

LINKS = {link: LinkOptions(5405 + link, 1, 75, 150, 2) for link in (0, 1)}


def linked(nodes: int = 3, *, ring: dict[str, Any] | None = None, **plan: Any) -> Cluster:
    """A cluster with two links between any two nodes."""
    return Cluster(nodes, knet=KnetPlan(links=LINKS, **plan), **(ring or {}))


def wires_of(cluster: Cluster) -> Wires:
    assert cluster.world.wires is not None
    return cluster.world.wires


def life_of(cluster: Cluster, node: int) -> KnetLife:
    life = cluster.world.hosts[node].knet_life
    assert life is not None
    return life


def traffic(cluster: Cluster, duration_ms: int, size: int = 200) -> None:
    """Every node sends a message every two milliseconds."""
    for _ in range(duration_ms // 2):
        for node in cluster.nodes:
            cluster.send(node, size)
        cluster.run(2)


@pytest.mark.parametrize("mode", list(LinkMode))
@pytest.mark.parametrize("node", [1, 2])
def test_a_cable_pulled_under_traffic_changes_no_membership(node: int, mode: LinkMode) -> None:
    """Node 1 is the representative, 2 a member. The longest time without a message stays under the ping time-out."""
    cluster = linked(mode=mode)
    cluster.form()
    traffic(cluster, 100)
    before = [cluster.rings(each) for each in cluster.nodes]
    wires_of(cluster).plug(node, 0, cut=True)
    traffic(cluster, 400)
    assert [cluster.rings(each) for each in cluster.nodes] == before
    times = [event["t"] for event in cluster.events("deliver", 3)]
    gaps = [b - a for a, b in pairwise(times) if b > 0.5]
    assert max(gaps) < 0.1
    assert not life_of(cluster, node).knet.hosts[3].links[0].up
    cluster.finish()


@pytest.mark.parametrize("state", [State.GATHER, State.COMMIT, State.RECOVERY])
def test_a_cable_pulled_while_a_ring_is_formed(state: State) -> None:
    """The ring is formed all the same, and has all nodes."""
    cluster = linked()
    cluster.form()
    traffic(cluster, 50)
    wires_of(cluster).traps[2] = Trap(state, 1, 2_000)
    cluster.reform(3)
    rings = len(cluster.rings(1))
    traffic(cluster, 500)
    assert cluster.rings(1)[rings:] == [(1, 2, 3)]
    assert wires_of(cluster).counts[f"failover_in_{state.value}"] > 0
    cluster.finish()


def test_both_links_of_a_node_cut_is_a_partition() -> None:
    cluster = linked()
    cluster.form()
    for link in LINKS:
        wires_of(cluster).plug(3, link, cut=True)
    cluster.expect_ring(1, 2)
    for link in LINKS:
        wires_of(cluster).plug(3, link, cut=False)
    cluster.expect_ring(1, 2, 3)
    cluster.finish()


def test_a_link_that_loses_large_packets_only() -> None:
    """Pings pass, large data does not. Knet finds out which size passes. Meanwhile no member is lost."""
    cluster = linked(ring={"netmtu": 9000})
    cluster.form()
    traffic(cluster, 100)
    before = cluster.rings(1)
    assert life_of(cluster, 1).knet.piece_bytes > 1400
    for wire in wires_of(cluster).cable(2, 0):
        wire.size_max = 1000
    traffic(cluster, 1500, size=3000)
    assert life_of(cluster, 1).knet.piece_bytes <= 1000
    assert wires_of(cluster).counts["large_lost"] > 0
    cluster.settle()
    assert cluster.rings(1) == before
    cluster.finish()


def test_an_interface_that_refuses_what_it_took_before() -> None:
    cluster = linked(ring={"netmtu": 9000})
    cluster.form()
    traffic(cluster, 100)
    before = cluster.rings(1)
    wires_of(cluster).interface_mtu[2, 0] = 800
    traffic(cluster, 200, size=3000)
    assert life_of(cluster, 2).knet.piece_bytes <= 800 - 28
    cluster.settle()
    assert cluster.rings(1) == before
    cluster.finish()


@pytest.mark.parametrize("held", [True, False])
def test_a_node_that_is_started_again_at_once_is_heard(held: bool) -> None:
    """Its data numbers begin at 1 again. It must be a member again at once. `held`: whether another program held its
    ports meanwhile; if not, senders were told that nobody listens there."""
    cluster = linked(ports_held=held)
    cluster.form()
    traffic(cluster, 200)
    cluster.crash(2)
    cluster.run(20)
    cluster.start(2)
    took_ms = cluster.expect_ring(1, 2, 3, within_ms=600)
    assert took_ms < 600
    cluster.send(2, *[300] * 20)
    cluster.settle()
    assert all(wires_of(cluster).refused[reason] == 0 for reason in ("rx_digest", "rx_bad_data"))
    cluster.finish()


def test_numbers_far_ahead_and_past_their_end() -> None:
    """Such gaps occur when a sender has sent much to other nodes. The receiver takes the next frame nevertheless, also
    when the numbers have passed 64999 and begun at 1 again."""
    cluster = linked()
    cluster.form()
    before = cluster.rings(1)
    for count in (3000, 5000, 30_000, 40_000):
        traffic(cluster, 20)
        numbers = life_of(cluster, 1).knet.numbers
        for _ in range(count):
            numbers.next()
        cluster.send(1, 100)
        cluster.settle()
    assert cluster.rings(1) == before
    cluster.finish()


def test_a_frame_that_nobody_sent_fails_the_run() -> None:
    """A test of the harness: it would notice if knet put pieces of two frames together."""
    cluster = linked()
    cluster.form()
    sender = life_of(cluster, 1)
    sender.knet.send(2, [b"\x70\xc0\x03\x05 of nobody"], cluster.world.now())
    datagram = OnLink.on(sender.knet.take_outbox()[0].datagrams[0], 5, 1, 0)
    with pytest.raises(SimulationError, match="was handed a frame that node 1 never sent"):
        life_of(cluster, 2).open(datagram, lambda frame: None)


def test_a_link_that_stays_down_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def never_again(link: PeerLink, sent_ns: int, now_ns: int, *, others_up: bool) -> bool:
        return False if link.was_up else whole(link, sent_ns, now_ns, others_up=others_up)

    whole = PeerLink.ponged
    seed = next(
        seed for seed in range(1000)
        if has_knet(seed) and any(item.kind == "switch_dies" for item in make_plan(seed).faults)
    )  # fmt: skip
    monkeypatch.setattr(PeerLink, "ponged", never_again)
    assert any("links are down" in text or "not converged" in text for text in run_seed(seed).failures)


def test_a_third_of_the_seeds_has_knet() -> None:
    plans = [make_plan(seed) for seed in range(300)]
    linked = [plan for plan in plans if plan.knet is not None]
    assert len(linked) == 100
    kinds = {item.kind for plan in linked for item in plan.faults}
    assert kinds >= KNET_FAULTS.keys()
    knets = [plan.knet for plan in linked if plan.knet is not None]
    assert {len(knet.links) for knet in knets} == {1, 2, 3}
    assert {knet.mode for knet in knets} == set(LinkMode)
    assert all(node.node <= 0xFFFF for plan in linked for node in plan.nodes)
    assert not any(item.kind in KNET_FAULTS for plan in plans if plan.knet is None for item in plan.faults)


@pytest.mark.parametrize("cipher", ["none", "aes256"])
def test_no_packet_is_refused_while_the_key_is_changed(cipher: str) -> None:
    """Each node takes each step at its own time, under traffic. No packet is refused, and no token is sent again."""
    cluster = linked(cipher=cipher, hash="sha256")
    cluster.form()
    traffic(cluster, 50)
    before = cluster.rings(1)
    for step in ("install", "use", "remove"):
        for node in (2, 1, 3):
            traffic(cluster, 4)
            wires_of(cluster).change_key(node, step)
        cluster.run(50)
    cluster.settle()
    assert cluster.rings(1) == before
    assert [len(life_of(cluster, node).keys.key_numbers) for node in cluster.nodes] == [1, 1, 1]
    assert all(life_of(cluster, node).knet.counters["rx_digest"] == 0 for node in cluster.nodes)
    assert not cluster.events("token_resend")
    cluster.finish()


def test_a_node_that_missed_the_change_of_the_key_is_shut_out_until_it_has_the_key() -> None:
    cluster = linked(cipher="aes256", hash="sha256")
    cluster.form()
    cluster.crash(3)
    for step in ("install", "use", "remove"):
        for node in (1, 2):
            wires_of(cluster).change_key(node, step)
    cluster.expect_ring(1, 2)
    cluster.start(3)
    cluster.run(2_000)
    assert cluster.world.formed((1, 2))
    assert life_of(cluster, 1).knet.counters["rx_digest"] > 0
    for step in ("install", "use", "remove"):
        wires_of(cluster).change_key(3, step)
    cluster.expect_ring(1, 2, 3)
    cluster.finish()


def test_a_recording_without_the_key_and_played_back() -> None:
    """Three seconds are recorded here; `make playback` records more. Altered packets have no effect. Knet
    opens replayed packets, and cannot recognise each as a copy. So new rings may be formed. But no message is delivered
    twice, and at the end all nodes are in one ring."""
    recorded, outcomes = measure(minutes=0.05)
    found = {each.attack: each for each in outcomes}
    altered = found["altered"]
    assert altered.sent == found["one life"].sent == recorded
    assert altered.sent > 1000
    assert (altered.refused, altered.handed_in, altered.windows, altered.rings) == (altered.sent, 0, 0, 0)
    for name in ("one life", "new lives", "at random", "far numbers"):
        assert found[name].refused == 0
        assert found[name].handed_in > 0
        assert found[name].longest_gap_ms < 1000
    assert found["nothing"].rings == 0


def test_of_a_long_recording_stretches_are_sent_again() -> None:
    """The stretches lie at even distances, and none is cut short. The first one begins with the first packet, the last
    one ends with the last packet."""
    packets = [(number, OnLink.on(b"", 0, 1, 0)) for number in range(3 * PACKETS_MAX)]
    chosen = [number for number, _ in stretches(packets)]
    assert len(chosen) == len(set(chosen)) == PACKETS_MAX
    assert (chosen[0], chosen[-1]) == (0, 3 * PACKETS_MAX - 1)
    assert chosen[STRETCH - 1] == STRETCH - 1
    assert chosen[STRETCH] > 2 * STRETCH
    assert stretches(packets[:PACKETS_MAX]) == packets[:PACKETS_MAX]


def test_a_node_is_not_mute_for_long_after_its_last_life_was_played_back() -> None:
    """The restarted node uses the numbers of the recording again. After the replay its own frames with these numbers
    count as copies. So a receiver has to forget numbers after some time (FADE_NS). Otherwise nobody would hear the node
    until it has used up these numbers."""
    cluster = linked(cipher="aes256", hash="sha256")
    recorded: list[tuple[int, OnLink]] = []
    wires_of(cluster).on_sent = lambda target, datagram: recorded.append((target, datagram))
    cluster.form()
    traffic(cluster, 1500)
    wires_of(cluster).on_sent = None
    assert life_of(cluster, 1).knet.numbers.last > 1000
    cluster.crash(1)
    cluster.run(50)
    cluster.start(1)
    cluster.expect_ring(1, 2, 3)
    world = cluster.world
    for target, datagram in recorded:
        if datagram.source == 1 and datagram.kind >= 0:
            world.network.send(world.now(), 1, target, datagram, datagram.link)
    cluster.run(FADE_NS / 500_000)
    cluster.expect_ring(1, 2, 3)
    cluster.finish()
