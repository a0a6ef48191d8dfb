"""Results as pictures that say at a glance who is ahead: one SVG for each part.

Where C Corosync over knet was measured in the same run, the picture has bars: how many times its figure each system
has. It is 1 itself, a dashed line. Each bar says what was measured, and its whisker goes from the smallest to the
largest ratio of a pair. Elsewhere there are curves of the figures themselves, on a logarithmic axis.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.report import RATE, REFERENCE, label_text, number_text
from bench.results import PartResult
from bench.statistics import Series, paired_ratio

INCHES_PER_BAR = 0.42
INCHES_MIN = 4.0
HEIGHT_INCHES = 4.2
LEGEND_SHARE = 0.07
"""Of the height, below the panels."""
BAR_WIDTH = 0.8
"""Of the bars of one group together; the groups are 1 apart."""
COLOURS = {
    "rondo": "#c62828",
    "rondo-knet": "#ef6c00",
    "rondo+tuned": "#ad1457",
    "rondo+c": "#6a1b9a",
    "corosync-knet": "#37474f",
    "corosync-udpu": "#90a4ae",
}
"""A system has the same colour in all pictures. Others have the next of `OTHER_COLOURS`."""
OTHER_COLOURS = ("#1565c0", "#2e7d32", "#00838f", "#9e9d24", "#4e342e")
WORDS = {
    "size": "size of a message",
    "gap_ms": "pause before each message, ms",
    "nodes": "nodes",
    "loss_percent": "lost on every link, %",
    "process": "process",
}
"""What the labels are called on an axis."""

Panel = tuple[str, dict[str, list[Series]]]
"""Along which label it goes, and the series of each system."""


def plot(result: PartResult, directory: Path) -> Path | None:
    """Write PART.svg; None if matplotlib is not installed (`pip install rondo[bench]`)."""
    try:
        import matplotlib as mpl
    except ImportError:
        return None
    mpl.use("Agg")
    # The same figures make the same file, so that a picture under version control changes only with its figures.
    mpl.rcParams.update({"svg.hashsalt": result.part, "svg.fonttype": "none", "font.size": 9})
    from matplotlib import pyplot

    panels = panels_of(result)
    widths = [max(INCHES_MIN, INCHES_PER_BAR * sum(map(len, curves.values()))) for _, curves in panels.values()]
    figure, axes = pyplot.subplots(
        1, len(panels), figsize=(sum(widths), HEIGHT_INCHES), squeeze=False, width_ratios=widths
    )
    for axis, (title, (along, curves)) in zip(axes[0], panels.items(), strict=True):
        draw(axis, title, along, curves)
    figure.suptitle(result.title)
    handles, names = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, names, loc="lower center", ncols=len(names), frameon=False)
    figure.tight_layout(rect=(0, LEGEND_SHARE, 1, 1))
    path = directory / f"{result.part}.svg"
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    return path


def panels_of(result: PartResult) -> dict[str, Panel]:
    """By title, with the series of each system in the order of that label."""
    along = result.rows[-1] if result.rows[-1] != "quantity" else result.rows[0]
    panels: dict[str, Panel] = {}
    for series in result.series:
        others = [f"{name} {series.labels[name]}" for name in result.rows if name not in (along, "quantity")]
        title = ", ".join([series.quantity, *others])
        panels.setdefault(title, (along, {}))[1].setdefault(str(series.labels["system"]), []).append(series)
    return panels


def draw(axis: Any, title: str, along: str, curves: dict[str, list[Series]]) -> None:
    """One panel. What the label names are places, so that 0 and words have one too."""
    places = list(dict.fromkeys(series.labels[along] for curve in curves.values() for series in curve))
    if all(isinstance(place, int | float) for place in places):
        places.sort(key=float)
    unit = next(iter(curves.values()))[0].unit
    better = "higher is better" if unit == RATE else "lower is better"
    ratios = {system: ratios_of(curve, curves.get(REFERENCE, []), along) for system, curve in curves.items()}
    if all(ratios.values()):
        axis.set_title(f"{title}: times that of {REFERENCE}, {better}")
        draw_bars(axis, along, places, curves, ratios)
    else:
        axis.set_title(f"{title}, {'µs' if unit == 'us' else unit}: {better}")
        draw_curves(axis, along, places, curves)
    axis.set_xticks(range(len(places)), [label_text(along, place) for place in places])
    axis.set_xlabel(WORDS.get(along, along))
    axis.grid(True, axis="y", alpha=0.3)
    axis.set_axisbelow(True)


def ratios_of(curve: list[Series], reference: list[Series], along: str) -> list[tuple[float, float, float]]:
    """For each series of a system the smallest, the median and the largest ratio of its pairs with the reference's.
    Empty if one of them has no pair."""
    found = []
    by_place = {series.labels[along]: series for series in reference}
    for series in curve:
        other = by_place.get(series.labels[along])
        middle = paired_ratio(series.samples, other.samples) if other is not None else None
        if other is None or middle is None:
            return []
        pairs = [one / base for one, base in zip(series.samples, other.samples, strict=False) if base]
        found.append((min(pairs), middle, max(pairs)))
    return found


def draw_bars(
    axis: Any,
    along: str,
    places: list[str | int | float],
    curves: dict[str, list[Series]],
    ratios: dict[str, list[tuple[float, float, float]]],
) -> None:
    """Groups of bars, with the reference's figure as 1."""
    width = BAR_WIDTH / len(curves)
    top = max(largest for each in ratios.values() for _, _, largest in each)
    for number, (system, curve) in enumerate(curves.items()):
        shift = (number + 0.5) * width - BAR_WIDTH / 2
        where = [places.index(series.labels[along]) + shift for series in curve]
        middles = [middle for _, middle, _ in ratios[system]]
        below = [middle - least for least, middle, _ in ratios[system]]
        above = [most - middle for _, middle, most in ratios[system]]
        axis.bar(
            where, middles, width * 0.94, yerr=[below, above], label=system, color=colour_of(system, curves),
            error_kw={"elinewidth": 0.8, "ecolor": "#00000099"},
        )  # fmt: skip
        for x, series, (_, _, most) in zip(where, curve, ratios[system], strict=True):
            text = number_text(series.median, series.unit, series.labels.get("size"))
            axis.text(x, most + 0.015 * top, text, rotation=90, ha="center", va="bottom", fontsize=7)
    axis.axhline(1, color="#37474f", linewidth=0.8, linestyle="--")
    axis.set_ylim(0, 1.25 * top)


def draw_curves(axis: Any, along: str, places: list[str | int | float], curves: dict[str, list[Series]]) -> None:
    """The figures themselves, with whiskers from the smallest to the largest sample."""
    for system, curve in curves.items():
        medians = [series.median for series in curve]
        below = [series.median - min(series.samples) for series in curve]
        above = [max(series.samples) - series.median for series in curve]
        where = [places.index(series.labels[along]) for series in curve]
        axis.errorbar(
            where, medians, [below, above], label=system, color=colour_of(system, curves), marker="o", capsize=3
        )
    axis.set_yscale("log")


def colour_of(system: str, systems: dict[str, list[Series]]) -> str:
    """Its own, or one that none of the others has."""
    others = [each for each in systems if each not in COLOURS]
    return COLOURS.get(system) or OTHER_COLOURS[others.index(system) % len(OTHER_COLOURS)]
