"""Paths that lose large packets, or multicast: Rondo nodes find that out and say it, and C nodes notice nothing."""

from __future__ import annotations

import re

import pytest

from rondo.testing.lab.corosync import CorosyncNode
from rondo.testing.lab.faults import Faults
from rondo.testing.lab.netns import Lab
from rondo.testing.lab.process import Process
from rondo.testing.lab.ring_config import RingConfig, Transport
from rondo.testing.lab.ring_nodes import Cluster
from rondo.testing.lab.rondo_node import RondoNode
from rondo.testing.lab.waiting import wait_for
from services.totem.wire.notices import NOTICE_RING, PROBE_SIZE_MIN
from tests.cluster.capture import Capture

pytestmark = pytest.mark.namespaces
each_transport = pytest.mark.parametrize("transport", ["udp", "udpu"])
FOUND_TIMEOUT_S = 60.0
KEY = "0123456789abcdef" * 16
CALM_MS = 5000
"""A token time-out that a busy machine does not reach, where a new ring would be a fault."""


def rondo_nodes(lab: Lab, transport: Transport, **totem: str | int) -> dict[int, RondoNode]:
    config = RingConfig.of_lab(lab, transport, totem=totem)
    return {number: RondoNode(host, config) for number, host in lab.hosts.items()}


def wait_for_line(node: RondoNode, expression: str) -> str:
    """Wait for a line of a node's log that matches. Returns it."""
    log = wait_for(node.log, lambda text: re.search(expression, text) is not None, expression, FOUND_TIMEOUT_S)
    found = re.search(f".*{expression}.*", log)
    assert found is not None
    return found[0]


def path_to(node: RondoNode, other: int) -> dict[str, object]:
    status = wait_for(node.status, lambda status: status is not None, "an answer", FOUND_TIMEOUT_S)
    assert status is not None
    found: dict[str, object] = status["paths"].get(str(other), {})
    return {name: found.get(name) for name in ("path", "passes")}


def asked(node: RondoNode) -> int:
    """The number of probes that it has sent to node 1 or to node 2, whichever is smaller."""
    status = node.status()
    return 0 if status is None else min(int(status["paths"][str(other)]["asked"]) for other in (1, 2))


@pytest.mark.parametrize(
    ("transport", "security"), [("udp", {}), ("udpu", {"secauth": "on", "key": KEY})], ids=["udp", "sealed udpu"]
)
@pytest.mark.slow
def test_large_packets_that_are_lost_are_named(lab: Lab, transport: Transport, security: dict[str, str]) -> None:
    """A firewall drops whatever has more than 1,200 bytes from node 1 to node 3, fragments or not."""
    nodes = rondo_nodes(lab, transport, **security)
    faults = Faults(lab)
    faults.cut({1}, {3}, "udp length > 1208")
    Cluster(nodes.values()).start()
    line = wait_for_line(nodes[1], "Packets > [0-9]+ bytes to node 3 are lost")
    full = 1472 if security else 1500
    assert f"Packets > 1132 bytes to node 3 are lost; full ones have {full}." in line
    assert "set totem.netmtu: 1132 on all nodes" in line
    assert faults.dropped() > 0
    good = {"path": "good", "passes": full}
    wait_for(
        lambda: [path_to(nodes[1], 2), path_to(nodes[2], 3), path_to(nodes[3], 1)], ([good] * 3).__eq__, "good paths",
        FOUND_TIMEOUT_S,
    )  # fmt: skip
    assert path_to(nodes[1], 3) == {"path": "loses_large", "passes": 1132}
    for number in (2, 3):
        assert "are lost" not in nodes[number].log()


def test_multicast_that_is_lost_is_named(lab: Lab) -> None:
    """Nothing by multicast from node 1 to node 3: no ring of all comes about, and the log says why."""
    nodes = rondo_nodes(lab, "udp")
    Faults(lab).cut({1}, {3}, "ip daddr 224.0.0.0/4")
    for node in nodes.values():
        node.start()
    line = wait_for_line(nodes[1], "Multicast packets to node 3 are lost")
    assert "Multicast packets to node 3 are lost, while unicast packets reach it." in line
    assert "totem.transport: udpu" in line
    assert "to node 2 are lost" not in nodes[1].log()
    assert path_to(nodes[1], 3) == {"path": "no_multicast", "passes": 0}


class TalkativeCorosync(CorosyncNode):
    """A C node that logs everything."""

    def _launch(self) -> Process:
        text = self.config_path.read_text()
        self.config_path.write_text(text.replace("logging {", "logging {\n    debug: trace"))
        return super()._launch()

    def ring_lines(self) -> list[str]:
        """What it has to say of the ring and of frames."""
        return [line for line in self.log().splitlines() if "[TOTEM " in line]


@pytest.mark.corosync
@each_transport
def test_c_nodes_notice_nothing_of_probes(lab: Lab, transport: Transport) -> None:
    """A Rondo node greets C nodes until one answers, which never happens; with debug: trace they say nothing of it."""
    config = RingConfig.of_lab(lab, transport, totem={"token": CALM_MS})
    c_nodes = [TalkativeCorosync(lab.host(number), config) for number in (1, 2)]
    rondo = RondoNode(lab.host(3), config)
    cluster = Cluster([*c_nodes, rondo])
    ring = cluster.start()
    with Capture(lab) as capture:
        for _ in range(2):  # the first time so that what belongs to the new ring is logged
            before, lines = asked(rondo), [node.ring_lines() for node in c_nodes]
            wait_for(lambda: asked(rondo), lambda now: now > before, "another greeting", FOUND_TIMEOUT_S)  # noqa: B023
    notice = NOTICE_RING.sequence.to_bytes(8, "little")
    probes = [d for d in capture.datagrams() if len(d.payload) == PROBE_SIZE_MIN and d.payload[17:25] == notice]
    assert {d.destination for d in probes} == {"10.77.0.1", "10.77.0.2"}
    assert [node.ring_lines() for node in c_nodes] == lines
    assert all(lines)
    assert [path_to(rondo, number) for number in (1, 2)] == [{"path": "unknown", "passes": 0}] * 2
    assert cluster.wait_ring(1, 2, 3) == ring
