"""A cpg that hangs while others send: its node leaves the ring before its memory grows, and is back. Needs no root."""

import os
import signal
from pathlib import Path

import pytest

import rondo
from rondo.testing.lab.waiting import wait_for
from tests.cluster.test_node import MakeNodes, Node, make_nodes, wait_for_log, wait_until_whole

__all__ = ["make_nodes"]

LOG_BYTES_MAX = 4 << 20
BEYOND_BYTES_MAX = 24 << 20
"""Memory that totem may need in addition: envelopes to cpg, packets of the window, and Python's allocator."""
MESSAGE_BYTES = 16 * 1024
BURST = 32
BURSTS_MAX = 4000
BUSY_S = 60.0


@pytest.fixture
def nodes(make_nodes: MakeNodes) -> list[Node]:
    """Two nodes in a ring. Their service time-out is so long that no service counts as hung."""
    made = make_nodes(2)
    with made[0].config.open("a") as config:
        config.write(f"system {{\n    log_bytes_max: {LOG_BYTES_MAX}\n    service_timeout: 600000\n}}\n")
    for each in made:
        each.start()
    made[0].command("wait", "--members", "2", "--timeout", "60")
    return made


def memory_peak(pid: int) -> int:
    """The peak memory of a process in bytes; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def send_burst(group: rondo.Group) -> None:
    """Send some messages, and wait until all have come back."""
    for _ in range(BURST):
        group.mcast(bytes(MESSAGE_BYTES), timeout=BUSY_S)
    seen = 0
    while seen < BURST:
        event = group.poll(timeout=BUSY_S)
        assert event is not None, "the ring stands still"
        seen += isinstance(event, rondo.Message)


def test_its_node_leaves_the_ring_and_nothing_grows(nodes: list[Node]) -> None:
    sound, hung = nodes
    before = hung.pids()
    peak = first = memory_peak(before["totem"])
    with rondo.connect(sound.endpoint, timeout=BUSY_S) as cluster:
        group = cluster.cpg.join("bank")
        send_burst(group)
        os.kill(before["cpg"], signal.SIGSTOP)
        for _ in range(BURSTS_MAX):
            send_burst(group)
            now = memory_peak(before["totem"])
            if now == 0:
                break
            peak = now
        else:
            pytest.fail("the node has not left the ring")
        assert peak - first < LOG_BYTES_MAX + BEYOND_BYTES_MAX
        said = f"has reached system.log_bytes_max ({LOG_BYTES_MAX} bytes). This node leaves the ring"
        wait_for_log(hung, "totem", said)

        # The node is a member again. It has no cpg, and totem keeps nothing for one.
        wait_for(hung.pids, lambda now: now.get("totem", before["totem"]) != before["totem"], "totem is back", BUSY_S)
        second = hung.pids()["totem"]
        sound.command("wait", "--members", "2", "--timeout", "60")
        first = memory_peak(second)
        for _ in range(2 * LOG_BYTES_MAX // (BURST * MESSAGE_BYTES)):
            send_burst(group)
        assert memory_peak(second) - first < LOG_BYTES_MAX

        assert hung.pids()["cpg"] == before["cpg"]
        os.kill(before["cpg"], signal.SIGCONT)
        wait_until_whole(hung)
        with rondo.connect(hung.endpoint, timeout=BUSY_S) as other:
            joined = other.cpg.join("bank")
            assert {member.node for member in joined.members} == {1, 2}
