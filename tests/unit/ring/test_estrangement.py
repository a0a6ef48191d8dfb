"""After vain attempts in a row a node is passed over, longer each time, and forgiven."""

import pytest

from services.totem.ring.estrangement import (
    ATTEMPTS_FREE,
    FORGIVEN_AFTER_MS,
    PAUSE_MS_MAX,
    PAUSE_MS_MIN,
    Estrangement,
)
from services.totem.ring.timers import MS
from services.totem.wire.frames import PROCESSORS_MAX


def vain(attempts: int) -> Estrangement:
    """So many in a row with node 7, the last of them at time 0."""
    found = Estrangement()
    for number in range(attempts):
        found.note((7,), (number + 1 - attempts) * MS)
    return found


def pause_ms(found: Estrangement, node: int = 7) -> int:
    """How long the node is passed over from time 0 on."""
    return next(ms for ms in range(0, 60_000, 50) if not found.is_pausing(node, ms * MS))


@pytest.mark.parametrize(
    ("attempts", "pause"),
    [
        (0, 0),
        (ATTEMPTS_FREE, 0),
        (ATTEMPTS_FREE + 1, PAUSE_MS_MIN),
        (ATTEMPTS_FREE + 2, 2 * PAUSE_MS_MIN),
        (ATTEMPTS_FREE + 4, PAUSE_MS_MAX),
        (1000, PAUSE_MS_MAX),
    ],
)
def test_the_pause_doubles_up_to_a_bound(attempts: int, pause: int) -> None:
    assert pause_ms(vain(attempts)) == pause


def test_others_are_not_passed_over() -> None:
    assert pause_ms(vain(100), node=8) == 0


def test_a_ring_with_it_forgives_all() -> None:
    found = vain(100)
    found.meet((1, 7))
    assert pause_ms(found) == 0
    found.note((7,), 0)
    assert pause_ms(found) == 0


def test_time_forgives_all() -> None:
    found = vain(100)
    found.note((7,), (FORGIVEN_AFTER_MS + 1) * MS)
    assert not found.is_pausing(7, (FORGIVEN_AFTER_MS + 2) * MS)


def test_the_table_is_as_large_as_a_ring_at_most() -> None:
    found = vain(100)
    for node in range(1000, 1000 + PROCESSORS_MAX):
        found.note((node,), 0)
    assert len(found) == PROCESSORS_MAX
    assert pause_ms(found) == 0, "the one longest ago made room"
