"""Results as Markdown: one table for each part, ratios within pairs, processor time, configurations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.lab.processes import ELSEWHERE
from bench.results import PartResult
from bench.statistics import Series, paired_ratio

REFERENCE = "corosync-knet"
BASES = ("rondo", "rondo-udp", "rondo-plain", "rondo-knet")
LARGE_BYTES = 4096
RATE = "messages/s"
Row = tuple[object, ...]


def value_text(series: Series) -> str:
    """The median in the unit that one speaks of, and the spread."""
    return f"{number_text(series.median, series.unit, series.labels.get('size'))} (±{series.spread_percent / 2:.0f} %)"


def number_text(value: float, unit: str, size: object = None) -> str:
    """A number with its unit: rates of large messages in MB/s (10^6 bytes of payload)."""
    if unit == RATE and isinstance(size, int) and size >= LARGE_BYTES:
        return f"{significant(value * size / 1e6)} MB/s"
    if unit == RATE:
        return f"{significant(value / 1000)} k/s" if value >= 1000 else f"{significant(value)} /s"
    return f"{significant(value)} {'µs' if unit == 'us' else unit}"


def significant(value: float) -> str:
    """Three significant digits, without an exponent."""
    for limit, digits in ((100, 0), (10, 1), (1, 2)):
        if abs(value) >= limit:
            return f"{value:.{digits}f}"
    return f"{value:.3f}"


def size_text(size: object) -> str:
    """Bytes as one writes them."""
    if isinstance(size, int) and size >= 1 << 20 and size % (1 << 20) == 0:
        return f"{size >> 20} MiB"
    if isinstance(size, int) and size >= 1024 and size % 1024 == 0:
        return f"{size >> 10} KiB"
    return f"{size} B"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def row_of(series: Series, names: Sequence[str]) -> Row:
    """What the row of this series is called."""
    return tuple(series.quantity if name == "quantity" else series.labels.get(name) for name in names)


def label_text(name: str, value: object) -> str:
    return size_text(value) if name == "size" else str(value)


def part_table(result: PartResult) -> str:
    """Medians with spreads, and how often Rondo does what C Corosync over knet with encryption does."""
    systems = result.systems()
    cells: dict[Row, dict[str, Series]] = {}
    for series in result.series:
        cells.setdefault(row_of(series, result.rows), {})[str(series.labels["system"])] = series
    compared = [
        (one, other)
        for one in systems
        for other in systems
        if one.partition("+")[0] in BASES and other.startswith("corosync")
    ]
    header = [*result.rows, *systems, *(f"{one} / {other}" for one, other in compared)]
    rows = []
    for row, by_system in cells.items():
        line = [label_text(name, value) for name, value in zip(result.rows, row, strict=True)]
        line += [value_text(by_system[name]) if name in by_system else "-" for name in systems]
        line += [ratio_text(by_system.get(one), by_system.get(other)) for one, other in compared]
        rows.append(line)
    return table(header, rows)


def ratio_text(one: Series | None, other: Series | None) -> str:
    """The median ratio of pairs."""
    ratio = paired_ratio(one.samples, other.samples) if one is not None and other is not None else None
    return "-" if ratio is None else f"{ratio:.2f} x"


def use_table(result: PartResult) -> str:
    """Shares of one core and memory: each process of node 1, and all processes of the other nodes together."""
    rows = []
    for series in result.series:
        cpu, pss = series.cpu_medians(), series.pss_medians()
        if not cpu or series.quantity == "p99":
            continue
        row = row_of(series, result.rows)
        label = ", ".join(label_text(name, value) for name, value in zip(result.rows, row, strict=True))
        line = [label, str(series.labels["system"])]
        elsewhere = cpu.pop(ELSEWHERE, None)
        for medians, factor in ((cpu, 100), (pss, 1)):
            line.append(", ".join(f"{name[2:]} {factor * medians[name]:.0f}" for name in medians if _of_node_1(name)))
            line.append(f"{factor * sum(value for name, value in medians.items() if not _of_node_1(name)):.0f}")
        line.insert(-2, "-" if elsewhere is None else f"{100 * elsewhere:.0f}")
        rows.append(line)
    header = ["CPU of node 1, % of a core", "other nodes", "elsewhere", "PSS of node 1, MiB", "other nodes"]
    return table([", ".join(result.rows), "system", *header], rows) if rows else ""


def _of_node_1(process: str) -> bool:
    return process.startswith("1.")


def report(results: Sequence[PartResult], *, with_configurations: bool = True) -> str:
    """The whole report."""
    parts = ["# Measurements"]
    for result in results:
        parts += [
            f"## {result.title}",
            f"`{result.command}`",
            f"{result.when}. {result.machine_text()}",
            part_table(result),
        ]
        if use := use_table(result):
            parts += ["Processor time and memory (medians):", use]
    if not with_configurations:
        return "\n\n".join(parts) + "\n"
    configurations = {name: text for result in results for name, text in result.configurations.items()}
    parts.append("## Configurations")
    for name, text in configurations.items():
        parts += [f"`{name}`:", f"```\n{text}```"]
    return "\n\n".join(parts) + "\n"
