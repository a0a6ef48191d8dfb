"""Pictures of results: what is drawn, without the library that draws it."""

from typing import Any

import pytest

from bench.plot import COLOURS, colour_of, draw, panels_of, ratios_of
from bench.results import PartResult
from bench.statistics import Series


class Axis:
    """Keeps what is drawn; whatever else it is asked for is accepted."""

    def __init__(self) -> None:
        self.bars: dict[str, list[float]] = {}
        self.curves: dict[str, list[float]] = {}
        self.title = ""
        self.texts: list[str] = []
        self.ticks: list[str] = []

    def bar(self, _where: list[float], heights: list[float], _width: float, *, label: str, **_: Any) -> None:
        self.bars[label] = heights

    def errorbar(self, _where: list[int], values: list[float], _spread: Any, *, label: str, **_: Any) -> None:
        self.curves[label] = values

    def text(self, _x: float, _y: float, text: str, **_: Any) -> None:
        self.texts.append(text)

    def set_title(self, title: str) -> None:
        self.title = title

    def set_xticks(self, _where: range, texts: list[str]) -> None:
        self.ticks = texts

    def __getattr__(self, _name: str) -> Any:
        return lambda *_, **__: None


def series(system: str, size: int, samples: list[float], quantity: str = "throughput") -> Series:
    unit = "messages/s" if quantity == "throughput" else "us"
    return Series(quantity, unit, {"system": system, "size": size}, samples)


def result(*measured: Series) -> PartResult:
    return PartResult("part", "A part", ("size",), "command", "today", "abc", {}, {}, list(measured))


def drawn(*measured: Series) -> Axis:
    """The only panel."""
    axis = Axis()
    ((title, (along, curves)),) = panels_of(result(*measured)).items()
    draw(axis, title, along, curves)
    return axis


def test_bars_are_medians_of_pairs_and_say_what_was_measured() -> None:
    axis = drawn(
        series("rondo", 64, [3000, 8000, 2000]),
        series("rondo", 65536, [10, 10, 10]),
        series("corosync-knet", 64, [1000, 2000, 1000]),
        series("corosync-knet", 65536, [20, 20, 20]),
    )
    assert axis.bars == {"rondo": [3.0, 0.5], "corosync-knet": [1.0, 1.0]}
    assert axis.title == "throughput: times that of corosync-knet, higher is better"
    assert axis.ticks == ["64 B", "64 KiB"]
    assert axis.texts[:2] == ["3.00 k/s", "0.655 MB/s"]
    assert axis.curves == {}


def test_less_time_is_better() -> None:
    axis = drawn(series("rondo", 64, [300], "p50"), series("corosync-knet", 64, [200], "p50"))
    assert axis.title == "p50: times that of corosync-knet, lower is better"


@pytest.mark.parametrize(
    "reference",
    [[], [series("corosync-knet", 1024, [5])], [series("corosync-knet", 64, [0])]],
    ids=["none", "of another size", "that delivered nothing"],
)
def test_without_a_reference_there_are_curves(reference: list[Series]) -> None:
    axis = drawn(series("rondo", 64, [300, 100, 200]), *reference)
    assert axis.bars == {}
    assert axis.curves["rondo"] == [200]
    assert axis.title == "throughput, messages/s: higher is better"


def test_whiskers_go_from_the_smallest_to_the_largest_pair() -> None:
    found = ratios_of([series("rondo", 64, [2, 12, 3])], [series("corosync-knet", 64, [1, 2, 3])], "size")
    assert found == [(1.0, 2.0, 6.0)]


def test_no_two_systems_have_one_colour() -> None:
    systems: dict[str, list[Series]] = {name: [] for name in ("rondo", "rondo-plain", "corosync-udp", *COLOURS)}
    assert len({colour_of(system, systems) for system in systems}) == len(systems)
