"""When the watchdog calls a service hung: simulated time, one look after the other."""

import itertools

from rondo.node.supervision.watchdog import LOOK_S_MAX, START_S_MAX, Watchdog

PID, OTHER = 7, 8
TIMEOUT_S = 5.0


class Looks:
    """A watchdog with a simulated clock."""

    def __init__(self, timeout_s: float = TIMEOUT_S) -> None:
        self.watchdog = Watchdog(timeout_s)
        self.now_s = 100.0

    def look(self, late_s: float = 0.0, **unread: bool) -> list[int]:
        """One look; who is hung. Keywords: p7=True means that process 7 has not read."""
        self.now_s += self.watchdog.look_s + late_s
        verdict = self.watchdog.look(self.now_s, {int(name[1:]): waits for name, waits in unread.items()})
        assert set(verdict.to_ask) == {int(name[1:]) for name, waits in unread.items() if not waits}
        return verdict.hung

    def start(self, **unread: bool) -> None:
        """Two looks in which everybody answers: they have been started."""
        for _ in range(2):
            assert self.look(**dict.fromkeys(unread, False)) == []

    def seconds_until_hung(self, late_s: float = 0.0) -> float:
        """Process 7 reads nothing from now on; the time until it is called hung."""
        began_s = self.now_s
        while self.look(late_s, p7=True, p8=False) == []:
            assert self.now_s < began_s + 10 * max(self.watchdog.timeout_s, START_S_MAX)
        return self.now_s - began_s


def test_who_reads_is_never_hung() -> None:
    looks = Looks()
    for _ in range(100):
        assert looks.look(p7=False, p8=False) == []


def test_who_does_not_read_is_hung_after_the_time_out_and_before_another_second() -> None:
    for timeout_s in (0.1, 1.0, TIMEOUT_S, 3600.0):
        looks = Looks(timeout_s)
        looks.start(p7=True, p8=True)
        seconds = looks.seconds_until_hung()
        # It may have stopped just after the look before, so up to one look earlier.
        assert timeout_s <= seconds <= timeout_s + min(LOOK_S_MAX, timeout_s / 2)
        assert seconds + looks.watchdog.look_s <= timeout_s + 1


def test_looks_that_come_a_little_early_or_late_change_no_verdict() -> None:
    """A look that came early by the jitter of a timer must not cost a whole look more."""
    looks = Looks()
    looks.start(p7=True, p8=True)
    late_s = itertools.cycle((0.004, -0.004))
    began_s = looks.now_s
    while looks.look(next(late_s), p7=True, p8=False) == []:
        assert looks.now_s < began_s + 2 * TIMEOUT_S
    assert TIMEOUT_S <= looks.now_s - began_s <= TIMEOUT_S + 0.2


def test_a_start_has_more_time() -> None:
    looks = Looks()
    assert looks.look(p7=False, p8=False) == []
    assert START_S_MAX <= looks.seconds_until_hung() <= START_S_MAX + LOOK_S_MAX


def test_time_in_which_the_watchdog_stood_still_does_not_count() -> None:
    looks = Looks()
    looks.start(p7=True, p8=True)
    assert looks.look(p7=True, p8=True) == []
    assert looks.look(late_s=3600.0, p7=True, p8=True) == []
    assert TIMEOUT_S - 2 * LOOK_S_MAX <= looks.seconds_until_hung() <= TIMEOUT_S


def test_one_that_hangs_beside_a_slow_watchdog_is_found_all_the_same() -> None:
    looks = Looks()
    looks.start(p7=True, p8=True)
    assert looks.seconds_until_hung(late_s=LOOK_S_MAX) <= 2 * TIMEOUT_S + 1


def test_a_successor_starts_anew() -> None:
    looks = Looks()
    looks.start(p7=True, p8=True)
    looks.seconds_until_hung()
    assert looks.look(p9=False) == []
    for _ in range(int(TIMEOUT_S / LOOK_S_MAX) + 2):
        assert looks.look(p9=True) == []


def test_one_that_a_kill_does_not_end_is_told_of_once_a_time_out() -> None:
    looks = Looks()
    looks.start(p7=True, p8=True)
    looks.seconds_until_hung()
    assert looks.seconds_until_hung() >= TIMEOUT_S
