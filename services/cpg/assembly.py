"""Long messages: their parts are put together here, and a message is delivered whole or not at all.

The parts of one message come in order, with parts of other senders in between. A cpg that starts again from an
acknowledged position may be in the middle of such a message, and needs its earlier parts. `needed_at` names the
positions of these, and totem keeps them in its log.
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from services.cpg.wire import Part, PartialMcast

TOTAL_BYTES_MAX: Final = 128 * 1024 * 1024
"""Longer messages of other nodes are dropped: they would not fit into one envelope of the bus."""

Key = tuple[int, int, bytes]
"""(node, pid, group)"""


class _Open:
    """A message whose last part has not come."""

    __slots__ = ("chunks", "got", "positions", "total")

    def __init__(self, total: int) -> None:
        self.total = total
        self.got = 0
        self.chunks: list[bytes | memoryview] = []
        self.positions: list[int] = []


class _Ended(NamedTuple):
    end: int
    """Position at which the message was complete, or dropped."""
    positions: list[int]


class Assembly:
    """All unfinished long messages."""

    def __init__(self) -> None:
        self._open: dict[Key, _Open] = {}
        self._ended: deque[_Ended] = deque()
        self.dropped = 0
        """Messages that were given up: the sender left, or its parts did not add up."""

    def add(self, at: int, now: int, sender: int, part: PartialMcast) -> bytes | None:
        """Take a part that stands at position `at` of the log and is evaluated at `now` (later, if the sync held it
        up). The whole message, if this was its last part."""
        key = (sender, part.pid, part.group)
        if part.part == Part.FIRST:
            self._end(key, now, dropped=True)
            if part.total > TOTAL_BYTES_MAX:
                self.dropped += 1
                return None
            self._open[key] = _Open(part.total)
        message = self._open.get(key)
        if message is None:
            return None
        message.chunks.append(part.data)
        message.positions.append(at)
        message.got += len(part.data)
        if message.got > message.total or part.total != message.total:
            self._end(key, now, dropped=True)
            return None
        if part.part != Part.LAST:
            return None
        whole = message.got == message.total
        self._end(key, now, dropped=not whole)
        return b"".join(message.chunks) if whole else None

    def unfinished_of(self, node: int) -> list[tuple[Key, int, bytes]]:
        """(key, total, what is there) of all unfinished messages of a node, in the order of their keys."""
        found = [(key, message) for key, message in self._open.items() if key[0] == node]
        return [(key, message.total, b"".join(message.chunks)) for key, message in sorted(found, key=lambda f: f[0])]

    def drop(self, now: int, key: Key) -> None:
        """The sender left the group: what is unfinished will never be finished."""
        self._end(key, now, dropped=True)

    def drop_nodes(self, now: int, staying: set[int]) -> None:
        """Drop what is unfinished of all nodes that are not among `staying`."""
        for key in [key for key in self._open if key[0] not in staying]:
            self._end(key, now, dropped=True)

    def _end(self, key: Key, now: int, *, dropped: bool) -> None:
        message = self._open.pop(key, None)
        if message is not None:
            self.dropped += dropped
            self._ended.append(_Ended(now, message.positions))

    def needed_at(self, n: int) -> list[int]:
        """Positions up to `n` of the parts of all messages that were unfinished at n, ascending."""
        needed = [at for message in self._open.values() for at in message.positions if at <= n]
        for ended in self._ended:
            if ended.end > n:
                needed.extend(at for at in ended.positions if at <= n)
        return sorted(needed)

    def forget(self, n: int) -> None:
        """Nobody will start from before `n` again."""
        while self._ended and self._ended[0].end <= n:
            self._ended.popleft()
