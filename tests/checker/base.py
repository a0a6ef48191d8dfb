"""What all checks share: the limits of a run, the form of a violation, and the register of the properties.

A property is one generator function over a `Trace`; it yields violations and never raises on a strange trace, so that
one check that is puzzled does not silence the others.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.checker.trace import Trace

Event = dict[str, Any]
"""One line of a trace, as docs and simulator write it."""
Ring = tuple[int, int]
"""(representative, sequence)"""
MessageId = tuple[int, int, int]
"""(sender's node id, sender's incarnation, number)"""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the nodes of a run were configured with, as far as a check needs it. Times in seconds."""

    token_timeout_s: float = 3.0
    consensus_timeout_s: float = 3.6
    window_size: int = 50
    """Packets per rotation, by all together."""
    max_messages: int = 17
    """Packets per visit of the token, by one node."""
    sort_queue_slots: int = 16384
    """Bound of the queues that hold packets by sequence number."""
    send_queue_packets: int = 2974
    """Bound of each of the two queues of packets that wait for the token."""
    message_size_max: int = 1 << 20
    """Bytes that may be under assembly per sender, in each of the two assembly sets."""
    initial_sequence: int = 0
    """First sequence number of a ring less one."""
    same_windows: bool = True
    """Whether all members have the same windows; flow control (D6) is judged only then."""
    classic_nodes: frozenset[int] = frozenset()
    """Nodes that are like Corosync's: they deliver SAFE messages as soon as it is their turn."""
    convergence_bound_s: float | None = None
    """Time from `stable` to the final configuration; None: token + 3 * consensus + 1 s."""
    violations_max: int = 10
    """Violations reported per property; one fault often has thousands of symptoms."""

    @property
    def convergence_s(self) -> float:
        """Time in which a network without faults must have come to its final configuration."""
        if self.convergence_bound_s is not None:
            return self.convergence_bound_s
        return self.token_timeout_s + 3 * self.consensus_timeout_s + 1.0


@dataclass(frozen=True, slots=True)
class Violation:
    """A property that does not hold, and the least that shows it."""

    prop: str
    """Name of the property: "A6"."""
    text: str
    """What is wrong, in one sentence."""
    events: tuple[Event, ...] = ()
    """The events that show it, in the order in which they help to understand it."""
    nodes: tuple[int, ...] = ()
    """The nodes it concerns."""

    def __str__(self) -> str:
        where = f" (nodes {', '.join(map(str, self.nodes))})" if self.nodes else ""
        lines = [f"{self.prop}: {self.text}{where}"]
        lines.extend(f"    {json.dumps(event)}" for event in self.events)
        return "\n".join(lines)


Property = Callable[["Trace", Limits], Iterator[Violation]]
PROPERTIES: dict[str, Property] = {}
"""All properties by name. The modules of this package fill it when they are imported."""


def register(name: str) -> Callable[[Property], Property]:
    """Decorator: enter a property under its name."""

    def enter(function: Property) -> Property:
        assert name not in PROPERTIES, name
        PROPERTIES[name] = function
        return function

    return enter


def violation(prop: str, text: str, *events: Event | None) -> Violation:
    """A violation shown by `events` (None stands for one that is missing); its nodes are those of the events."""
    shown = tuple(event for event in events if event is not None)
    return Violation(prop, text, shown, tuple(dict.fromkeys(event["node"] for event in shown)))
