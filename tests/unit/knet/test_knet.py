"""Nodes with two links: up and down, failover, restarts, several links at once, and what must be refused."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from services.totem.transport.knet import format as wire
from services.totem.transport.knet.crypto import make_cipher
from services.totem.transport.knet.knet import EVERYBODY
from services.totem.transport.knet.link_options import LinkMode
from services.totem.transport.knet.remote_host import RESENT_IN_DOUBT, VERDICT_NS
from tests.unit.knet.network import KEY, MS, Network, address


def _data_links(network: Network, node: int) -> dict[int, int]:
    """Data datagrams sent by each link, to all."""
    hosts = network.knets[node].hosts.values()
    return {number: sum(host.links[number].counters.tx_data for host in hosts) for number in (0, 1)}


def test_links_come_up_and_frames_arrive_once_and_in_order() -> None:
    network = Network()
    network.run(50)
    frames = [bytes([n]) * size for n, size in enumerate((10, 1409, 1410, 30_000, 65_536))]
    network.send(1, EVERYBODY, *frames)
    network.send(1, 2, b"token")
    network.run(50)
    assert network.frames(2) == [*frames, b"token"]
    assert network.frames(3) == frames
    assert network.knets[2].counters["rx_copies"] == 1  # of the token, on the other link
    assert network.knets[1].piece_bytes == 1409


def test_before_all_hosts_know_no_frame_leaves() -> None:
    network = Network()
    network.send(1, EVERYBODY, b"early")
    assert network.knets[1].counters["tx_not_ready"] == 1
    network.stop(3)
    network.run(299)
    assert not network.knets[1].ready
    network.run(2)
    assert network.knets[1].ready


@pytest.mark.parametrize("sent", [0, 10, 5000])
def test_a_node_that_is_restarted_is_heard_at_once(sent: int) -> None:
    """Its numbers begin again; without its ping with number 0 they would count as copies."""
    network = Network((1, 2))
    network.run(50)
    for _ in range(sent):
        network.send(1, EVERYBODY, b"before")
    network.run(50)
    network.start(1)
    network.run(50)
    network.received[2].clear()
    network.send(1, EVERYBODY, b"after", b"that")
    network.run(50)
    assert network.frames(2) == [b"after", b"that"]


def test_a_dead_link_is_found_by_tokens_long_before_its_timer() -> None:
    network = Network()
    network.run(100)
    at_ms = [0]

    def ring() -> None:
        at_ms[0] += 1
        sender = at_ms[0] % 3 + 1
        network.send(sender, EVERYBODY, b"data of %d" % at_ms[0])
        network.send(sender, sender % 3 + 1, b"token %d" % at_ms[0])

    network.run(100, ring)
    for node in (1, 2, 3):
        network.received[node].clear()
    network.cut(2, 0)
    network.run(100, ring)
    for node in (1, 3):
        times = [at for at, frame in network.received[node] if frame.startswith(b"data")]
        of_others = [b - a for a, b in pairwise(times)]
        assert max(of_others) < 60 * MS
    assert not network.knets[1].hosts[2].links[0].up
    assert network.knets[1].hosts[3].links[0].up
    assert network.knets[1].counters["links_down_by_doubt"] == 1
    network.cut(2, 0, healed=True)
    network.run(1500)
    assert network.knets[1].hosts[2].carriers[0].number == 0


def test_while_a_link_is_in_doubt_data_leaves_on_every_link() -> None:
    """So nobody waits for the verdict; and afterwards it leaves on one again."""
    network = Network()
    network.run(100)
    at_ms = [0]

    def ring() -> None:
        at_ms[0] += 1
        sender = at_ms[0] % 3 + 1
        network.send(sender, EVERYBODY, b"data of %d" % sender)
        network.send(sender, sender % 3 + 1, b"token %d" % at_ms[0])

    network.run(100, ring)
    cut_ns = network.now_ns
    network.cut(2, 0)
    network.run(100, ring)
    for node in (1, 3):
        after_ns = next(at for at, frame in network.received[node] if at > cut_ns + MS and frame == b"data of 2")
        assert after_ns - cut_ns < VERDICT_NS
    for knet in network.knets.values():
        assert all(host.senders == host.carriers and len(host.carriers) == 1 for host in knet.hosts.values())


def test_a_doubt_that_is_answered_on_all_links_is_over_at_once() -> None:
    network = Network((1, 2))
    network.run(100)
    host = network.knets[1].hosts[2]
    for _ in range(1 + RESENT_IN_DOUBT):
        assert len(host.senders) == 1
        network.send(1, 2, b"token")
    assert len(host.senders) == 2
    network.run(1)
    assert not host.in_doubt
    assert host.senders == host.carriers
    network.run(100)
    assert network.knets[1].counters["links_down_by_doubt"] == 0
    assert all(link.up for link in host.links.values())


def test_a_token_that_is_sent_again_once_is_no_reason_for_a_doubt() -> None:
    """A ring under load does that many times a second, and in a doubt all data leaves twice."""
    network = Network((1, 2))
    network.run(100)
    host = network.knets[1].hosts[2]
    for number in range(20):
        for _ in range(2):
            network.send(1, 2, b"token %d" % number)
            assert len(host.senders) == 1
        network.run(5)
    assert network.knets[1].counters["doubts"] == 0


def test_pings_that_waited_for_the_cable_do_not_slow_down_the_next_failover() -> None:
    """A host sends what it kept back when the cable is plugged in again: its pongs come a second late."""
    network = Network((1, 2))
    network.run(100)
    link = network.knets[1].hosts[2].links[0]
    network.cut(1, 0)
    network.run(1000)
    network.cut(1, 0, healed=True)
    for late_ms in (400, 300, 200, 100):
        link.ponged(network.now_ns - late_ms * MS, network.now_ns, others_up=True)
    network.run(600)
    assert link.up
    assert link.expected_ns < 2 * MS


def test_the_shortest_and_the_longest_ping_are_known() -> None:
    network = Network((1, 2))
    link = network.knets[1].hosts[2].links[0]
    shown = link.status(network.now_ns)
    assert (shown["latency_min_us"], shown["latency_max_us"], shown["latency_samples"]) == (0, 0, 0)
    network.run(100)
    samples = link.latency_samples
    for took_ms in (400, 30, 0.05):
        link.ponged(network.now_ns - int(took_ms * MS), network.now_ns, others_up=True)
    link.ponged(network.now_ns - 3_600_000 * MS, network.now_ns, others_up=True)
    shown = link.status(network.now_ns)
    assert (shown["latency_min_us"], shown["latency_max_us"]) == (50, 400_000)
    assert shown["latency_samples"] == samples + 3, "what is older than the time-out proves nothing"
    assert shown["latency_min_us"] <= shown["latency_us"] <= shown["latency_max_us"]


def test_without_traffic_the_timer_finds_it() -> None:
    network = Network((1, 2))
    network.run(100)
    network.cut(1, 0)
    network.run(1000)
    host = network.knets[1].hosts[2]
    assert [link.number for link in host.carriers] == [1]
    network.cut(1, 1)
    network.run(1000)
    assert not host.is_reachable
    network.send(1, 2, b"token")
    assert network.knets[1].counters["tx_unreachable"] == 1


def test_loss_alone_takes_no_link_down_for_long() -> None:
    network = Network(seed=4)
    for path in network.paths.values():
        path.loss = 0.05
    network.run(200)
    at = [0]

    def ring() -> None:
        at[0] += 1
        network.send(at[0] % 3 + 1, (at[0] + 1) % 3 + 1, b"token %d" % at[0])

    network.run(20_000, ring)
    assert sum(knet.counters["links_down_by_doubt"] for knet in network.knets.values()) <= 2


def test_one_way_paths_do_not_count() -> None:
    network = Network((1, 2))
    network.paths[1, 2, 0].cut = True
    network.run(1000)
    assert [link.number for link in network.knets[1].hosts[2].carriers] == [1]
    assert [link.number for link in network.knets[2].hosts[1].carriers] == [1]


@pytest.mark.parametrize(("mode", "of_each"), [(LinkMode.ACTIVE, (100, 100)), (LinkMode.RR, (50, 50))])
def test_links_together(mode: LinkMode, of_each: tuple[int, int]) -> None:
    network = Network((1, 2), mode=mode)
    network.run(50)
    for number in range(100):
        network.send(1, EVERYBODY, bytes([number]))
    network.run(50)
    assert sorted(network.frames(2)) == [bytes([number]) for number in range(100)]
    assert tuple(_data_links(network, 1).values()) == of_each


def test_the_smallest_path_decides_and_large_packets_that_are_lost_are_found_out() -> None:
    network = Network((1, 2))
    network.run(100)
    for key, path in network.paths.items():
        if key[2] == 0:
            path.size_max = 1300
    network.run(6000)
    assert 1200 < network.knets[1].piece_bytes < 1300 - 62
    network.send(1, EVERYBODY, bytes(20_000))
    network.run(50)
    assert network.frames(2) == [bytes(20_000)]


def test_a_node_that_gets_nothing_keeps_step() -> None:
    """A hundred thousand tokens to another: what comes then is no copy of what came a round of numbers ago."""
    network = Network()
    network.run(50)
    network.send(1, EVERYBODY, b"first")
    network.run(5)
    for turn in range(65_000 - 2):
        network.send(1, 2, b"t%d" % turn)
        if turn % 100 == 0:
            network.run(1)
    network.run(50)
    for turn in range(3):
        network.send(1, EVERYBODY, b"again %d" % turn)
    network.run(50)
    assert network.frames(3) == [b"first", b"again 0", b"again 1", b"again 2"]


def test_port_unreachable_is_looked_into_and_not_believed() -> None:
    network = Network((1, 2))
    network.run(100)
    knet, host = network.knets[1], network.knets[1].hosts[2]
    assert knet.unreachable(0, address(2, 0), network.now_ns) is None
    network.run(100)
    assert host.links[0].up  # it answered
    network.run(500)
    network.stop(2)
    for link in (0, 1):
        knet.unreachable(link, address(2, link), network.now_ns)
    network.run(40)
    assert not host.is_reachable


def test_a_pause_of_the_process_takes_no_link_down() -> None:
    network = Network((1, 2))
    network.run(300)
    knet = network.knets.pop(1)
    network.run(5000)
    network.knets[1] = knet
    network.run(200)
    assert all(link.up for link in knet.hosts[2].links.values())
    assert all(link.counters.downs == 0 for link in knet.hosts[2].links.values())


def test_recorded_pongs_prove_nothing() -> None:
    network = Network((1, 2))
    network.run(100)
    sealing = make_cipher("aes256", "sha256", KEY, bytes(16))
    ping = wire.encode_ping(wire.Ping(1, 0, network.now_ns, 0, timed=True))
    network.knets[1].receive([sealing.seal(wire.pong_of(ping, 2))], 0, address(2, 0), network.now_ns)
    network.start(1)
    network.knets[1].receive([sealing.seal(wire.pong_of(ping, 2))], 0, address(2, 0), network.now_ns)
    assert not network.knets[1].hosts[2].is_reachable


def test_what_is_refused_is_counted_by_its_reason() -> None:
    network = Network((1, 2, 3))
    network.run(50)
    knet, now_ns = network.knets[1], network.now_ns
    seal = make_cipher("aes256", "sha256", KEY, bytes(16)).seal
    data = wire.DATA_HEADER
    plain_ping = wire.encode_ping(wire.Ping(2, 0, 0, 0, timed=True))
    for datagram, reason in (
        (b"", "rx_digest"),
        (plain_ping, "rx_in_the_clear"),
        (seal(b"\1"), "rx_not_knet"),
        (seal(b"\2" + bytes(30)), "rx_not_knet"),
        (seal(wire.encode_ping(wire.Ping(3, 0, 0, 0, timed=True))), "rx_wrong_host"),
        (seal(wire.encode_ping(wire.Ping(2, 5, 0, 0, timed=True))), "rx_bad_ping"),
        (seal(plain_ping + b"x"), "rx_bad_ping"),
        (seal(b"\1\x83\0\2\0\0"), "rx_bad_probe"),
        (seal(b"\1\x90\0\2\0\0"), "rx_bad_type"),
        (seal(data.pack(1, 0, 2, 0, 5, 0, 0, 1, 1, 0, 0)), "rx_too_short"),
        (seal(data.pack(1, 0, 2, 0, 0, 0, 0, 1, 1, 0, 0) + b"f"), "rx_bad_data"),
        (seal(data.pack(1, 0, 2, 0, 5, 0, 0, 1, 1, 0, 1) + b"f"), "rx_bad_data"),
        (seal(data.pack(1, 0, 2, 0, 5, 0, 0, 1, 3, 4, 0) + b"f"), "rx_fragment_number"),
        (seal(data.pack(1, 0, 2, 0, 6, 4, 0, 1, 1, 0, 0) + b"f"), "rx_compression_unknown"),
    ):
        before = knet.counters[reason]
        assert knet.receive([datagram], 0, address(2, 0), now_ns) == []
        assert knet.counters[reason] == before + 1, reason
    assert knet.receive([seal(plain_ping)], 0, ("10.9.9.9", 5405), now_ns) == []
    assert knet.counters["rx_unlisted_ip"] == 1


def test_errors_are_counted_by_the_link() -> None:
    network = Network((1, 2))
    network.run(100)
    knet = network.knets[1]
    knet.receive([b"no packet", b"nor this"], 1, address(2, 1), network.now_ns)
    knet.not_sent(0, address(2, 0), 3)
    knet.receive([b"no packet"], 1, ("10.9.9.9", 5406), network.now_ns)
    knet.not_sent(0, ("10.9.9.9", 5405), 3)
    links = knet.status(network.now_ns)["2"]
    assert [(link["tx_errors"], link["rx_errors"]) for link in links] == [(3, 0), (0, 2)]


def test_last_words_are_heard_whatever_was_sent_before() -> None:
    for sent in (0, 3000, 40_000):
        network = Network((1, 2))
        network.run(50)
        knet = network.knets[1]
        for _ in range(sent):
            knet.send(EVERYBODY, [b"x"], network.now_ns)
            knet.outbox.clear()
        network.send(1, EVERYBODY, b"last")
        network.run(5)
        words = knet.seal_to_keep(b"words")
        frames = network.knets[2].receive([words, words], 0, address(1, 0), network.now_ns)
        assert frames == [b"words"]


@pytest.mark.parametrize("seed", range(25))
def test_links_with_faults_of_their_own_deliver_nothing_twice_and_all_in_the_end(seed: int) -> None:
    """Links die, flap, delay, lose, lose one way, lose only what is large; then all is well again."""
    chance = random.Random(seed)
    network = Network(seed=seed, mode=chance.choice(list(LinkMode)))
    network.run(400)
    sent = [0]

    def traffic() -> None:
        sent[0] += 1
        sender = chance.choice((1, 2, 3))
        frame = b"%d " % sent[0] + bytes(chance.choice((10, 2000, 20_000)))
        network.send(sender, chance.choice((EVERYBODY, sender % 3 + 1)), frame)

    for _ in range(12):
        for key in chance.sample(sorted(network.paths), 4):
            path = network.paths[key]
            path.cut = chance.random() < 0.3
            path.loss = chance.choice((0.0, 0.0, 0.1, 0.5))
            path.delay_ns = chance.choice((1, 1, 30)) * MS // 10
            path.jitter_ns = chance.choice((1, 1, 5)) * MS
            path.size_max = chance.choice((65_507, 1000))
        network.run(150, traffic)
    for path in network.paths.values():
        path.cut, path.loss, path.delay_ns, path.jitter_ns, path.size_max = False, 0.0, MS // 10, 0, 65_507
    network.run(6000)
    for node in (1, 2, 3):
        frames = network.frames(node)
        # Who has lost a host altogether forgets its numbers, as it may have begun anew: then a copy on its way counts.
        lost = any(event.what == "carriers" and event.link < 0 for event in network.events[node])
        assert lost or len(frames) == len(set(frames))
        network.received[node].clear()
        assert all(link.up for host in network.knets[node].hosts.values() for link in host.links.values())
    for node in (1, 2, 3):
        network.send(node, EVERYBODY, b"%d" % node + bytes(30_000))
    network.run(100)
    assert all(len(network.frames(node)) == 2 for node in (1, 2, 3))
