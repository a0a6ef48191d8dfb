"""What a reload changes of knet while frames flow: nodes, links, addresses, priorities, sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from services.totem.transport.knet.knet import EVERYBODY, Knet
from services.totem.transport.knet.link_options import LinkMode, LinkOptions
from services.totem.transport.knet.peer_link import Address
from tests.unit.knet.network import LINKS, Network, address


def _others(node: int, nodes: tuple[int, ...], links: Mapping[int, LinkOptions]) -> dict[int, dict[int, Address]]:
    return {other: {link: address(other, link) for link in links} for other in nodes if other != node}


def _change(network: Network, nodes: tuple[int, ...], links: Mapping[int, LinkOptions], **options: Any) -> None:
    """Apply a reload to each node."""
    for node in nodes:
        knet = network.knets[node]
        knet.change_options(replace(knet.options, links=links, **options), None)
        knet.set_hosts(_others(node, nodes, links), dict.fromkeys(links, 1500), network.now_ns)


def _carriers(knet: Knet) -> set[int]:
    return {link.number for host in knet.hosts.values() for link in host.carriers}


def test_links_are_taken_away_and_added_and_frames_go_on() -> None:
    network = Network((1, 2))
    network.run(1000)
    for links in ({1: LINKS[1]}, LINKS, {0: LINKS[0]}):
        _change(network, (1, 2), links)
        network.run(500)
        network.received[2].clear()
        network.send(1, EVERYBODY, b"frame")
        network.run(10)
        assert network.frames(2) == [b"frame"]
        assert network.knets[1].hosts[2].links.keys() == links.keys()
        assert all(link.up for link in network.knets[1].hosts[2].links.values())
    downs = [event.link for event in network.events[1] if event.what == "down"]
    assert downs == [0, 1], "each link that was up and is no more is said to be down, once"


def test_a_priority_that_changes_moves_the_data_at_once() -> None:
    network = Network((1, 2))
    network.run(1000)
    assert _carriers(network.knets[1]) == {0}
    _change(network, (1, 2), {0: LINKS[0], 1: replace(LINKS[1], priority=9)})
    assert _carriers(network.knets[1]) == {1}
    _change(network, (1, 2), LINKS, mode=LinkMode.ACTIVE)
    assert _carriers(network.knets[1]) == {0, 1}


def test_a_node_at_another_address_is_found_there() -> None:
    network = Network((1, 2))
    network.run(1000)
    network.moved[2, 0] = "10.0.9.2", 5405
    network.knets[1].set_hosts(
        {2: {0: network.moved[2, 0], 1: address(2, 1)}}, dict.fromkeys(LINKS, 1500), network.now_ns
    )
    host = network.knets[1].hosts[2]
    assert not host.links[0].up
    assert host.is_reachable, "the other link carries meanwhile"
    network.run(500)
    assert host.links[0].up


def test_a_smaller_mtu_is_kept_to_at_once() -> None:
    network = Network((1, 2))
    network.run(3000)
    before = network.knets[1].piece_bytes
    _change(network, (1, 2), LINKS, mtu=1000)
    assert 800 < network.knets[1].piece_bytes < 1000 < before


def test_a_link_where_nobody_listens_says_nothing_of_a_node_that_has_another() -> None:
    """It may just have been taken away there, and not here yet."""
    network = Network((1, 2))
    network.run(1000)
    knet = network.knets[1]
    assert knet.unreachable(1, address(2, 1), network.now_ns) is None
    assert knet.unreachable(0, address(2, 0), network.now_ns) == 2
