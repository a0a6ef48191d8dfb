"""How many messages of its services a node has sent and received, by function: `runtime.services.*` of cmap.

They stand beside the other keys without being among them: they change with every message, and nobody is told of that.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from services.control.cmap.values import Type

BELOW = "runtime.services."
CMAP, CFG, CPG, QUORUM, VOTEQUORUM = 0, 1, 2, 3, 5
NAMES = {CMAP: "cmap", CFG: "cfg", CPG: "cpg", QUORUM: "quorum", VOTEQUORUM: "votequorum"}
FUNCTIONS = {CMAP: 1, CFG: 5, CPG: 7, QUORUM: 0, VOTEQUORUM: 4}
"""So many functions each of them has in Corosync; messages of others come of nobody, and are not counted."""


class MessageCounts:
    """Of control's services, by service and function: [sent, received]."""

    def __init__(self) -> None:
        self._counts = {(service, number): [0, 0] for service, count in FUNCTIONS.items() for number in range(count)}

    def add(self, message: bytes, *, is_own: bool) -> None:
        """A message was delivered, of this node if `is_own`. It has a header."""
        count = self._counts.get((message[2], message[0] | message[1] << 8))
        if count is not None:
            count[0] += is_own
            count[1] += 1

    def keys(self, of_cpg: Collection[tuple[int, int]]) -> Iterator[tuple[str, list[Any]]]:
        """Keys with their types and values, ascending. `of_cpg`: what cpg has counted, by function."""
        found: dict[str, list[Any]] = {}
        for service, name in NAMES.items():
            counts = [self._counts[service, number] for number in range(FUNCTIONS[service])]
            for number, (sent, received) in enumerate(of_cpg if service == CPG else counts):
                found[f"{BELOW}{name}.{number}.rx"] = [int(Type.U64), received]
                found[f"{BELOW}{name}.{number}.tx"] = [int(Type.U64), sent]
            found[f"{BELOW}{name}.service_id"] = [int(Type.U16), service]
        yield from sorted(found.items())

    def snapshot(self) -> list[list[int]]:
        """For the next life of this process."""
        return [[*which, *count] for which, count in self._counts.items() if any(count)]

    @classmethod
    def restore(cls, snapshot: list[list[int]]) -> MessageCounts:
        """What `snapshot` has noted."""
        found = cls()
        for service, number, sent, received in snapshot:
            if (service, number) in found._counts:
                found._counts[service, number] = [sent, received]
        return found
