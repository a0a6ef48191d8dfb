"""A control that hangs while others change votes without end: its node leaves the ring at the bound. Needs no root."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal

import pytest

import rondo
import rondo.aio
from rondo.testing.lab.waiting import wait_for
from tests.cluster.test_hung_cpg import BUSY_S, memory_peak
from tests.cluster.test_node import MakeNodes, Node, make_nodes, wait_for_log, wait_until_whole

__all__ = ["make_nodes"]

BOUND_BYTES = 8 << 20
BEYOND_BYTES_MAX = 24 << 20
"""Memory that totem may need in addition: envelopes in flight to control, and what Python's allocator keeps."""
LOOK_S = 0.02
CALLERS = 400
"""Changes of votes that are in flight at a time."""


@pytest.fixture
def nodes(make_nodes: MakeNodes) -> list[Node]:
    """Two nodes in a ring, with quorum. Their service time-out is so long that no service counts as hung."""
    made = make_nodes(2)
    for each in made:
        with each.config.open("a") as config:
            config.write("quorum {\n    provider: corosync_votequorum\n    expected_votes: 2\n}\n")
            config.write("system {\n    service_timeout: 600000\n}\n")
        each.start()
    made[0].command("wait", "--members", "2", "--timeout", "60")
    return made


async def change_votes_until(endpoint: str, pid: int, bytes_max: int) -> int:
    """Change expected votes to what they are until this process has ended, or has had more memory than `bytes_max`; the
    most memory that it has had, bytes."""
    peak = memory_peak(pid)
    async with rondo.aio.connect(endpoint, timeout=BUSY_S) as cluster:

        async def caller() -> None:
            while 0 < peak < bytes_max:
                # It is refused once the other node has left: two votes are more than the ring has.
                with contextlib.suppress(rondo.InvalidParameter):
                    await cluster.quorum.set_expected(2, timeout=BUSY_S)

        callers = [asyncio.create_task(caller()) for _ in range(CALLERS)]
        highest = peak
        while 0 < peak < bytes_max:
            highest, peak = max(highest, peak), memory_peak(pid)
            await asyncio.sleep(LOOK_S)
        await asyncio.gather(*callers)
    return highest


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_its_node_leaves_the_ring_and_nothing_grows(nodes: list[Node]) -> None:
    sound, hung = nodes
    before = hung.pids()
    first = memory_peak(before["totem"])
    os.kill(before["control"], signal.SIGSTOP)
    with contextlib.ExitStack() as stack:
        stack.callback(os.kill, before["control"], signal.SIGCONT)
        bytes_max = first + BOUND_BYTES + BEYOND_BYTES_MAX
        assert asyncio.run(change_votes_until(sound.endpoint, before["totem"], bytes_max)) < bytes_max
    said = f"control takes nothing any more, and what waits for it has reached its bound ({BOUND_BYTES} bytes)"
    wait_for_log(hung, "totem", said)
    wait_for(hung.pids, lambda now: now.get("totem", before["totem"]) != before["totem"], "totem is back", BUSY_S)
    sound.command("wait", "--members", "2", "--timeout", "60")
    wait_until_whole(hung)
    with rondo.connect(hung.endpoint, timeout=BUSY_S) as cluster:
        wait_for(cluster.quorum.status, lambda status: status.quorate, "quorum", BUSY_S)
