"""Two versions beside each other: what is said of pairs of samples."""

from pathlib import Path

import pytest

from bench import compare
from bench.results import PartResult
from bench.statistics import Series


def result(version: str, *series: Series) -> PartResult:
    return PartResult("throughput", "Throughput", ("size",), "", "", version, {}, {}, list(series))


def series(unit: str, *samples: float) -> Series:
    return Series("rate", unit, {"system": "rondo", "size": 1024}, list(samples))


@pytest.mark.parametrize(
    ("unit", "before", "now", "said"),
    [
        ("messages/s", (10, 10, 10), (11, 12, 11), "better"),
        ("messages/s", (10, 10, 10), (9, 9, 9), "worse"),
        ("us", (10, 10, 10), (11, 12, 11), "worse"),
        ("us", (10, 10, 10), (9, 9, 9), "better"),
        ("us", (10, 10, 10), (9, 11, 9), ""),
        ("us", (10, 10), (9, 9), ""),
    ],
)
def test_better_or_worse_is_what_every_pair_says(
    unit: str, before: tuple[float, ...], now: tuple[float, ...], said: str
) -> None:
    assert compare.verdict(series(unit, *before), series(unit, *now)) == said


def test_a_row_has_both_medians_and_the_ratio_of_pairs() -> None:
    text = compare.comparison(
        [result("aaa", series("messages/s", 1000, 2000, 4000))],
        [result("bbb", series("messages/s", 2000, 4000, 8000))],
    )
    assert "before (aaa)" in text
    assert "| 1 KiB | 2.00 k/s (±75 %) | 4.00 k/s (±75 %) | 2.000 x | better |" in text


def test_what_only_one_of_them_measures_is_left_out() -> None:
    other = Series("rate", "messages/s", {"system": "rondo", "size": 64}, [1.0])
    assert "64 B" not in compare.comparison([result("aaa")], [result("bbb", other)])


def test_a_commit_that_is_not_there_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert compare.main(["no-such-commit"]) == 1
    assert "no-such-commit: no commit of this repository" in capsys.readouterr().err


def test_a_bench_that_fails_is_told_with_its_last_words(tmp_path: Path) -> None:
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho no corosync >&2\nexit 1\n")
    python.chmod(0o755)
    with pytest.raises(compare.CompareError, match="that one: the bench failed:\nno corosync"):
        compare.Version("that one", tmp_path, tmp_path / "out").measure("latency", [])
