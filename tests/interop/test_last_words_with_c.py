"""C Corosync nodes act on last words: a ring process of Rondo is killed, sam says that it has left, and it is gone.

Hosts 1 and 2 have the C nodes, host 3 totem and sam. The token time-out is ten seconds, the consensus time-out twelve:
a death that the C nodes had to find out by themselves would take 22.
"""

import re
import signal
import sys
import time
from datetime import datetime, timedelta
from datetime import time as time_of_day
from functools import partial
from pathlib import Path

import pytest

from rondo.ipc.control import ControlError, ask
from rondo.testing.lab.corosync import CorosyncNode
from rondo.testing.lab.netns import Lab
from rondo.testing.lab.process import Process
from rondo.testing.lab.ring_config import KnetConfig, RingConfig, Transport
from rondo.testing.lab.ring_nodes import Cluster
from rondo.testing.lab.rondo_node import REPOSITORY, RUN_DIRECTORY, RondoNode
from rondo.testing.lab.waiting import wait_for
from tests.interop import scenarios

pytestmark = [pytest.mark.namespaces, pytest.mark.corosync]

RONDO = 3
TOKEN_MS = 10_000
AT_ONCE_S = 9.0
"""It takes milliseconds. The bound leaves room for a busy machine, and for asking the C nodes."""
START_S = 60.0


@pytest.mark.parametrize("transport", ["udp", "udpu"])
def test_c_nodes_see_a_killed_ring_process_go_at_once(lab: Lab, transport: Transport) -> None:
    config = RingConfig.of_lab(lab, transport, totem={"token": TOKEN_MS})
    rondo = RondoNode(lab.host(RONDO), config)
    cluster = Cluster([CorosyncNode(lab.host(1), config), CorosyncNode(lab.host(2), config), rondo])
    first = cluster.start()
    sam = _start_sam(rondo)
    try:
        _wait_for_words(rondo)
        losses = [cluster.nodes[number].log().count(scenarios.TOKEN_LOST) for number in (1, 2)]
        began_s = time.monotonic()
        rondo.kill()
        second = cluster.wait_ring(1, 2, timeout_s=AT_ONCE_S)
        print(f"the C nodes have a ring without it after {(time.monotonic() - began_s) * 1000:.0f} ms")
        scenarios.check_successor(first, second)
        assert losses == [cluster.nodes[number].log().count(scenarios.TOKEN_LOST) for number in (1, 2)]
        wait_for(sam.output, lambda text: "died: told 2 members" in text, "sam says what it has done", START_S)
        assert cluster.suspicious() == {}
    finally:
        sam.signal(signal.SIGTERM)
        sam.wait(START_S)


LINK_DOWN = re.compile(rf"^\w+ +\d+ ([\d:.]+) .*link: host: {RONDO} link: \d is down$", re.MULTILINE)
NOT_CLOSED_S = TOKEN_MS / 10 / 1000
"""A port that is closed is noticed long before that. Pongs that stay away are noticed long after it: C nodes ping four
times in a token time-out, and a pong counts for half of that."""


@pytest.mark.slow
def test_c_nodes_do_not_find_the_ports_of_a_killed_ring_process_closed(lab: Lab, tmp_path: Path) -> None:
    """With knet sam holds the ports, so a ring process that is started again at once is heard at once. A closed port
    takes C nodes 0.2 seconds to give up its link; here they do when pongs stay away, as late as ever."""
    config = KnetConfig.of_lab(lab, tmp_path, totem={"token": TOKEN_MS})
    rondo = RondoNode(lab.host(RONDO), config)
    cluster = Cluster([CorosyncNode(lab.host(1), config), CorosyncNode(lab.host(2), config), rondo])
    cluster.start()
    sam = _start_sam(rondo)
    try:
        _wait_for_words(rondo)
        before = [len(_downs(cluster, number)) for number in (1, 2)]
        killed_at = datetime.now()
        rondo.kill()
        cluster.wait_ring(1, 2, timeout_s=AT_ONCE_S)
        for number, count in zip((1, 2), before, strict=True):
            more = partial(_has_more, count + 1)
            found = wait_for(partial(_downs, cluster, number), more, "links down", START_S)
            first = datetime.combine(killed_at.date(), time_of_day.fromisoformat(found[count]))
            assert (first - killed_at) % timedelta(days=1) >= timedelta(seconds=NOT_CLOSED_S)
        rondo.start()
        cluster.wait_ring(1, 2, RONDO)
    finally:
        sam.signal(signal.SIGTERM)
        sam.wait(START_S)


def _has_more(count: int, seen: list[str]) -> bool:
    return len(seen) > count


def _downs(cluster: Cluster, number: int) -> list[str]:
    """When this C node has said that a link to the Rondo node is down."""
    return LINK_DOWN.findall(cluster.nodes[number].log())


def _start_sam(rondo: RondoNode) -> Process:
    state_directory = rondo.host.directory / "sam-state"
    state_directory.mkdir(mode=0o700)
    options = ["-c", str(rondo.host.directory / "rondo.conf"), "--run-dir", RUN_DIRECTORY, "--nodeid", str(RONDO)]
    argv = [sys.executable, "-m", "services.sam", *options, "--state-dir", str(state_directory)]
    return rondo.host.start(argv, "sam", {"PYTHONPATH": str(REPOSITORY)})


def _wait_for_words(rondo: RondoNode) -> None:
    """Until sam has been left a LEAVE frame by the totem that runs."""

    def look() -> int:
        try:
            return int(ask(rondo.host.path(RUN_DIRECTORY), "sam", "status")["watched_totem"])
        except ControlError:
            return 0

    wait_for(look, lambda pid: pid == rondo.process.pid, "sam watches totem", START_S)
