"""Garbage in the name of a member, as much as the machine can send: the ring goes on.

The filter in the kernel takes what has a member's address, so each packet costs the ring process something, and true
packets are lost with what does not fit the receive buffer.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

import rondo
from rondo.testing.lab.complete_node import CompleteNode
from rondo.testing.lab.flood import Flood
from rondo.testing.lab.netns import Lab
from rondo.testing.lab.ring_config import RingConfig
from rondo.testing.lab.ring_nodes import Cluster
from rondo.testing.lab.rondo_node import RUN_DIRECTORY

pytestmark = pytest.mark.namespaces

NODES = (1, 2, 3)
ATTACKER = 4
RATE = 100_000
MESSAGES = 20
WAIT_S = 60.0
KEY = "0123456789abcdef" * 16


def next_message(group: rondo.Group) -> bytes:
    """Whatever the flood does to the membership is told, too, and is not what is looked for."""
    while True:
        event = group.poll(WAIT_S)
        assert event is not None, f"nothing was delivered for {WAIT_S:g} s of the flood"
        if isinstance(event, rondo.Message):
            return event.data


def test_deliveries_go_on_under_a_flood_from_a_members_address(tmp_path: Path) -> None:
    with Lab(tmp_path / "lab", ATTACKER) as lab, ExitStack() as stack:
        hosts = [lab.host(number) for number in NODES]
        addresses = {host.number: host.address for host in hosts}
        config = RingConfig("udpu", addresses, totem={"secauth": "on", "key": KEY, "token": 3000})
        nodes = [CompleteNode(host, config) for host in hosts]
        cluster = Cluster(nodes)
        cluster.start()
        flooded, spoofed, third = hosts
        endpoints = [f"ipc://{host.path(RUN_DIRECTORY)}/gateway.sock" for host in (flooded, third)]
        clients = [stack.enter_context(rondo.connect(endpoint, timeout=WAIT_S)) for endpoint in endpoints]
        there, elsewhere = (client.cpg.join("g", timeout=WAIT_S) for client in clients)
        with Flood(lab.host(ATTACKER), spoofed, flooded, "token", RATE) as flood:
            for number in range(MESSAGES):
                # One at a time: each had to go round while the packets came.
                elsewhere.mcast(b"%d" % number, timeout=WAIT_S)
                assert next_message(elsewhere) == b"%d" % number
                assert next_message(there) == b"%d" % number
        status = nodes[0].service_status("totem")
        assert status is not None
        assert 0 < status["counters"]["security_no_envelope"] <= flood.sent, "it came through to the ring process"
        assert cluster.suspicious() == {}
