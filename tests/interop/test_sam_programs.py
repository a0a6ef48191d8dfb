"""C programs on Debian's libsam: on a Rondo node they are watched, ended and started again as on C Corosync.

What the program of `c/sam.c` tells, how it ends, and what its keys in cmap were in which order, is the same on both.
"""

import os
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from rondo.testing.lab.process import Process
from rondo.testing.lab.waiting import wait_for
from tests.interop.beside import TIMEOUT_S, Side, both_sides
from tests.interop.c_programs import compiled

pytestmark = [
    pytest.mark.corosync,
    pytest.mark.namespaces,
    pytest.mark.libsam,
    pytest.mark.slow,
    pytest.mark.timeout(400),
]

QUIT, RESTART, QUORUM, CMAP = 1, 2, 8, 16
INTERVAL_MS = 3000
"""A program that says four times an interval that it is healthy must not be late where the machine is busy."""
KEYS = "resources.process."


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    return compiled(tmp_path_factory.mktemp("sam"), "sam", "-lsam")


@pytest.fixture
def sides(tmp_path: Path) -> Iterator[tuple[Side, Side]]:
    """Two nodes each, which need both for quorum."""
    with both_sides(tmp_path, 2) as sides:
        yield sides


class Watched:
    """The program on one side, with what becomes of its keys."""

    def __init__(self, side: Side, program: str, name: str, policy: int, *deeds: str) -> None:
        self.side = side
        self._tracker = side.start(f"{name}-keys", "corosync-cmapctl", "-T", KEYS)
        # It says nothing when it has begun; a key that it tells of is the sign.
        wait_for(self._touched, lambda text: "touched" in text, "cmapctl tracks", TIMEOUT_S)
        self._process: Process = side.host.start([program, str(policy), str(INTERVAL_MS), *deeds], name)

    def _touched(self) -> str:
        self.side.said("corosync-cmapctl", "-s", f"{KEYS}touched", "u8", "1")
        self.side.said("corosync-cmapctl", "-d", f"{KEYS}touched")
        return self._tracker.output()

    def lines(self) -> list[str]:
        """What it tells, without numbers of processes."""
        return [line for line in self._process.output().splitlines() if " pid " not in line]

    def pid(self, instance: int) -> int:
        """The process of an instance, once that has started its checks."""
        self.wait_line(f"{instance} start 1")
        found = re.search(rf"^{instance} pid (\d+)$", self._process.output(), re.MULTILINE)
        assert found is not None
        return int(found[1])

    def wait_line(self, line: str, count: int = 1) -> None:
        wait_for(self.lines, lambda lines: lines.count(line) >= count, f"{self.side.name}: {line}", TIMEOUT_S)

    def wait_end(self) -> int:
        """The exit status of its parent."""
        found = wait_for(lambda: self._process.exit_status, lambda status: status is not None, "its end", TIMEOUT_S)
        assert found is not None
        return found

    def keys(self) -> dict[str, str]:
        """Its keys as they are now."""
        mine = rf"^{re.escape(KEYS)}{self._process.pid}\.(\w+) \((\w+)\) = (.*)$"
        return {
            name: f"{kind} {value}"
            for name, kind, value in re.findall(mine, self.side.said("corosync-cmapctl", KEYS), re.MULTILINE)
        }

    def wait_state(self, state: str) -> None:
        wanted = f"str {state}"
        wait_for(self.keys, lambda keys: keys.get("state") == wanted, f"{self.side.name}: {state}", TIMEOUT_S)

    def wait_heard(self) -> None:
        """Wait until it has said once more that it is healthy."""
        before = self.keys()["last_updated"]
        wait_for(self.keys, lambda keys: keys["last_updated"] != before, f"{self.side.name}: it is heard", TIMEOUT_S)

    def changes(self) -> list[str]:
        """What became of its keys, in order, once all of it is told; when it was heard last is left out."""
        self.side.said("corosync-cmapctl", "-s", f"{KEYS}end", "u8", "1")
        self.side.said("corosync-cmapctl", "-d", f"{KEYS}end")
        text = wait_for(self._tracker.output, lambda text: f"delete> {KEYS}end" in text, "all changes", TIMEOUT_S)
        mine = rf"^(\w+> {re.escape(KEYS)}{self._process.pid}\.(?!last_updated).*)$"
        return [each.replace(f".{self._process.pid}.", ".PID.") for each in re.findall(mine, text, re.MULTILINE)]


