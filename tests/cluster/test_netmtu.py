"""netmtu above Ethernet's 1500: packets of one ring as IP fragments, and whole where the links have a larger MTU."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

import rondo
from rondo.config.schema_totem import NETMTU_MAX
from rondo.testing.lab.complete_node import CompleteNode
from rondo.testing.lab.netns import Lab
from rondo.testing.lab.ring_config import RingConfig, Transport
from rondo.testing.lab.ring_nodes import Cluster
from rondo.testing.lab.rondo_node import RUN_DIRECTORY
from tests.cluster.capture import Capture

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.namespaces

PORT = 5405
JUMBO_MTU = 9000
KEY = "0123456789abcdef" * 16
SEALED = {"secauth": "on", "key": KEY}
HEADERS_SIZE = 28
SIZES = [*range(0, 3000, 100), 7_900, 8_000, 60_000, 65_507, 70_000, 300_000, 1_048_576, 3_000_000]
WAIT_S = 60.0
CALM_MS = 5000
"""A token time-out that a busy machine does not reach, where a new ring would be a fault."""


def contents(node: int) -> Iterator[bytes]:
    """The messages that the client of a node sends."""
    for number, size in enumerate(SIZES):
        yield (b"%d/%d " % (node, number)).ljust(size, b"%d" % node)


def take(group: rondo.Group, count: int) -> list[tuple[int, str]]:
    """Sender and digest of the next messages."""
    found: list[tuple[int, str]] = []
    while len(found) < count:
        event = group.poll(WAIT_S)
        assert event is not None, f"{len(found)} of {count} messages after {WAIT_S} s"
        assert isinstance(event, rondo.Message | rondo.Membership), event
        if isinstance(event, rondo.Message):
            found.append((event.sender.node, hashlib.sha256(event.data).hexdigest()))
    return found


@pytest.mark.parametrize(
    ("mtu", "netmtu", "transport", "security"),
    [
        (1500, 8000, "udpu", {}),
        (JUMBO_MTU, 8000, "udp", SEALED),
        (1500, NETMTU_MAX, "udp", SEALED),
        (JUMBO_MTU, NETMTU_MAX, "udpu", {}),
    ],
    ids=["fragments", "whole", "the largest", "the largest over jumbo frames"],
)
def test_packets_as_large_as_netmtu_lets_them_be(
    lab: Lab, mtu: int, netmtu: int, transport: Transport, security: dict[str, str]
) -> None:
    lab.set_mtu(mtu)
    config = RingConfig.of_lab(lab, transport, totem={**security, "netmtu": netmtu, "token": CALM_MS})
    cluster = Cluster(CompleteNode(host, config) for host in lab.hosts.values())
    ring = cluster.start()
    with ExitStack() as stack, Capture(lab) as capture:
        endpoints = [f"ipc://{host.path(RUN_DIRECTORY)}/gateway.sock" for host in lab.hosts.values()]
        clients = [stack.enter_context(rondo.connect(endpoint, timeout=WAIT_S)) for endpoint in endpoints]
        groups = [client.cpg.join("large", timeout=WAIT_S) for client in clients]
        for each in zip(*(contents(number) for number in lab.hosts), strict=True):
            for group, data in zip(groups, each, strict=True):
                group.mcast(data, timeout=WAIT_S)
        orders = [take(group, len(SIZES) * len(groups)) for group in groups]
    assert orders[0] == orders[1] == orders[2]
    for number in lab.hosts:
        wanted = [hashlib.sha256(data).hexdigest() for data in contents(number)]
        assert [digest for sender, digest in orders[0] if sender == number] == wanted
    assert cluster.wait_ring(*lab.hosts) == ring, "nobody was lost on the way"
    sent = capture.datagrams(PORT)
    largest = max(sent, key=lambda datagram: len(datagram.payload))
    assert netmtu - 200 < len(largest.payload) <= netmtu
    assert (largest.fragments > 1) == (netmtu + HEADERS_SIZE > mtu)
    assert cluster.suspicious() == {}
