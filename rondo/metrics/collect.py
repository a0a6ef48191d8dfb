"""All metrics, and one scrape of them."""

from __future__ import annotations

from rondo.metrics import events, groups, processes, quorum, ring
from rondo.metrics.metric import Metric, Values
from rondo.metrics.seen import Seen

PARTS = (processes, ring, quorum, groups, events)

METRICS: tuple[Metric, ...] = tuple(metric for part in PARTS for metric in part.METRICS)


def collect(seen: Seen) -> Values:
    """The values of every metric for which something is known."""
    values = Values()
    for part in PARTS:
        part.collect(seen, values)
    values.set(processes.LEFT_OUT, values.left_out)
    return values
