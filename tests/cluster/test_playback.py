"""All that a sealed ring of real nodes sends, recorded and played back at it, and at nodes that were started since."""

import os
import sys
import time
from pathlib import Path

import pytest

from rondo.testing.lab.netns import Lab
from rondo.testing.lab.ring_config import RingConfig
from rondo.testing.lab.ring_nodes import Cluster
from rondo.testing.lab.rondo_node import REPOSITORY, RondoNode
from rondo.testing.lab.waiting import wait_for
from tests.cluster.capture import Capture
from tests.interop import scenarios

pytestmark = pytest.mark.namespaces

NODES, ATTACKER = (1, 2, 3), 4
RECORD_S = float(os.environ.get("RONDO_RECORD_SECONDS", "2"))
"""How long the ring lives while it is recorded; `make playback` takes minutes."""
COUNTED = (
    "replayed", "unknown_boot", "stale_answers", "challenges_answered", "answers_withheld", "not_tried", "own_node_id",
    "other_ring",
)  # fmt: skip
COUNT_TIMEOUT_S = 60.0


def counted(nodes: dict[int, RondoNode]) -> int:
    """How many datagrams reached the nodes and were refused."""
    total = 0
    for node in nodes.values():
        status = wait_for(node.status, lambda status: status is not None, "an answer", COUNT_TIMEOUT_S)
        assert status is not None
        total += sum(int(status["counters"][f"security_{name}"]) for name in COUNTED)
        assert status["dropped"] == {}, "and nothing has come as far as the ring"
    return total


def send_again(lab: Lab, capture: Capture) -> int:
    """Play everything back; how many datagrams came to nodes, each multicast to all three."""
    argv = [sys.executable, "-m", "tests.cluster.replayer", str(capture.path), lab.host(ATTACKER).address]
    done = lab.host(ATTACKER).run(argv, environment={"PYTHONPATH": str(REPOSITORY)}, timeout_s=600 + RECORD_S)
    datagrams = capture.datagrams()
    assert int(done.stdout) == len(datagrams)
    return sum(len(NODES) if d.destination.startswith("239.") else 1 for d in datagrams)


@pytest.mark.timeout(300 + 5 * RECORD_S)
@pytest.mark.slow
def test_a_recorded_life_does_nothing_but_count(tmp_path: Path) -> None:
    with Lab(tmp_path, ATTACKER) as lab:
        config = RingConfig(
            "udp", {number: lab.host(number).address for number in NODES},
            # The kernel would drop it all, since it comes from a stranger's address.
            totem={"secauth": "on", "key": "0123456789abcdef" * 16, "block_unlisted_ips": "no", "token": 3000},
        )  # fmt: skip
        nodes = {number: RondoNode(lab.host(number), config) for number in NODES}
        cluster = Cluster(nodes.values())
        cluster.start()
        with Capture(lab) as capture:
            scenarios.kill_and_restart(cluster, victim=2)
            end = time.monotonic() + RECORD_S
            while time.monotonic() < end:  # a life goes by; nothing is waited for
                time.sleep(0.1)
                cluster.wait_ring(*NODES)
        for again in (False, True):
            if again:
                for number in NODES:
                    scenarios.kill_and_restart(cluster, victim=number)
            ring, before = cluster.wait_ring(*NODES), counted(nodes)
            wanted = before + 0.95 * send_again(lab, capture)  # a busy node may lose some in its receive buffer
            wait_for(lambda: counted(nodes), wanted.__le__, "all to be counted", COUNT_TIMEOUT_S)
            assert cluster.wait_ring(*NODES) == ring
        assert cluster.suspicious("Received message has invalid digest") == {}
