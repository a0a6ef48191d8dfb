"""Votequorum on the simulated ring: two partitions are never quorate at once, and broken rules are noticed."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.simulation.voting import VotingRun, configuration
from tests.unit.control.test_partitions import MUTANTS

SEEDS = range(12)
SEEDS_OF_MUTANTS = range(40)
NOTICED_HERE = (
    "half is enough",
    "dead nodes vote",
    "who is gone stays a member",
    "as many votes are expected as are there",
    "one vote too many is asked for",
    "votes are not told",
)
"""The broken rules that can be noticed here. The others show only if somebody sets votes by hand, or if nodes leave in
order."""


@pytest.mark.parametrize("seed", SEEDS)
def test_no_two_partitions_are_quorate_at_once(seed: int) -> None:
    run = VotingRun(seed)
    report = run.run()
    assert not report.failures, "\n".join(report.failures)
    assert not run.verdict.violations, run.verdict.violations[:5]


def test_seeds_are_of_all_kinds() -> None:
    kinds = Counter(str(configuration(seed, 4)) for seed in range(100))
    assert len(kinds) == 5
    assert any(configuration(seed, 2).two_node for seed in range(100))


@pytest.mark.parametrize("name", NOTICED_HERE)
def test_a_broken_rule_is_noticed(name: str) -> None:
    for seed in SEEDS_OF_MUTANTS:
        run = VotingRun(seed, MUTANTS[name])
        run.run()
        if run.verdict.violations:
            return
    pytest.fail(f"{name}: nobody notices")
