"""The text that Prometheus reads, by the package prometheus_client (extra `rondo[web]`).

The text format has two dialects and rules that are easily broken: escapes, the order of series, buckets that add up. So
the package of Prometheus' own authors writes it. It does so once for each series. What it wrote is kept, and the next
scrape only puts the new value behind it, if that has changed. Of most metrics nothing has: their text is used again.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client import generate_latest as classic
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from rondo.metrics.collect import METRICS
from rondo.metrics.metric import Histogram, Key, Kind, Metric, Value, Values

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
CONTENT_TYPE_OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
END_OF_OPENMETRICS = "# EOF\n"
SERIES_KEPT_MAX = 16_384
"""More than a scrape can have. What was kept is forgotten when groups and nodes have come and gone as often."""

Series = dict[Key, Value]


class _Line:
    """A series as it was written last."""

    __slots__ = ("bounds", "heads", "text", "value")

    def __init__(self, heads: list[str], first: Value) -> None:
        self.heads = heads
        """Its lines up to the value. A histogram has several."""
        self.bounds = tuple(first.bounds) if isinstance(first, Histogram) else None
        """Of a histogram; they are in the heads."""
        self.value: Value | None = None
        """The value in `text`."""
        self.text = ""

    def fits(self, value: Value) -> bool:
        """Whether the heads are those of a series with this value."""
        return (tuple(value.bounds) if isinstance(value, Histogram) else None) == self.bounds

    def write(self, value: Value) -> None:
        """Put this value behind the heads."""
        numbers = _numbers(value) if isinstance(value, Histogram) else [value]
        self.value = value
        self.text = "".join(
            f"{head}{floatToGoString(number)}\n"  # type: ignore[no-untyped-call]
            for head, number in zip(self.heads, numbers, strict=True)
        )


class _Block:
    """A metric as it was written last."""

    __slots__ = ("comments", "lines", "series", "text")

    def __init__(self) -> None:
        self.comments = ""
        """Above the series."""
        self.lines: dict[Key, _Line] = {}
        self.series: Series = {}
        """What is in `text`."""
        self.text = ""

    def unknown(self, series: Series) -> Series:
        """Those which the package has not written yet."""
        lines = self.lines
        return {key: value for key, value in series.items() if (line := lines.get(key)) is None or not line.fits(value)}

    def write(self, series: Series) -> None:
        """Write these, all of which are known."""
        texts = [self.comments]
        for key, value in series.items():
            line = self.lines[key]
            if value != line.value:
                line.write(value)
            texts.append(line.text)
        self.series, self.text = series, "".join(texts)


def render(values: Values, *, is_openmetrics: bool = False) -> bytes:
    """All values as text, in the order of the declarations."""
    return _OPENMETRICS.text(values) if is_openmetrics else _CLASSIC.text(values)


class _Dialect:
    """One of the two, and what the package has written in it so far."""

    def __init__(self, *, is_openmetrics: bool) -> None:
        self._is_openmetrics = is_openmetrics
        self._blocks: dict[Metric, _Block] = {}
        self._known = 0
        """Series that were written by the package."""

    def text(self, values: Values) -> bytes:
        """All values, of which the caller changes none afterwards."""
        if self._known > SERIES_KEPT_MAX:
            self._blocks.clear()
            self._known = 0
        found, blocks = values.found, self._blocks
        changed = [
            metric
            for metric, series in found.items()
            if (block := blocks.get(metric)) is None or block.series != series
        ]
        self._learn(found, changed)
        for metric in changed:
            blocks[metric].write(found[metric])
        texts = [blocks[metric].text for metric in METRICS if metric in found]
        if self._is_openmetrics:
            texts.append(END_OF_OPENMETRICS)
        return "".join(texts).encode()

    def _learn(self, found: dict[Metric, Series], changed: list[Metric]) -> None:
        """Have the package write what it has not written yet."""
        new: dict[Metric, Series] = {}
        for metric in changed:
            if unknown := self._blocks.setdefault(metric, _Block()).unknown(found[metric]):
                new[metric] = unknown
        if not new:
            return
        written = iter(self._written(new).decode().splitlines(keepends=True))
        line = next(written)
        for metric in METRICS:
            if metric not in new:
                continue
            block, comments = self._blocks[metric], ""
            while line.startswith("# "):
                comments, line = comments + line, next(written)
            block.comments = comments
            for key, value in new[metric].items():
                count = len(value.counts) + 2 if isinstance(value, Histogram) else 1
                heads = []
                for _ in range(count):
                    heads.append(line[: line.rindex(" ") + 1])
                    line = next(written, END_OF_OPENMETRICS)
                block.lines[key] = _Line(heads, value)
                self._known += 1

    def _written(self, new: dict[Metric, Series]) -> bytes:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Once(new))
        text: bytes = openmetrics(registry) if self._is_openmetrics else classic(registry)  # type: ignore[no-untyped-call]
        return text


_CLASSIC, _OPENMETRICS = _Dialect(is_openmetrics=False), _Dialect(is_openmetrics=True)


class _Once(Collector):
    """Some values, in the package's terms."""

    def __init__(self, found: dict[Metric, Series]) -> None:
        self._found = found

    def collect(self) -> Iterator[Family]:
        for metric in METRICS:
            if series := self._found.get(metric):
                yield _family(metric, series)


def _family(metric: Metric, series: Series) -> Family:
    if metric.kind is Kind.HISTOGRAM:
        histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        for labels, value in series.items():
            if isinstance(value, Histogram):
                histogram.add_metric(labels, _buckets(value), value.sum)
        return histogram
    kind = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
    family = kind(metric.name, metric.help, labels=metric.labels)
    for labels, value in series.items():
        if not isinstance(value, Histogram):
            family.add_metric(labels, value)
    return family


def _buckets(value: Histogram) -> list[tuple[str, float]]:
    """Each bucket counts all that is no greater than its bound."""
    totals = list(itertools.accumulate(value.counts))
    bounds = [*map(repr, value.bounds), "+Inf"]
    return [(bound, float(total)) for bound, total in zip(bounds, totals, strict=True)]


def _numbers(value: Histogram) -> list[float]:
    """The values of a histogram's lines: its buckets, how many there are, their sum."""
    totals = list(itertools.accumulate(value.counts))
    return [*totals, totals[-1], value.sum]
