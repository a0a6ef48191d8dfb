"""Judge the logs of group members by all properties, or by some of them."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from tests.checker.groups import (  # noqa: F401 - they enter their properties into the register
    agreement,
    membership,
    messages,
)
from tests.checker.groups.base import GROUP_PROPERTIES, GroupLimits, GroupViolation
from tests.checker.groups.trace import GroupTrace

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from tests.checker.base import Event


def check(
    events: Iterable[Event], *, limits: GroupLimits | None = None, only: Collection[str] | None = None
) -> list[GroupViolation]:
    """All violations; the events of each life in its order, those of the harness at their time."""
    unknown = set(only or ()) - GROUP_PROPERTIES.keys()
    if unknown:
        raise ValueError(f"no such property: {', '.join(sorted(unknown))}; there are {', '.join(GROUP_PROPERTIES)}")
    limits = limits or GroupLimits()
    trace = GroupTrace(events)
    result: list[GroupViolation] = []
    for name, holds in GROUP_PROPERTIES.items():
        if only is None or name in only:
            result.extend(islice(holds(trace, limits), limits.violations_max))
    return result
