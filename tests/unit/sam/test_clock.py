"""Time in which SAM did not run does not count."""

import pytest

from services.sam.clock import SLACK_S, AwakeClock


def turn(clock: AwakeClock, at_s: float, meant_s: float) -> float:
    clock.plan(meant_s)
    return clock.advance(at_s)


def test_it_follows_the_clock_while_sam_comes_back_in_time() -> None:
    clock = AwakeClock(100.0)
    assert turn(clock, 100.025, 0.025) == 0.0
    assert turn(clock, 100.03, 0.025) == 0.0
    assert turn(clock, 101.03 + SLACK_S / 2, 1.0) == 0.0
    assert clock.now_s == pytest.approx(1.03 + SLACK_S / 2)
    assert clock.pauses == 0


def test_a_pause_counts_as_what_was_meant() -> None:
    clock = AwakeClock(100.0)
    assert turn(clock, 110.0, 0.025) == pytest.approx(9.975)
    assert clock.now_s == pytest.approx(0.025)
    assert turn(clock, 110.025, 0.025) == 0.0
    assert clock.now_s == pytest.approx(0.05)
    assert clock.pauses == 1
    assert clock.paused_s == pytest.approx(9.975)
