"""Ten thousand groups: a message takes as long as among few, and a node that comes back learns of all in seconds.

`make cluster-slow` runs it; with `-s` it says what it measured (docs/SCALE.md).
"""

from __future__ import annotations

import statistics
import time

import pytest

import rondo
from rondo.demo.cluster import DemoCluster, DemoNode
from rondo.testing.lab.waiting import wait_for
from tests.cluster.demo_nodes import start_in_one_ring
from tests.cluster.test_crowd import message_ms

GROUPS = 10_000
SECONDS = 60.0
ATTEMPTS = 5
SLOWER_MAX = 2.0
"""Of the best of some attempts: a machine may be busy."""


def groups_seen_by(node: DemoNode) -> int:
    """0 while the node is not there."""
    try:
        with rondo.connect(node.endpoint, timeout=SECONDS) as cluster:
            return len(cluster.cpg.groups(timeout=SECONDS))
    except rondo.Error:
        return 0


def takes_s(began_s: float) -> str:
    return f"{time.monotonic() - began_s:.2f} s"


@pytest.mark.slow
def test_ten_thousand_groups_slow_nobody_and_are_known_again_after_a_restart() -> None:
    with DemoCluster(2) as nodes:
        start_in_one_ring(nodes)
        with rondo.connect(nodes.nodes[1].endpoint, timeout=SECONDS) as other:
            mine = other.cpg.join("mine")
            alone_ms = min(message_ms(mine) for _ in range(ATTEMPTS))
            with rondo.connect(nodes.nodes[1].endpoint, timeout=SECONDS) as cluster:
                began_s = time.monotonic()
                groups = [cluster.cpg.join(f"group-{number}") for number in range(GROUPS)]
                told = [f"joined in {takes_s(began_s)}"]
                with_all_ms = min(message_ms(mine) for _ in range(ATTEMPTS))
                told.append(f"a message one at a time {alone_ms:.2f} ms before, {with_all_ms:.2f} ms with all")
                one_more_s = []
                for _ in range(20):
                    began_s = time.monotonic()
                    one = other.cpg.join("one more")
                    one_more_s.append(time.monotonic() - began_s)
                    one.leave()
                told.append(f"one more join {1000 * statistics.median(one_more_s):.1f} ms")
                nodes.nodes[2].stop()
                began_s = time.monotonic()
                nodes.nodes[2].launch()
                nodes.nodes[2].wait_until_ready()
                wait_for(lambda: groups_seen_by(nodes.nodes[2]), (GROUPS + 1).__le__, "it knows all", SECONDS)
                told.append(f"a node started and knew all after {takes_s(began_s)}")
                began_s = time.monotonic()
                for number, group in enumerate(groups):
                    group.mcast(b"%d" % number)
                for number, group in enumerate(groups):
                    event = group.poll(SECONDS)
                    while not isinstance(event, rondo.Message):
                        assert event is not None
                        event = group.poll(SECONDS)
                    assert event.data == b"%d" % number
                told.append(f"a message in each took {takes_s(began_s)}")
            began_s = time.monotonic()
            wait_for(lambda: len(other.cpg.groups(timeout=SECONDS)), (1).__eq__, "all are gone", SECONDS)
            told.append(f"gone {takes_s(began_s)} after their member was")
            print(f"{GROUPS} groups: {'; '.join(told)}")
            assert with_all_ms < SLOWER_MAX * alone_ms
