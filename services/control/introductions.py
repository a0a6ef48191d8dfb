"""Introductions: in each ring Rondo nodes announce their software, and digests of their configuration in force.

A reload changes all nodes at one message. A node that is cut off just before that message comes back with an older
configuration in force. A node that was started with another file differs, too. No node gives way to another without an
operator. All nodes log which node differs in what, until a reload has made them the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rondo.protocol.envelope import array_of, is_bytes, is_text, record, written_as

SOFTWARE_CHARACTERS_MAX = 64
DIGESTS_MAX = 8
KIND = 3
"""The first element of the body. Reload messages use the numbers below it."""


class Introductions:
    """The introductions of this ring's members, by node."""

    def __init__(self) -> None:
        self.software: dict[int, str] = {}
        self.differing: dict[int, list[str]] = {}
        """Names of the options that differ from this node's configuration."""
        self._said: dict[int, dict[str, bytes]] = {}

    def ring_changed(self) -> None:
        """All members introduce themselves again."""
        self.software.clear()
        self.differing.clear()
        self._said.clear()

    def heard(self, sender: int, body: Any, own: Mapping[str, bytes]) -> bool:
        """Handle a message of a Rondo node. False: it is no introduction. `own`: this node's digests."""
        if not _is_introduction(body) or len(body[2]) > DIGESTS_MAX:
            return False
        self.software[sender] = body[1][:SOFTWARE_CHARACTERS_MAX]
        self._said[sender] = dict(body[2])
        self.compare(own)
        return True

    def compare(self, own: Mapping[str, bytes]) -> None:
        """Find the nodes that differ from this node, whose configuration may have changed."""
        self.differing = {
            node: names
            for node, said in self._said.items()
            if (names := sorted(name for name in own.keys() | said.keys() if own.get(name) != said.get(name)))
        }

    def lines(self, node: int) -> list[str]:
        """Log lines about the differences of a node, if there are any."""
        names = self.differing.get(node)
        if not names:
            return []
        return [
            f"Another configuration is in force at node {node} than here: {', '.join(names)} differ. "
            "Write the same file on all nodes, and run `rondo reload` on one of them."
        ]

    def snapshot(self) -> list[Any]:
        """The state, for a restart of this process."""
        return [[node, self.software[node], list(said.items())] for node, said in self._said.items()]

    @classmethod
    def restore(cls, snapshot: list[Any], own: Mapping[str, bytes]) -> Introductions:
        """The state of a snapshot."""
        found = cls()
        for node, software, said in snapshot:
            found.software[node], found._said[node] = software, dict(said)
        found.compare(own)
        return found


def introduction(software: str, digests: Mapping[str, bytes]) -> list[Any]:
    """The body of an introduction."""
    return [KIND, software, [[name, digests[name]] for name in sorted(digests)]]


_is_introduction = record(
    kind=written_as(lambda value: type(value) is int and value == KIND, str(KIND)),
    software=is_text,
    digests=array_of(record(name=is_text, digest=is_bytes)),
)
