"""What a node that has nothing to do takes: memory, wake-ups and processor time of all its processes together.

Wake-ups are the same on a busy machine; what each of them costs there is several times what it costs on a quiet one,
where the aim, half a percent of a core, is measured (`make bench PARTS=idle`).

RONDO_IDLE_SECONDS: how long it is looked at.
"""

import os
import re
import time
from pathlib import Path

import pytest

from rondo.testing.lab.waiting import wait_for
from tests.cluster.test_node import ALL, Node, make_nodes, node

__all__ = ["make_nodes", "node"]

SECONDS = float(os.environ.get("RONDO_IDLE_SECONDS", "10"))
ATTEMPTS = 3
"""Of which one counts: a ring that a busy machine has broken has something to do."""
SETTLED_S_MAX = 60.0
SETTLED_S = 2.0
PSS_MIB_MAX = 115.0
WAKE_UPS_MAX = 40.0
"""Wake-ups per second."""
PROCESSOR_SHARE_MAX = 0.05
"""Share of one core, on a busy machine."""


def _processor_s(pids: list[int]) -> float:
    """User and system time of these processes, without their children, in seconds."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(") ")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _wake_ups(pids: list[int]) -> int:
    """How often the threads of these processes have gone to sleep so far."""
    return sum(
        int(line.split()[1])
        for pid in pids
        for task in Path(f"/proc/{pid}/task").iterdir()
        for line in (task / "status").read_text(encoding="ascii").splitlines()
        if line.startswith("voluntary_ctxt_switches:")
    )


def _pss_mib(pids: list[int]) -> float:
    found = [
        re.search(r"^Pss: +(\d+) kB$", Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii"), re.MULTILINE)
        for pid in pids
    ]
    return sum(int(each[1]) for each in found if each) / 1024


@pytest.mark.slow
def test_an_idle_node_takes_little(node: Node) -> None:
    with node.config.open("a") as config:
        config.write("quorum {\n    provider: corosync_votequorum\n}\n")
    node.start()
    assert node.pids().keys() == ALL
    pids = sorted(node.pids().values())

    def in_a_while() -> float:
        before = _wake_ups(pids)
        time.sleep(SETTLED_S)
        return (_wake_ups(pids) - before) / SETTLED_S

    wait_for(in_a_while, lambda rate: rate < 2 * WAKE_UPS_MAX, "it has settled", SETTLED_S_MAX)
    for _ in range(ATTEMPTS):
        before_s, before, began_s = _processor_s(pids), _wake_ups(pids), time.monotonic()
        time.sleep(SECONDS)
        seconds = time.monotonic() - began_s
        share, rate = (_processor_s(pids) - before_s) / seconds, (_wake_ups(pids) - before) / seconds
        pss_mib = _pss_mib(pids)
        print(f"idle: {100 * share:.2f} % of a core, {rate:.1f} wake-ups a second, {pss_mib:.1f} MiB")
        if rate < WAKE_UPS_MAX and share < PROCESSOR_SHARE_MAX:
            break
    assert rate < WAKE_UPS_MAX
    assert share < PROCESSOR_SHARE_MAX
    assert pss_mib < PSS_MIB_MAX