@dataclass(frozen=True)
class Story:
    """What a program does under a policy, and some of what it must tell; its parent ends by itself."""

    policy: int
    deeds: tuple[str, ...]
    tells: tuple[str, ...]
    may_tell: str = ""
    """A line that its end may forestall."""


STORIES = {
    "is not started again after a hang": Story(QUIT | CMAP, ("hangs",), ("1 start 1", "warned")),
    "is not started again after its end": Story(QUIT | CMAP, ("exits",), ("1 start 1",)),
    "marks itself failed": Story(RESTART | CMAP, ("fails",), ("1 start 1",), may_tell="1 mark_failed 1"),
    "stops its checks": Story(RESTART | CMAP, ("stops",), ("1 stop 1", "1 hc_send 9", "1 finalize 1")),
    "calls everything wrongly": Story(RESTART, ("errs",), ("0 too early 9", "1 initialize 9", "1 mark_failed 7")),
}


def test_programs_that_end(sides: tuple[Side, Side], program: str) -> None:
    runs = {
        name: [Watched(side, program, f"sam{number}", story.policy, *story.deeds) for side in sides]
        for number, (name, story) in enumerate(STORIES.items())
    }
    for name, (rondo, c) in runs.items():
        assert rondo.wait_end() == c.wait_end(), name
        told, told_by_c = ([line for line in each.lines() if line != STORIES[name].may_tell] for each in (rondo, c))
        assert told == told_by_c, name
        assert [line for line in STORIES[name].tells if line not in rondo.lines()] == [], name
        assert rondo.changes() == c.changes(), name
        assert rondo.keys().keys() == c.keys().keys(), name


def test_a_program_is_started_again_whatever_ends_it(sides: tuple[Side, Side], program: str) -> None:
    deeds = ("hangs", "hangs-on", "exits", "asked", "works")
    runs = [Watched(side, program, "sam", RESTART | CMAP, *deeds) for side in sides]
    for run in runs:
        os.kill(run.pid(5), signal.SIGKILL)
        run.pid(6)
        run.wait_heard()
    rondo, c = runs
    assert rondo.lines() == c.lines()
    lines = rondo.lines()
    assert lines.count("warned") == 3, "the two that hang, and the one that does not answer any more"
    for instance in range(2, 7):
        before = instance - 1
        assert f"{instance} bytes {before * 50_000}" in lines, "what the one before has stored"
        assert {f"{instance} first {before}", f"{instance} last {before}"} <= set(lines)
    keys = [{name: value for name, value in run.keys().items() if name != "last_updated"} for run in runs]
    assert (
        keys[0] == keys[1] == {"recovery": "str restart", "poll_period": f"u64 {INTERVAL_MS}", "state": "str running"}
    )
    assert rondo.changes() == c.changes()


def test_a_program_that_needs_quorum(sides: tuple[Side, Side], program: str) -> None:
    for side in sides:
        side.lose()
        side.wait_quorate(False)
    runs = [Watched(side, program, "sam", RESTART | QUORUM | CMAP, "works") for side in sides]
    for run in runs:
        run.wait_state("waiting for quorum")
        assert "1 start 1" not in run.lines()
        run.side.regain()
        run.wait_line("1 start 1")
        run.side.lose()
        run.wait_line("warned")
        run.wait_state("waiting for quorum")
        assert "2 start 1" not in run.lines()
        run.side.regain()
        run.wait_line("2 start 1")
        run.wait_state("running")
    rondo, c = runs
    assert rondo.lines() == c.lines()
    assert rondo.changes() == c.changes()
