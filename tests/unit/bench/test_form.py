"""When a ring was formed, by the logs of its nodes."""

import pytest

from bench.lab.cluster import BenchError
from bench.parts.form import formation_seconds

EARLY = """Nov 25 21:44:15.402 [78] vm corosync notice  [MAIN  ] Corosync Cluster Engine starting up
Nov 25 21:44:15.500 [78] vm corosync notice  [TOTEM ] A new membership (1.5) was formed. Members joined: 1
Nov 25 21:44:16.510 [78] vm corosync notice  [TOTEM ] A new membership (1.9) was formed. Members joined: 2
"""
LATE = """a line without a time
Nov 25 21:44:15.900 notice [TOTEM] Rondo starting
Nov 25 21:44:16.650 notice [TOTEM] A new membership (1.9) was formed. Members joined: 1 2
Nov 25 21:44:19.000 notice [TOTEM] something else
"""


def test_from_the_last_first_word_to_the_last_membership() -> None:
    assert formation_seconds([EARLY, LATE]) == pytest.approx(0.75)


def test_over_the_end_of_a_leap_day() -> None:
    log = "Feb 29 23:59:59.900 up\nMar  1 00:00:00.100 A new membership (1.9) was formed.\n"
    assert formation_seconds([log]) == pytest.approx(0.2)


@pytest.mark.parametrize("log", ["", "Nov 25 21:44:15.402 up\n", "A new membership (1.9) was formed\nNov 25 1\n"])
def test_a_log_without_what_is_wanted_is_an_error(log: str) -> None:
    with pytest.raises(BenchError):
        formation_seconds([log])
