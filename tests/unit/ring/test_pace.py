"""How long a token is waited for before it is sent again."""

from __future__ import annotations

from services.totem.ring.pace import INTERVAL_NS_FIRST, INTERVAL_NS_MIN, LATE_IN_A_ROW, Pace

MS = 1_000_000
LONGEST = 714 * MS


def rotate(pace: Pace, *rotations_ns: int) -> None:
    """Rotations that take so long, with repetitions as the timer asks for them."""
    for rotation_ns in rotations_ns:
        at = 0
        wait = pace.passed_on(1, may_be_held=False)
        while at + wait < rotation_ns:
            at += wait
            wait = pace.repeated()
        pace.came(1 + rotation_ns)


def test_before_anything_was_measured_the_wait_is_short_and_doubles_up_to_corosyncs() -> None:
    pace = Pace(LONGEST)
    waits = [pace.passed_on(1, may_be_held=False), *(pace.repeated() for _ in range(8))]
    assert waits[0] == INTERVAL_NS_FIRST
    assert waits[1:4] == [2 * INTERVAL_NS_FIRST, 4 * INTERVAL_NS_FIRST, 8 * INTERVAL_NS_FIRST]
    assert waits[-1] == LONGEST


def test_a_fast_ring_waits_the_least_that_is_reasonable() -> None:
    pace = Pace(LONGEST)
    rotate(pace, *[400_000] * 30)
    assert pace.rotation_ns == 400_000
    assert pace.passed_on(1, may_be_held=False) == INTERVAL_NS_MIN


def test_a_steady_slow_ring_waits_little_more_than_a_rotation() -> None:
    pace = Pace(LONGEST)
    rotate(pace, *[100 * MS] * 60)
    assert 100 * MS <= pace.passed_on(1, may_be_held=False) < 120 * MS


def test_lost_tokens_do_not_make_the_wait_longer() -> None:
    pace = Pace(LONGEST)
    rotate(pace, *[400_000, 6 * MS, 400_000, 400_000] * 50)
    assert pace.passed_on(1, may_be_held=False) == INTERVAL_NS_MIN


def test_a_ring_that_becomes_slower_is_followed() -> None:
    pace = Pace(LONGEST)
    rotate(pace, *[400_000] * 30)
    rotate(pace, *[200 * MS] * (LATE_IN_A_ROW + 20))
    assert pace.passed_on(1, may_be_held=False) >= 200 * MS
    rotate(pace, *[400_000] * 100)
    assert pace.passed_on(1, may_be_held=False) == INTERVAL_NS_MIN


def test_a_held_token_is_neither_missed_early_nor_measured() -> None:
    pace = Pace(LONGEST)
    rotate(pace, *[400_000] * 30)
    assert pace.passed_on(1, may_be_held=True) == LONGEST
    pace.came(500 * MS)
    assert pace.rotation_ns == 400_000
    pace.passed_on(1, may_be_held=True)
    assert pace.hurried() == INTERVAL_NS_MIN


def test_like_corosync_nothing_but_its_timer() -> None:
    pace = Pace(LONGEST, fixed=True)
    rotate(pace, *[400_000] * 30)
    assert pace.passed_on(1, may_be_held=False) == LONGEST
    assert pace.repeated() == LONGEST
