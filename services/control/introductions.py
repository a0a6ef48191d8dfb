"""What Rondo nodes say of themselves in each ring: their software, and digests of the configuration in force there.

A reload changes all nodes at one message. Whoever is cut off just before it has the message comes back with another
configuration in force than the others, and so does whoever was started with another file. No node gives way to another
one without an operator: all of them say who differs in what, until a reload has made them the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rondo.protocol.envelope import array_of, is_bytes, is_text, record, written_as

SOFTWARE_CHARACTERS_MAX = 64
DIGESTS_MAX = 8
KIND = 3
"""The first element of the body; a reload has the numbers below."""


class Introductions:
    """What the members of this ring have said, by node."""

    def __init__(self) -> None:
        self.software: dict[int, str] = {}
        self.differing: dict[int, list[str]] = {}
        """Names of what differs from this node's configuration."""
        self._said: dict[int, dict[str, bytes]] = {}

    def ring_changed(self) -> None:
        """Everybody introduces himself anew."""
        self.software.clear()
        self.differing.clear()
        self._said.clear()

    def heard(self, sender: int, body: Any, own: Mapping[str, bytes]) -> bool:
        """A message among Rondo nodes. False: it is none of these. `own`: this node's digests."""
        if not _is_introduction(body) or len(body[2]) > DIGESTS_MAX:
            return False
        self.software[sender] = body[1][:SOFTWARE_CHARACTERS_MAX]
        self._said[sender] = dict(body[2])
        self.compare(own)
        return True

    def compare(self, own: Mapping[str, bytes]) -> None:
        """See who differs from this node, whose configuration may be another one than before."""
        self.differing = {
            node: names
            for node, said in self._said.items()
            if (names := sorted(name for name in own.keys() | said.keys() if own.get(name) != said.get(name)))
        }

    def lines(self, node: int) -> list[str]:
        """For the log file: what differs at this node, if anything."""
        names = self.differing.get(node)
        if not names:
            return []
        return [
            f"Another configuration is in force at node {node} than here: {', '.join(names)} differ. "
            "Write the same file on all nodes, and run `rondo reload` on one of them."
        ]

    def snapshot(self) -> list[Any]:
        """For the next life of this process."""
        return [[node, self.software[node], list(said.items())] for node, said in self._said.items()]

    @classmethod
    def restore(cls, snapshot: list[Any], own: Mapping[str, bytes]) -> Introductions:
        """What `snapshot` has noted."""
        found = cls()
        for node, software, said in snapshot:
            found.software[node], found._said[node] = software, dict(said)
        found.compare(own)
        return found


def introduction(software: str, digests: Mapping[str, bytes]) -> list[Any]:
    """The body of the message."""
    return [KIND, software, [[name, digests[name]] for name in sorted(digests)]]


_is_introduction = record(
    kind=written_as(lambda value: type(value) is int and value == KIND, str(KIND)),
    software=is_text,
    digests=array_of(record(name=is_text, digest=is_bytes)),
)
