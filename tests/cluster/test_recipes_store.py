"""A state on disk, and real nodes: everything is killed under load, and starts again from what the disks have."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from rondo.testing import TestCluster, rondo_cluster
from tests.cluster.test_recipes import eventually

NODES = (1, 2, 3)
ROUNDS = 2
NOTES_IN_ROUND = 600


class Application:
    """`stored_notes` on one node."""

    def __init__(self, cluster: TestCluster, node: int, directory: Path, what: str) -> None:
        argv = [
            sys.executable,
            "-m",
            "tests.cluster.stored_notes",
            cluster[node].endpoint,
            str(directory / str(node)),
            what,
        ]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.lines: list[bytes] = []
        self._listener = threading.Thread(target=self._listen)
        self._listener.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.endswith(b"\n"):  # the last one may be half of one
                self.lines.append(line)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self._listener.join()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_when_everything_is_killed(tmp_path: Path) -> None:
    told: list[str] = []
    with rondo_cluster(nodes=3, network=False) as c:
        for _ in range(ROUNDS):
            applications = [Application(c, node, tmp_path, "write") for node in NODES]
            try:
                eventually(lambda: sum(len(each.lines) for each in applications) >= NOTES_IN_ROUND)  # noqa: B023
            finally:
                for application in applications:
                    application.process.kill()
                for node in NODES:
                    c.kill(node)
                for application in applications:
                    application.kill()
            told += [line.decode().strip() for each in applications for line in each.lines]
            for node in NODES:
                c.restart(node)
            c.wait_members(NODES)
        readers = [Application(c, node, tmp_path, "read") for node in NODES]
        try:
            eventually(lambda: all(each.lines for each in readers))
        finally:
            for reader in readers:
                reader.kill()
    states = [json.loads(reader.lines[0]) for reader in readers]
    assert states[0] == states[1] == states[2]
    assert len(set(states[0])) == len(states[0]), "none is there twice"
    assert not set(told) - set(states[0]), "none that was acknowledged is lost"
    assert len(told) >= ROUNDS * NOTES_IN_ROUND
