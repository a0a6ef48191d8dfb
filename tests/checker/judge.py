"""Judge a trace by all properties, or by some of them."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from tests.checker import (  # noqa: F401 - they enter their properties into the register
    agreement,
    configurations,
    delivery,
    liveness,
    membership,
    ordering,
    packets,
    resources,
    tokens,
)
from tests.checker.base import PROPERTIES, Event, Limits, Violation
from tests.checker.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable


def check(
    events: Iterable[Event],
    *,
    limits: Limits,
    only: Collection[str] | None = None,
    without: Collection[str] = (),
) -> list[Violation]:
    """All violations in a trace, in real time order, of the properties in `only` (default: all) less `without`.

    Raises ValueError for a name that is no property, so that a misspelt one does not pass for a check.
    """
    unknown = (set(only or ()) | set(without)) - PROPERTIES.keys()
    if unknown:
        raise ValueError(f"no such property: {', '.join(sorted(unknown))}; there are {', '.join(PROPERTIES)}")
    trace = Trace(events)
    result: list[Violation] = []
    for name, holds in PROPERTIES.items():
        if (only is None or name in only) and name not in without:
            result.extend(islice(holds(trace, limits), limits.violations_max))
    return result
