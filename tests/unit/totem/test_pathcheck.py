"""The check of the paths, with nodes whose network loses what the test says, in virtual time."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from services.totem.transport.pathcheck import (
    AGAIN_NS,
    ECHOES_PER_SECOND,
    EVERYBODY,
    GREET_NS_MAX,
    LOOK_NS,
    SAY_AGAIN_NS,
    Finding,
    Path,
    PathCheck,
)
from services.totem.wire.notices import Probe

SECOND_NS = 1_000_000_000
STEP_NS = 50_000_000
FULL = 9000
Passes = Callable[[int, int, bool], bool]
"""Whether a datagram to a node, of so many bytes, by multicast or not, gets there."""


class Paths:
    """One node that checks its ways to nodes 2 and 3, which answer after a step."""

    def __init__(self, passes: Passes, *, multicast: bool = False, size_max: int = FULL) -> None:
        self.passes = passes
        self.now_ns = 10**12
        self.check = PathCheck(size_max, multicast=multicast)
        self.check.set_peers((2, 3), self.now_ns)
        self.asked: list[tuple[int, int]] = []
        self.findings: list[Finding] = []

    def run(self, seconds: float) -> None:
        end_ns = self.now_ns + int(seconds * SECOND_NS)
        answers: list[Probe] = []
        while self.now_ns < end_ns:
            self.now_ns += STEP_NS
            for answer in answers:
                self.check.echoed(answer, self.now_ns)
            answers = []
            if self.check.due_ns <= self.now_ns:
                self.check.set_peers((2, 3), self.now_ns)
                self.check.advance(self.now_ns)
                assert self.check.due_ns > self.now_ns
            questions, self.check.questions = self.check.questions, []
            for question in questions:
                self.asked.append((question.node, question.size))
                multicast = question.node == EVERYBODY
                for node in (2, 3) if multicast else (question.node,):
                    if self.passes(node, question.size, multicast):
                        answers.append(Probe(node, question.number, question.size, multicast, echo=True))
            found, self.check.findings = self.check.findings, []
            self.findings += found


def known(paths: Paths, node: int) -> tuple[object, object]:
    status = paths.check.status()[str(node)]
    assert isinstance(status, dict)
    return status["path"], status["passes"]


def test_where_all_is_well_nothing_is_said_and_little_is_asked() -> None:
    paths = Paths(lambda node, size, multicast: True)
    paths.run(600)
    assert paths.findings == []
    assert len(paths.asked) <= 2 * 2 * (600 * SECOND_NS / AGAIN_NS + 2)
    assert [known(paths, node) for node in (2, 3)] == [("good", FULL)] * 2


@pytest.mark.parametrize("multicast", [False, True], ids=["unicast", "multicast"])
@pytest.mark.parametrize(("limit", "passes"), [(1500, 1472), (1472, 1472), (1400, 1392), (600, 548), (300, 0)])
def test_a_path_that_loses_large_packets_is_said_with_what_passes(multicast: bool, limit: int, passes: int) -> None:
    paths = Paths(lambda node, size, multicast: node == 2 or size <= limit, multicast=multicast)
    paths.run(20)
    assert paths.findings == [Finding(3, Path.LOSES_LARGE, passes)]
    paths.run(SAY_AGAIN_NS / SECOND_NS + 120)
    assert paths.findings == [Finding(3, Path.LOSES_LARGE, passes)] * 2, "again, but rarely"
    paths.passes = lambda node, size, multicast: True
    paths.run(120)
    assert paths.findings[2:] == [Finding(3, Path.GOOD, FULL)]
    paths.run(600)
    assert len(paths.findings) == 3


def test_multicast_that_does_not_arrive_is_said() -> None:
    paths = Paths(lambda node, size, multicast: node == 2 or not multicast, multicast=True)
    paths.run(20)
    assert paths.findings == [Finding(3, Path.NO_MULTICAST, 0)]


def test_a_node_that_never_answers_is_greeted_now_and_then_and_nothing_is_said() -> None:
    """It is switched off, or runs Corosync."""
    paths = Paths(lambda node, size, multicast: node == 2, multicast=True)
    paths.run(600)
    assert paths.findings == []
    assert {size for node, size in paths.asked if node == 3} == {0}
    assert len([1 for node, _ in paths.asked if node == 3]) <= 600 * SECOND_NS / GREET_NS_MAX + 8
    assert known(paths, 3) == ("unknown", 0)


def test_a_node_that_dies_in_between_is_not_taken_for_a_bad_path() -> None:
    paths = Paths(lambda node, size, multicast: node == 2 or (size == 0 and paths.now_ns < 10**12 + 2 * SECOND_NS))
    paths.run(120)
    assert paths.findings == []


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("multicast", [False, True], ids=["unicast", "multicast"])
def test_random_loss_is_not_taken_for_a_bad_path(seed: int, multicast: bool) -> None:
    draw = Random(f"loss {seed}")
    paths = Paths(lambda node, size, multicast: draw.random() > 0.3, multicast=multicast)
    paths.run(600)
    assert paths.findings == []


def test_nodes_come_and_go() -> None:
    paths = Paths(lambda node, size, multicast: True)
    paths.run(5)
    paths.check.set_peers((3, 4), paths.now_ns)
    assert set(paths.check.status()) == {"3", "4"}
    paths.check.start_over(paths.now_ns)
    assert paths.check.status() == {}
    assert paths.check.due_ns == paths.now_ns + LOOK_NS, "without a nodelist others come to be known later"


def test_answers_that_were_not_asked_for_do_nothing() -> None:
    paths = Paths(lambda node, size, multicast: size == 0)
    paths.run(0.2)
    for answer in (Probe(2, 99, FULL, False, True), Probe(9, 1, 0, False, True), Probe(2, 1, 7, False, True)):
        paths.check.echoed(answer, paths.now_ns)
    assert known(paths, 2) == ("unknown", 0)


def test_a_flood_of_probes_is_answered_in_part() -> None:
    check = PathCheck(1500, multicast=False)
    assert sum(check.may_echo(SECOND_NS + n) for n in range(10_000)) == ECHOES_PER_SECOND
    assert check.may_echo(2 * SECOND_NS)
