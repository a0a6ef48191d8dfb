"""The register of the group properties, and the form of a violation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.checker.base import Event

if TYPE_CHECKING:
    from tests.checker.groups.trace import GroupTrace

Ring = tuple[int, int]
Member = tuple[int, int]
"""(node, pid)"""


@dataclass(frozen=True, slots=True)
class GroupLimits:
    """What the clients of a run are bounded by."""

    outstanding_bytes_max: int = 3 * 2**20 + 4 * 2**20 + 64 * 2**20
    """Sent and not delivered to their sender: window of the client, queue of totem, cpg.client_bytes_max (B8)."""
    violations_max: int = 10
    """Reported per property."""


@dataclass(frozen=True, slots=True)
class GroupViolation:
    """A property that does not hold, and what shows it."""

    prop: str
    text: str
    events: tuple[Event, ...] = ()

    def __str__(self) -> str:
        return "\n".join([f"{self.prop}: {self.text}", *(f"    {_shortened(event)}" for event in self.events)])


def _shortened(event: Event) -> str:
    text = str({key: value for key, value in event.items() if key != "why"})
    return text if len(text) < 400 else f"{text[:400]}..."


GroupProperty = Callable[["GroupTrace", GroupLimits], Iterator[GroupViolation]]
GROUP_PROPERTIES: dict[str, GroupProperty] = {}
"""All of them by name; the modules of this package fill it."""


def register(name: str) -> Callable[[GroupProperty], GroupProperty]:
    """Decorator: enter a property under its name."""

    def enter(function: GroupProperty) -> GroupProperty:
        assert name not in GROUP_PROPERTIES, name
        GROUP_PROPERTIES[name] = function
        return function

    return enter
