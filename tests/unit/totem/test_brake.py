"""The brake: the fuller the log, the longer each token waits; never long enough to be taken for lost."""

from __future__ import annotations

import pytest

from services.totem.brake import PAUSE_NS_MAX, Brake

MS = 1_000_000


@pytest.mark.parametrize(("pressure", "pause_ms"), [(0.0, 0), (0.2, 0), (0.28, 5), (0.6, 25), (1.0, 50), (7.0, 50)])
def test_the_pause_grows_with_the_log(pressure: float, pause_ms: int) -> None:
    brake = Brake(714)
    begins = brake.update(pressure, 1, 0)
    assert begins == (pause_ms > 0)
    assert brake.until_ns // MS in (pause_ms, pause_ms - 1)
    assert not brake.holds(pause_ms * MS)


def test_only_a_token_begins_a_pause() -> None:
    brake = Brake(714)
    assert brake.update(1.0, 1, 0)
    assert not brake.update(1.0, 1, PAUSE_NS_MAX)
    assert brake.update(1.0, 2, PAUSE_NS_MAX)
    assert brake.pauses == 2


def test_with_short_time_outs_the_pause_is_short() -> None:
    brake = Brake(40)
    brake.update(1.0, 1, 0)
    assert brake.until_ns == 10 * MS
