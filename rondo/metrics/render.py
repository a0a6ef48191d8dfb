"""The text that Prometheus reads, by the package prometheus_client (extra `rondo[web]`).

The text format has two dialects and rules that are easily broken: escapes, the order of series, buckets that add up. So
the package of Prometheus' own authors writes it.
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

from rondo.metrics.collect import METRICS
from rondo.metrics.metric import Histogram, Kind, Metric, Value, Values

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
CONTENT_TYPE_OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def render(values: Values, *, is_openmetrics: bool = False) -> bytes:
    """All values as text, in the order of the declarations."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once(values))
    text: bytes = openmetrics(registry) if is_openmetrics else classic(registry)  # type: ignore[no-untyped-call]
    return text


class _Once(Collector):
    """One scrape, in the package's terms."""

    def __init__(self, values: Values) -> None:
        self._values = values

    def collect(self) -> Iterator[Family]:
        for metric in METRICS:
            if series := self._values.found.get(metric):
                yield _family(metric, series)


def _family(metric: Metric, series: dict[tuple[str, ...], Value]) -> Family:
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
