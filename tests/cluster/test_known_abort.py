"""A C node that dies of its known assertion while a ring is formed is started again; one that dies otherwise is not."""

from typing import cast

import pytest

from rondo.testing.lab.corosync import CorosyncNode
from rondo.testing.lab.process import Process


class Ended:
    """A process, as far as the node looks at it."""

    def __init__(self, status: int | None, said: str) -> None:
        self.alive, self.exit_status, self._said = status is None, status, said

    def output(self) -> str:
        return self._said


class Node(CorosyncNode):
    def __init__(self, process: Ended) -> None:
        self._process, self._meant_to_run, self._faults = cast("Process", process), True, []
        self.starts = 0

    def _launch(self) -> Process:
        self.starts += 1
        return cast("Process", Ended(None, ""))


@pytest.mark.parametrize(
    ("status", "said", "again"),
    [(-6, "orf_token_rtr: Assertion", True), (-6, "free(): invalid pointer", False), (-11, "orf_token_rtr", False)],
)
def test_only_the_known_abort_is_forgiven(status: int, said: str, again: bool) -> None:
    node = Node(Ended(status, said))
    assert node.start_after_known_abort() is again
    assert node.starts == int(again)


def test_a_node_that_runs_is_left_alone() -> None:
    assert not Node(Ended(None, "orf_token_rtr")).start_after_known_abort()
