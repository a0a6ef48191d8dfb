"""Medians, spreads and ratios of pairs."""

import pytest

from bench.statistics import Series, paired_ratio, percentile


def series(*samples: float) -> Series:
    return Series("throughput", "messages/s", {"system": "rondo"}, list(samples))


def test_median_and_spread_leave_no_sample_out() -> None:
    assert series(1, 100, 2).median == 2
    assert series(1, 2, 4, 100).median == 3
    assert series(80, 100, 130).spread_percent == 50


def test_a_series_of_zeros_has_no_spread() -> None:
    assert series(0, 0).spread_percent == 0


def test_a_ratio_is_the_median_of_the_ratios_of_pairs() -> None:
    # The machine was ten times slower for the second pair: that is not what is compared.
    assert paired_ratio([200, 20, 300], [100, 10, 100]) == 2
    assert paired_ratio([], []) is None
    assert paired_ratio([1], [0]) is None


@pytest.mark.parametrize(("percent", "value"), [(0, 1), (50, 51), (99, 100), (100, 100)])
def test_percentiles_of_a_hundred(percent: float, value: float) -> None:
    assert percentile(list(range(1, 101)), percent) == value


def test_processor_shares_are_kept_by_process() -> None:
    one = series(1, 2, 3)
    for share in (0.1, 0.9, 0.2):
        one.add_use({"1.totem": share}, {"1.totem": 10 * share})
    assert one.cpu_medians() == {"1.totem": 0.2}
    assert one.pss_medians() == {"1.totem": 2.0}
