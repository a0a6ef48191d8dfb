"""The ring process of a supervised node is killed: it is a member again at once, beside C nodes too.

C nodes take a link whose port is closed for dead, and then wait for seconds. So sam holds the ports meanwhile.
"""

import os
import signal
import statistics
import sys
import time
from collections.abc import Collection
from functools import partial
from pathlib import Path

import pytest

from rondo.ipc.control import ControlError, ask
from rondo.testing.lab.corosync import CorosyncNode
from rondo.testing.lab.netns import Lab
from rondo.testing.lab.ring_config import KnetConfig
from rondo.testing.lab.rondo_node import REPOSITORY
from rondo.testing.lab.waiting import wait_for

pytestmark = [pytest.mark.namespaces, pytest.mark.slow]

c_nodes = partial(pytest.param, marks=pytest.mark.corosync)
NODES = [1, 2, 3]
KILLS = 5
QUIET_S = 2.0
"""Between two kills: supervisord starts what dies soon after its start again with a delay."""
PINGS = {"knet_ping_interval": 4000, "knet_ping_timeout": 30_000}
"""A link is dead if no pong comes for so long, or at once if its port is closed; it lives again after some pongs.

The first must not happen while a new process starts, which takes seconds on a loaded machine.
"""
BACK_S_MAX = 3.0
"""After the new process has its sockets. It takes a tenth of a second, and with dead links an interval of pings."""
LONG_S = 60.0


class SupervisedNode:
    """A node of `rondo start` in a host."""

    def __init__(self, lab: Lab, number: int, config: KnetConfig) -> None:
        host = lab.host(number)
        self.run_dir = host.directory / "run"
        self.run_dir.mkdir(mode=0o700)
        file = host.directory / "corosync.conf"
        file.write_text(config.text(logging={"to_syslog": "no", "to_stderr": "no"}))
        argv = [
            sys.executable, "-m", "rondo.cli.main", "start", "-c", str(file), "--nodeid", str(number),
            "--run-dir", str(self.run_dir), "--state-dir", str(host.directory / "state"),
        ]  # fmt: skip
        host.start(argv, "start", {"PYTHONPATH": str(REPOSITORY)})

    def ring_process(self) -> int:
        """Its pid; 0 while there is none that answers."""
        try:
            return int(ask(self.run_dir, "totem", "status")["pid"])
        except ControlError:
            return 0

    def members(self) -> Collection[int]:
        """With whom clients of this node are in a ring."""
        try:
            status = ask(self.run_dir, "cpg", "status")
        except ControlError:
            return ()
        return list(status["ring"]["members"]) if status["state"] == "operational" else ()

    def killed(self) -> float:
        """Kill its ring process; how many seconds after the start of the next one it is in the ring of all again."""
        former = wait_for(self.ring_process, bool, "the ring process answers", LONG_S)
        os.kill(former, signal.SIGKILL)
        wait_for(self.ring_process, lambda pid: pid not in (0, former), "another ring process", LONG_S)
        began_s = time.monotonic()
        wait_for(self.members, lambda members: members == NODES, "it is a member again", LONG_S)
        return time.monotonic() - began_s


@pytest.mark.parametrize(
    "c", [c_nodes((1, 2), id="CCR"), c_nodes((1,), id="CRR"), pytest.param((), id="RRR")]
)  # fmt: skip
def test_a_crashed_ring_process_is_a_member_again_at_once(lab: Lab, tmp_path: Path, c: tuple[int, ...]) -> None:
    config = KnetConfig.of_lab(lab, tmp_path, link=PINGS)
    for number in c:
        CorosyncNode(lab.host(number), config).start()
    victim = [SupervisedNode(lab, number, config) for number in NODES if number not in c][-1]
    wait_for(victim.members, lambda members: members == NODES, "a ring of all", LONG_S)
    back_s = []
    for _ in range(KILLS):
        time.sleep(QUIET_S)
        back_s.append(victim.killed())
    print("a member again after", *(f"{each:.2f} s" for each in back_s))
    assert statistics.median(back_s) < BACK_S_MAX, back_s
