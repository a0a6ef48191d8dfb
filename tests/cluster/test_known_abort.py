"""A C node that dies of its known assertion while a ring is formed is started again; one that dies otherwise is not."""

from pathlib import Path
from typing import cast

import pytest

from rondo.testing.lab.corosync import CorosyncNode
from rondo.testing.lab.process import Process


class Ended:
    """What a node uses of a process."""

    def __init__(self, status: int | None, said: str) -> None:
        self.alive, self.exit_status, self._said = status is None, status, said

    def output(self) -> str:
        return self._said


class Node(CorosyncNode):
    def __init__(self, process: Ended, log_path: Path = Path("/nonexistent/corosync.log")) -> None:
        self.log_path = log_path
        self._process, self._meant_to_run, self._faults = cast("Process", process), True, []
        self._forgiven_lines = 0
        self.starts = 0

    def _launch(self) -> Process:
        self.starts += 1
        return cast("Process", Ended(None, f"{self.process.output()}what the next life says\n"))


@pytest.mark.parametrize(
    ("status", "said", "again"),
    [(-6, "orf_token_rtr: Assertion\n", True), (-6, "free(): invalid pointer", False), (-11, "orf_token_rtr", False)],
)
def test_only_the_known_abort_is_forgiven(status: int, said: str, again: bool) -> None:
    node = Node(Ended(status, said))
    assert node.start_after_known_abort() is again
    assert node.starts == int(again)


def test_what_a_forgiven_death_said_is_not_held_against_the_next_life() -> None:
    node = Node(Ended(-6, "orf_token_rtr: Assertion\n"))
    assert node.start_after_known_abort()
    assert node.suspicious() == ["what the next life says"]


def test_a_node_that_runs_is_left_alone() -> None:
    assert not Node(Ended(None, "orf_token_rtr")).start_after_known_abort()
