"""A cable is pulled and another link takes over, with a bound for slow machines; `make failover` measures it."""

import pytest

from bench.failover import SYSTEMS, Outcome, failover
from bench.lab.systems import chosen

PULLS = 2
SLOW_MS_MAX = 1000
"""The bound for a busy machine. A ring that waited for the ping time-out would take longer."""
ATTEMPTS_MAX = 3
"""Of which one must be in time: a busy machine may hold an application for as long."""


@pytest.mark.namespaces
@pytest.mark.slow
def test_nobody_waits_for_a_time_out_when_a_cable_is_pulled() -> None:
    worst_ms: list[float] = []
    while not worst_ms or (min(worst_ms) >= SLOW_MS_MAX and len(worst_ms) < ATTEMPTS_MAX):
        outcome = failover(chosen(SYSTEMS)[0], PULLS, seed=7)
        print(outcome.text())
        assert outcome.faults == []
        assert len(outcome.gaps_ms) == PULLS
        assert outcome.messages > 100
        worst_ms.append(max(outcome.gaps_ms))
    assert min(worst_ms) < SLOW_MS_MAX, worst_ms


def test_a_gap_belongs_to_the_pull_during_which_it_was() -> None:
    def answer(*gaps: tuple[float, float], received: int = 20, order: int = 1) -> dict[str, object]:
        return {"sent": 10, "received": received, "lost": 20 - received, "doubled": 0, "order": order, "gaps": gaps}

    outcome = Outcome.of(
        "s", [answer((1.05, 50.0), (9.0, 400.0)), answer((5.2, 30.0))], [(1.01, 2.0), (5.0, 6.0)], memberships=0
    )
    assert outcome.gaps_ms == [50.0, 30.0]
    assert outcome.usual_ms == 400.0
    assert outcome.faults == []
    wrong = Outcome.of("s", [answer(received=19), answer(order=2)], [(1.0, 2.0)], memberships=3)
    assert len(wrong.faults) == 3
