"""Two rings on one multicast group and port, with different keys or different cluster names: neither sees the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rondo.testing.lab.netns import Host, Lab
from rondo.testing.lab.ring_config import RingConfig, options, section
from rondo.testing.lab.ring_nodes import Cluster
from rondo.testing.lab.rondo_node import RondoNode
from rondo.testing.lab.waiting import wait_for

pytestmark = pytest.mark.namespaces

KEY, OTHER_KEY = "0123456789abcdef" * 16, "fedcba9876543210" * 16
HEARD_TIMEOUT_S = 60.0
CALM_MS = 5000
"""A token time-out that a busy machine does not reach, where a new ring would be a fault."""


class OpenNode(RondoNode):
    """Without a nodelist, so that nothing but security keeps strangers out."""

    def __init__(self, host: Host, cluster_name: str, key: str) -> None:
        super().__init__(host, RingConfig("udp", {}))
        interface = section("interface", options({"bindnetaddr": "10.77.0.0", "mcastaddr": "239.192.77.77"}))
        totem: dict[str, str | int] = {
            "version": 2, "transport": "udp", "nodeid": host.number, "cluster_name": cluster_name, "key": key,
            "token": CALM_MS,
        }  # fmt: skip
        logging = section("logging", options({"to_syslog": "no", "to_stderr": "yes"}))
        self.config_path.write_text(section("totem", options(totem) + interface) + logging)
        self.config_path.chmod(0o600)

    def asked(self) -> dict[str, Any]:
        status = wait_for(self.status, lambda status: status is not None, "an answer", HEARD_TIMEOUT_S)
        assert status is not None
        return status

    def counter(self, name: str) -> int:
        return int(self.asked()["counters"][name])


@pytest.mark.parametrize(
    ("names", "keys", "reason"),
    [(("one", "one"), (KEY, OTHER_KEY), "wrong_key"), (("one", "two"), (KEY, KEY), "other_cluster")],
    ids=["different keys", "different names"],
)
def test_rings_on_one_group_do_not_disturb_each_other(
    tmp_path: Path, names: tuple[str, str], keys: tuple[str, str], reason: str
) -> None:
    """Each forms, loses a member and takes it back, while the other one goes on in the ring that it has."""
    with Lab(tmp_path, 4) as lab:
        first = Cluster(OpenNode(lab.host(number), names[0], keys[0]) for number in (1, 2))
        second = Cluster(OpenNode(lab.host(number), names[1], keys[1]) for number in (3, 4))
        rings = first.start(), second.start()
        first.nodes[2].kill()
        first.wait_ring(1)
        first.nodes[2].start()
        again = first.wait_ring(1, 2)
        assert second.wait_ring(3, 4) == rings[1]
        second.nodes[3].stop()
        second.wait_ring(4)
        second.nodes[3].start()
        second.wait_ring(3, 4)
        assert first.wait_ring(1, 2) == again
        for cluster in (first, second):
            for node in cluster.nodes.values():
                assert isinstance(node, OpenNode)
                wait_for(lambda node=node: node.counter(f"security_{reason}"), bool, "strangers", HEARD_TIMEOUT_S)  # type: ignore[misc]
                assert node.asked()["dropped"] == {}, "nothing of them has reached the ring"
            assert cluster.suspicious("Received message has invalid digest") == {}
