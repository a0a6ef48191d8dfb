"""Who of the nodelist is away, and since when."""

from services.totem.absence import Absence

SECOND_NS = 1_000_000_000


def test_a_node_is_away_from_the_start_or_from_the_ring_that_lacks_it() -> None:
    absence = Absence((1, 2, 3), 0)
    absence.ring((1,), 1 * SECOND_NS)
    assert absence.status(5 * SECOND_NS) == [
        {"node": 2, "seconds": 5.0, "seen": False},
        {"node": 3, "seconds": 5.0, "seen": False},
    ]
    absence.ring((1, 2), 6 * SECOND_NS)
    absence.ring((1,), 8 * SECOND_NS)
    absence.ring((1,), 9 * SECOND_NS)
    assert absence.status(10 * SECOND_NS) == [
        {"node": 2, "seconds": 2.0, "seen": True},
        {"node": 3, "seconds": 10.0, "seen": False},
    ]
    absence.ring((1, 2, 3), 11 * SECOND_NS)
    assert absence.status(12 * SECOND_NS) == []


def test_without_a_nodelist_nobody_is_missed() -> None:
    absence = Absence((), 0)
    absence.ring((1,), SECOND_NS)
    assert absence.status(SECOND_NS) == []
