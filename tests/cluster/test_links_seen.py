"""What a node tells of knet's links: in `rondo nodes`, `rondo status`, and in its log, with Corosync's words."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from rondo.testing.lab.netns import Host, Lab
from rondo.testing.lab.rondo_node import REPOSITORY, RUN_DIRECTORY
from tests.interop.knet_ring import KnetRing

NODE, UNPLUGGED = 1, 2
CALM_MS = 5000
"""A token time-out, of which those of the links are parts, so long that a busy machine takes no link down."""


def rondo(host: Host, *words: str) -> str:
    argv = [sys.executable, "-m", "rondo.cli.main", *words, "--run-dir", RUN_DIRECTORY]
    # `rondo status` exits with an error, because there is no supervisord that would restart services.
    return host.run(argv, check=False, environment={"PYTHONPATH": str(REPOSITORY)}).stdout


def links(host: Host) -> dict[int, list[dict[str, Any]]]:
    return {node["node"]: node["links"] for node in json.loads(rondo(host, "nodes", "--json"))}


@pytest.mark.namespaces
@pytest.mark.slow
def test_a_pulled_cable_is_seen_and_what_went_over_each_link(lab: Lab, tmp_path: Path) -> None:
    ring = KnetRing(lab, tmp_path, (), complete=True, totem={"token": CALM_MS})
    ring.wait_links_up()
    host = lab.host(NODE)
    before = links(host)
    assert before[NODE] == []
    for number in (2, 3):
        assert [link["up"] for link in before[number]] == [True, True]
        assert [link["remote"] for link in before[number]] == [lab.host(number).address_of_link(n) for n in (0, 1)]
        assert [link["port"] for link in before[number]] == [5405, 5406]
        assert all(link["local"] == host.address_of_link(link["link"]) for link in before[number])
        assert all(link["mtu"] > 1400 and 0 < link["latency_us"] < 1_000_000 for link in before[number])
        assert all(min(link["tx_packets"], link["rx_packets"], link["ups"]) > 0 for link in before[number])
        assert all(link["downs"] == 0 for link in before[number])
    lab.unplug(UNPLUGGED, 0)
    ring.wait_link_down(UNPLUGGED, 0)
    down, other = links(host)[UNPLUGGED]
    assert (down["up"], down["downs"], other["up"], other["downs"]) == (False, 1, True, 0)
    assert down["since_ms"] < 20_000
    assert other["rx_packets"] > before[UNPLUGGED][1]["rx_packets"]
    log = ring.cluster.nodes[NODE].log()
    assert f"link: host: {UNPLUGGED} link: 0 is down" in log
    assert f"host: host: {UNPLUGGED} (passive) best link: 1 (pri: 1)" in log
    assert f"link 0 ({lab.host(UNPLUGGED).address_of_link(0)}) DOWN since " in rondo(host, "status")
    assert f"{lab.host(UNPLUGGED).address_of_link(0)} port 5405 is DOWN since " in rondo(host, "nodes")
    lab.plug(UNPLUGGED, 0)
    ring.wait_links_up()
    back, _ = links(host)[UNPLUGGED]
    assert (back["up"], back["downs"], back["ups"]) == (True, 1, 2)
    assert f"rx: host: {UNPLUGGED} link: 0 is up" in ring.cluster.nodes[NODE].log()
