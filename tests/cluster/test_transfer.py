"""A state of some size comes to a node that joins, while commands go on and the giver is killed (make transfer)."""

from __future__ import annotations

import pytest

from tests.cluster.transfer.run import run

MEBIBYTES = 96


@pytest.mark.slow
def test_a_large_state_comes_although_the_giver_is_killed() -> None:
    outcome = run(MEBIBYTES)
    print(outcome)
    assert outcome.faults() == []
