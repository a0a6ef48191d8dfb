"""Backpressure: the fuller the log, the longer each token waits; never long enough to be taken for lost."""

from __future__ import annotations

import pytest

from services.totem.backpressure import PAUSE_NS_MAX, Backpressure

MS = 1_000_000


@pytest.mark.parametrize(("pressure", "pause_ms"), [(0.0, 0), (0.2, 0), (0.28, 5), (0.6, 25), (1.0, 50), (7.0, 50)])
def test_the_pause_grows_with_the_log(pressure: float, pause_ms: int) -> None:
    backpressure = Backpressure(714, 3000)
    begins = backpressure.update(pressure, 1, 0)
    assert begins == (pause_ms > 0)
    assert backpressure.until_ns // MS in (pause_ms, pause_ms - 1)
    assert not backpressure.holds(pause_ms * MS)


def test_only_a_token_begins_a_pause() -> None:
    backpressure = Backpressure(714, 3000)
    assert backpressure.update(1.0, 1, 0)
    assert not backpressure.update(1.0, 1, PAUSE_NS_MAX)
    assert backpressure.update(1.0, 2, PAUSE_NS_MAX)
    assert backpressure.pauses == 2


def test_with_short_time_outs_the_pause_is_short() -> None:
    backpressure = Backpressure(40, 100)
    backpressure.update(1.0, 1, 0)
    assert backpressure.until_ns == 10 * MS


def test_a_full_log_prolongs_the_pause_up_to_a_fifth_of_the_token_time_out() -> None:
    backpressure = Backpressure(714, 3000)
    assert backpressure.update(1.0, 1, 0)
    pauses = 1
    while backpressure.prolong(1.0, backpressure.until_ns):
        pauses += 1
    assert (backpressure.until_ns, pauses) == (600 * MS, 12)


def test_a_log_that_is_full_no_longer_ends_it() -> None:
    backpressure = Backpressure(714, 3000)
    assert backpressure.update(1.0, 1, 0)
    assert backpressure.prolong(1.0, backpressure.until_ns)
    assert not backpressure.prolong(0.99, backpressure.until_ns)
