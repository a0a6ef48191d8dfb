"""The nodes of `rondo_cluster` are forks of one process: each is a process of its own, and none outlives its test."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from rondo.node.process_name import process_name_of
from rondo.testing import rondo_cluster
from rondo.testing.lab.forked import ServiceForker
from rondo.testing.lab.netns import LabError

WAIT_S = 60.0
KILLED_TEST = """
import sys
from rondo.testing import rondo_cluster
with rondo_cluster(nodes=1, network=False) as c:
    print(*c[1].pids, flush=True)
    sys.stdin.read()
"""


def wait_for_end(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        assert select.select([descriptor], [], [], WAIT_S)[0], "it has not ended"
        os.close(descriptor)


def test_each_service_is_a_process_that_ends_with_the_cluster() -> None:
    with rondo_cluster(nodes=1, network=False) as c:
        names = [process_name_of(pid) for pid in c[1].pids]
        assert names == ["rondo-totem", "rondo-cpg", "rondo-control", "rondo-gateway"]
        assert all(os.getsid(pid) == pid for pid in c[1].pids)
        descriptors = [os.pidfd_open(pid) for pid in c[1].pids]
    wait_for_end(descriptors)


def test_services_end_when_the_test_is_killed() -> None:
    test = subprocess.Popen([sys.executable, "-c", KILLED_TEST], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert test.stdin is not None
    assert test.stdout is not None
    descriptors = [os.pidfd_open(int(pid)) for pid in test.stdout.readline().split()]
    assert len(descriptors) == 4
    test.kill()
    test.communicate()
    wait_for_end(descriptors)


def test_a_service_that_cannot_start_leaves_its_reason_in_the_log(tmp_path: Path) -> None:
    forker = ServiceForker("totem", tmp_path / "forker.log")
    try:
        log = tmp_path / "node.log"
        forker.start("totem", ["-c", "/no/such/file", "--run-dir", str(tmp_path)], log).wait()
        assert "/no/such/file" in log.read_text()
        with pytest.raises(LabError, match=r"No module named .*no_service"):
            forker.start("no_service", [], log)
    finally:
        forker.close()
