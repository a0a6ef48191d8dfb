"""Programs on libcpg and on Rondo's client in one group at full speed, sizes from 1 byte to 3 MB: one order, whole.

RONDO_LOAD_MESSAGES: how many each of the six sends (`make load-c` has 100,000).
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rondo.testing.lab.netns import Lab
from rondo.testing.lab.ring_config import PATIENT
from rondo.testing.lab.rondo_node import REPOSITORY
from tests.interop.c_programs import compiled, nodes_of, result_of

pytestmark = [pytest.mark.corosync, pytest.mark.namespaces, pytest.mark.timeout(7200)]

MESSAGES = int(os.environ.get("RONDO_LOAD_MESSAGES", "2000"))
SIZE_MIN, SIZE_MAX = 1, 2000
LONG_MAX = 3_000_000
LONG_MESSAGES = 4 if MESSAGES < 10_000 else 40
"""Long messages of each sender, of up to `LONG_MAX` bytes."""
NODES = 3
GROUP = "load"
TIMEOUT_S = 120.0 + MESSAGES / 25


@pytest.mark.slow
def test_c_and_python_programs_at_full_speed_see_one_order(make_lab: Callable[[int], Lab], tmp_path: Path) -> None:
    program = compiled(tmp_path, "load")
    members = 2 * NODES
    total = members * MESSAGES
    said = [members, MESSAGES, SIZE_MIN, SIZE_MAX, total, MESSAGES // LONG_MESSAGES, LONG_MAX]
    arguments = [GROUP, *map(str, said)]
    with nodes_of(make_lab(NODES), tmp_path, totem=PATIENT) as nodes:
        loads = []
        for node in nodes:
            loads.append(node.host.start([program, *arguments], "load"))
            python = [sys.executable, "-m", "tests.interop.load_client", node.socket, *arguments]
            loads.append(node.host.start(python, "python", {"PYTHONPATH": str(REPOSITORY)}))
        found = [result_of(load, TIMEOUT_S) for load in loads]
        print(f"{total} messages: {', '.join(each['seconds'] for each in found)} s")
        assert [(each["total"], each["wrong"]) for each in found] == [(str(total), "0")] * members
        assert len({each["order"] for each in found}) == 1
        for node in nodes:
            counters = node.told("qb_gateway")["counters"]
            assert (counters["cut"], counters["messages_refused"], counters["messages_lost"]) == (0, 0, 0)
            assert node.suspicious() == []
