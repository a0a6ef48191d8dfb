"""The text that Prometheus reads, by the package prometheus_client (extra `rondo[web]`).

The text format has two dialects and rules that are easily broken: escapes, the order of series, buckets that add up. So
the package of Prometheus' own authors writes it. It does so once for each series. What it wrote is kept, and the next
scrape only puts the new value behind it, if that has changed. Most have not: it takes a sixth of the time.
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
from rondo.metrics.metric import Histogram, Kind, Metric, Value, Values

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
CONTENT_TYPE_OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
END_OF_OPENMETRICS = "# EOF\n"
SERIES_KEPT_MAX = 16_384
"""More than a scrape can have. What was kept is forgotten when groups and nodes have come and gone as often."""

Series = dict[tuple[str, ...], Value]
_NO_BOUNDS: tuple[float, ...] = ()
_Key = tuple[Metric, tuple[str, ...], tuple[float, ...]]
"""A series, and the bounds of a histogram."""


class _Written:
    """A series as it was written last."""

    __slots__ = ("heads", "text", "value")

    def __init__(self, heads: list[str]) -> None:
        self.heads = heads
        """Its lines up to the value. A histogram has several."""
        self.value: float | None = None
        """The value in `text`, if it has one alone."""
        self.text = ""


def render(values: Values, *, is_openmetrics: bool = False) -> bytes:
    """All values as text, in the order of the declarations."""
    return _OPENMETRICS.text(values) if is_openmetrics else _CLASSIC.text(values)


class _Dialect:
    """One of the two, and what the package has written in it so far."""

    def __init__(self, *, is_openmetrics: bool) -> None:
        self._is_openmetrics = is_openmetrics
        self._heads: dict[Metric, str] = {}
        """The comments above a metric's series."""
        self._series: dict[_Key, _Written] = {}

    def text(self, values: Values) -> bytes:
        """All values."""
        if len(self._series) > SERIES_KEPT_MAX:
            self._series.clear()
        self._learn(values)
        lines: list[str] = []
        for metric in METRICS:
            series = values.found.get(metric, {})
            if series:
                lines.append(self._heads[metric])
            for labels, value in series.items():
                lines.append(_lines(self._series[_key(metric, labels, value)], value))
        if self._is_openmetrics:
            lines.append(END_OF_OPENMETRICS)
        return "".join(lines).encode()

    def _learn(self, values: Values) -> None:
        """Have the package write what it has not written yet."""
        new: dict[Metric, Series] = {}
        for metric, series in values.found.items():
            if unknown := {
                labels: value for labels, value in series.items() if _key(metric, labels, value) not in self._series
            }:
                new[metric] = unknown
        if not new:
            return
        written = iter(self._written(new).decode().splitlines(keepends=True))
        line = next(written)
        for metric in METRICS:
            if metric not in new:
                continue
            comments = ""
            while line.startswith("# "):
                comments, line = comments + line, next(written)
            self._heads[metric] = comments
            for labels, value in new[metric].items():
                count = len(value.counts) + 2 if isinstance(value, Histogram) else 1
                heads = []
                for _ in range(count):
                    heads.append(line[: line.rindex(" ") + 1])
                    line = next(written, END_OF_OPENMETRICS)
                self._series[_key(metric, labels, value)] = _Written(heads)

    def _written(self, new: dict[Metric, Series]) -> bytes:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Once(new))
        text: bytes = openmetrics(registry) if self._is_openmetrics else classic(registry)  # type: ignore[no-untyped-call]
        return text


def _lines(written: _Written, value: Value) -> str:
    """The lines of a series with this value."""
    if isinstance(value, Histogram):
        return "".join(
            f"{head}{floatToGoString(number)}\n"  # type: ignore[no-untyped-call]
            for head, number in zip(written.heads, _numbers(value), strict=True)
        )
    if value != written.value:
        written.value = value
        written.text = f"{written.heads[0]}{floatToGoString(value)}\n"  # type: ignore[no-untyped-call]
    return written.text


def _key(metric: Metric, labels: tuple[str, ...], value: Value) -> _Key:
    return metric, labels, tuple(value.bounds) if isinstance(value, Histogram) else _NO_BOUNDS


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
