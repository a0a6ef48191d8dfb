"""C Corosync nodes act on last words: a ring process of Rondo is killed, sam says that it has left, and it is gone.

Hosts 1 and 2 have the C nodes, host 3 totem and sam. The token time-out is ten seconds, the consensus time-out twelve:
a death that the C nodes had to find out by themselves would take 22.
"""

import signal
import sys
import time

import pytest

from rondo.ipc.control import ControlError, ask
from rondo.testing.lab.corosync import CorosyncNode
from rondo.testing.lab.netns import Lab
from rondo.testing.lab.ring_config import RingConfig, Transport
from rondo.testing.lab.ring_nodes import Cluster
from rondo.testing.lab.rondo_node import REPOSITORY, RUN_DIRECTORY, RondoNode
from rondo.testing.lab.waiting import wait_for
from tests.interop import scenarios

pytestmark = [pytest.mark.namespaces, pytest.mark.corosync]

RONDO = 3
TOKEN_MS = 10_000
AT_ONCE_S = 5.0
"""Milliseconds in fact; the rest is for a machine that does other things, and for asking the C nodes."""
START_S = 20.0


@pytest.mark.parametrize("transport", ["udp", "udpu"])
def test_c_nodes_see_a_killed_ring_process_go_at_once(lab: Lab, transport: Transport) -> None:
    config = RingConfig.of_lab(lab, transport, totem={"token": TOKEN_MS})
    rondo = RondoNode(lab.host(RONDO), config)
    cluster = Cluster([CorosyncNode(lab.host(1), config), CorosyncNode(lab.host(2), config), rondo])
    first = cluster.start()
    state_directory = rondo.host.directory / "sam-state"
    state_directory.mkdir(mode=0o700)
    options = ["-c", str(rondo.host.directory / "rondo.conf"), "--run-dir", RUN_DIRECTORY, "--nodeid", str(RONDO)]
    argv = [sys.executable, "-m", "services.sam", *options, "--state-dir", str(state_directory)]
    sam = rondo.host.start(argv, "sam", {"PYTHONPATH": str(REPOSITORY)})
    try:
        _wait_for_words(rondo)
        losses = [cluster.nodes[number].log().count(scenarios.TOKEN_LOST) for number in (1, 2)]
        began_s = time.monotonic()
        rondo.kill()
        second = cluster.wait_ring(1, 2, timeout_s=AT_ONCE_S)
        print(f"the C nodes have a ring without it after {(time.monotonic() - began_s) * 1000:.0f} ms")
        scenarios.check_successor(first, second)
        assert losses == [cluster.nodes[number].log().count(scenarios.TOKEN_LOST) for number in (1, 2)]
        assert "died: told 2 members" in sam.output()
        assert cluster.suspicious() == {}
    finally:
        sam.signal(signal.SIGTERM)
        sam.wait(START_S)


def _wait_for_words(rondo: RondoNode) -> None:
    """Until sam has been left a LEAVE frame by the totem that runs."""

    def look() -> int:
        try:
            return int(ask(rondo.host.path(RUN_DIRECTORY), "sam", "status")["watched_totem"])
        except ControlError:
            return 0

    wait_for(look, lambda pid: pid == rondo.process.pid, "sam watches totem", START_S)
