"""Counts the messages that a node has sent and received, by service and function: `runtime.services.*` of cmap.

These keys are not part of the map: they change with every message, and nobody is notified.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from services.control.cmap.values import Type

BELOW = "runtime.services."
CMAP, CFG, CPG, QUORUM, VOTEQUORUM = 0, 1, 2, 3, 5
NAMES = {CMAP: "cmap", CFG: "cfg", CPG: "cpg", QUORUM: "quorum", VOTEQUORUM: "votequorum"}
FUNCTIONS = {CMAP: 1, CFG: 5, CPG: 7, QUORUM: 0, VOTEQUORUM: 4}
"""Number of functions of each service in Corosync. No node sends others; they are not counted."""


class MessageCounts:
    """Counts of control's services, by service and function: [sent, received]."""

    def __init__(self) -> None:
        self._counts = {(service, number): [0, 0] for service, count in FUNCTIONS.items() for number in range(count)}

    def add(self, message: bytes, *, is_own: bool) -> None:
        """A message was delivered; `is_own`: this node sent it. It has a header."""
        count = self._counts.get((message[2], message[0] | message[1] << 8))
        if count is not None:
            count[0] += is_own
            count[1] += 1

    def keys(self, of_cpg: Collection[tuple[int, int]]) -> Iterator[tuple[str, list[Any]]]:
        """Keys with their types and values, ascending. `of_cpg`: cpg's counts by function."""
        found: dict[str, list[Any]] = {}
        for service, name in NAMES.items():
            counts = [self._counts[service, number] for number in range(FUNCTIONS[service])]
            for number, (sent, received) in enumerate(of_cpg if service == CPG else counts):
                found[f"{BELOW}{name}.{number}.rx"] = [int(Type.U64), received]
                found[f"{BELOW}{name}.{number}.tx"] = [int(Type.U64), sent]
            found[f"{BELOW}{name}.service_id"] = [int(Type.U16), service]
        yield from sorted(found.items())

    def snapshot(self) -> list[list[int]]:
        """The state, for a restart of this process."""
        return [[*which, *count] for which, count in self._counts.items() if any(count)]

    @classmethod
    def restore(cls, snapshot: list[list[int]]) -> MessageCounts:
        """The state of a snapshot."""
        found = cls()
        for service, number, sent, received in snapshot:
            if (service, number) in found._counts:
                found._counts[service, number] = [sent, received]
        return found
