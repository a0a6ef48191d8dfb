"""Makes the reference of all metrics, docs/METRICS.md, from their declarations.

python -m rondo.metrics.reference > docs/METRICS.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from rondo.metrics.collect import METRICS
from rondo.metrics.events import MEANINGS
from rondo.metrics.metric import Metric

HEAD = """\
# Metrics

<!-- Made of the declarations in rondo/metrics by `python -m rondo.metrics.reference`. Change it there. -->

`rondo metrics` prints all metrics of this node once, in Prometheus' text format (`--openmetrics`: in that of
OpenMetrics). It needs the package prometheus_client: `pip install 'rondo[web]'`. For node_exporter's textfile
collector:

```bash
cd /var/lib/node_exporter && rondo metrics > rondo.new && mv rondo.new rondo.prom
```

A scrape asks each process for its status over its control socket, where it is answered between two turns of the
process's loop. It is never on the token's way, and costs nothing while nobody scrapes. A process that does not
answer costs a second, and has no series but `rondo_process_up` 0. Counters begin anew when their process is started
again.

**Cardinality.** Every metric has a bound, the last column; what would be beyond it is left out and counted in
`rondo_metrics_series_left_out`. Nothing is labelled by client, process id or message. Labels have at most 128
characters. In practice: 300 series for a node, 16 more for each link of knet to each other node, three more for
each group.

Names that begin with `ha_cluster_corosync_` are those of ha_cluster_exporter, so that its dashboards go on working.
Alert rules are in [config/prometheus-rules.yml](../config/prometheus-rules.yml), a dashboard is in
[config/grafana-dashboard.json](../config/grafana-dashboard.json).

| metric | kind | labels | meaning | series at most |
|---|---|---|---|---|
"""


def reference() -> str:
    """The whole document."""
    rows = [
        f"| `{metric.name}` | {metric.kind} | {_labels(metric)} | {metric.help} | {metric.series_max} |\n"
        for metric in METRICS
    ]
    return HEAD + "".join(rows) + "".join(_values()) + "".join(_events())


def _labels(metric: Metric) -> str:
    return ", ".join(f"`{label}`" for label in metric.labels)


def _values() -> Iterator[str]:
    yield "\n## Values of labels\n"
    for metric in METRICS:
        if metric.values:
            listed = "; ".join(f"`{value}` {text}" for value, text in metric.values.items())
            yield f"\n`{metric.name}`, `{metric.labels[-1]}`: {listed}.\n"


def _events() -> Iterator[str]:
    yield "\n## rondo_events_total\n\n| process | event | what is counted |\n|---|---|---|\n"
    for process, events in MEANINGS.items():
        for name, text in events.items():
            yield f"| `{process}` | `{name}` | {text} |\n"


if __name__ == "__main__":
    sys.stdout.write(reference())
