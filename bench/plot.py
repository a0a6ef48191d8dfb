"""Results as pictures: one PNG for each part, a curve for each system, bars from the smallest to the largest sample."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.report import label_text
from bench.results import PartResult
from bench.statistics import Series

INCHES = (7.0, 4.5)
COLOURS = ("tab:red", "tab:blue", "tab:cyan", "tab:orange", "tab:purple", "tab:green", "tab:gray")


def plot(result: PartResult, directory: Path) -> Path | None:
    """Write PART.png; None if matplotlib is not installed (`pip install rondo[bench]`)."""
    try:
        import matplotlib as mpl
    except ImportError:
        return None
    mpl.use("Agg")
    from matplotlib import pyplot

    panels = panels_of(result)
    figure, axes = pyplot.subplots(1, len(panels), figsize=(INCHES[0] * len(panels), INCHES[1]), squeeze=False)
    for axis, (title, (along, curves)) in zip(axes[0], panels.items(), strict=True):
        draw(axis, title, along, curves)
    figure.suptitle(result.title)
    figure.tight_layout()
    path = directory / f"{result.part}.png"
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return path


def panels_of(result: PartResult) -> dict[str, tuple[str, dict[str, list[Series]]]]:
    """By title: along which label it goes, and the series of each system in the order of that label."""
    along = result.rows[-1] if result.rows[-1] != "quantity" else result.rows[0]
    panels: dict[str, tuple[str, dict[str, list[Series]]]] = {}
    for series in result.series:
        others = [f"{name} {series.labels[name]}" for name in result.rows if name not in (along, "quantity")]
        title = ", ".join([f"{series.quantity} ({series.unit})", *others])
        panels.setdefault(title, (along, {}))[1].setdefault(str(series.labels["system"]), []).append(series)
    return panels


def draw(axis: Any, title: str, along: str, curves: dict[str, list[Series]]) -> None:
    """One panel. What the label names are places, so that 0 and words have one too."""
    places = list(dict.fromkeys(series.labels[along] for curve in curves.values() for series in curve))
    if all(isinstance(place, int | float) for place in places):
        places.sort(key=float)
    for (system, curve), colour in zip(curves.items(), COLOURS, strict=False):
        medians = [series.median for series in curve]
        below = [series.median - min(series.samples) for series in curve]
        above = [max(series.samples) - series.median for series in curve]
        where = [places.index(series.labels[along]) for series in curve]
        axis.errorbar(where, medians, [below, above], label=system, color=colour, marker="o", capsize=3)
    axis.set_xticks(range(len(places)), [label_text(along, place) for place in places], rotation=30)
    axis.set_yscale("log")
    axis.set_xlabel(along)
    axis.set_title(title, fontsize="medium")
    axis.grid(True, which="both", alpha=0.3)
    axis.legend()
