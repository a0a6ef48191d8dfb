"""The declaration of a metric, and the values of one scrape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

NODES_MAX = 512
"""More nodes than a ring of Corosync's frames can have: no real cluster meets this bound."""

LABEL_CHARACTERS_MAX = 128
"""Of a label's value; a group's name has as many bytes at most, and more of them when they are not printable."""


class Kind(StrEnum):
    """The type of a metric, in the terms of Prometheus."""

    GAUGE = "gauge"
    COUNTER = "counter"
    """It only grows, but begins anew with its process."""
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """One metric, declared once."""

    name: str
    """With the base unit, and `_total` where it is a counter."""
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    series_max: int = 1
    """So many combinations of labels at most; what comes beyond is counted in `rondo_metrics_series_left_out`."""
    values: Mapping[str, str] = field(default_factory=dict)
    """What the values of the last label mean, where they are fixed."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """The value of a histogram."""

    bounds: Sequence[float]
    """Upper bounds, ascending."""
    counts: Sequence[int]
    """How many there are between each bound and the one before; one more than there are bounds."""
    sum: float


Value = float | Histogram
Key = tuple[str, ...]
"""The values of a series' labels."""

KEYS_KEPT_MAX = 16_384
"""What was made of labels is kept, as they are the same in every scrape; all of it is forgotten at this many."""
PLACES_KEPT_MAX = 1024
"""So is which metric shows a counter, of so many counters."""
_keys: dict[tuple[str | int, ...], Key] = {}


class Values:
    """The values of one scrape. Each metric has a bound for its series, whatever the services say."""

    def __init__(self) -> None:
        self.found: dict[Metric, dict[Key, Value]] = {}
        """No metric without a series."""
        self.left_out = 0
        """Values for which there was no room."""

    def set(self, metric: Metric, value: Value | None, *labels: str | int) -> None:
        """Set the value of one series. None: the value is unknown, and the series is left out."""
        if value is not None:
            self.put(metric, value, (_keys.get(labels) or key_of(labels)) if labels else ())

    def put(self, metric: Metric, value: Value, key: Key) -> None:
        """The same of a value that is known, with labels of which `key_of` has made the key."""
        series = self.found.get(metric)
        if series is None:
            series = self.found[metric] = {}
        elif key not in series and len(series) >= metric.series_max:
            self.left_out += 1
            return
        series[key] = value


def key_of(labels: tuple[str | int, ...]) -> Key:
    """Each label as one line of bounded length. Names of groups may hold anything."""
    if len(_keys) >= KEYS_KEPT_MAX:
        _keys.clear()
    key = _keys[labels] = tuple(_label(each) for each in labels)
    return key


def _label(value: object) -> str:
    text = str(value)[:LABEL_CHARACTERS_MAX]
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
