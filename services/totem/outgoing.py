"""Messages from the ordered log to the ring, with the tags that identify them when they are delivered."""

from __future__ import annotations

from typing import NamedTuple

from rondo.protocol import totem_reader
from rondo.protocol.batch import expand_batch

Tag = tuple[int, int, int] | tuple[int, int, int, int, int]
"""(session, request, number of parts that follow). For a batch, or one message out of it, also: the last request of the
batch, and the bytes that count as queued until it is in the log."""

SyncRing = tuple[int, int]
"""(representative, sequence) of a ring."""


class Outgoing(NamedTuple):
    """A message for the ring."""

    guarantee: int
    """rondo.protocol.requests.Guarantee"""
    data: bytes
    tag: Tag
    """Comes back with `OrderedLog.message`."""

    @property
    def is_batch(self) -> bool:
        """Whether it stands for several messages."""
        return len(self.tag) == 5

    def expanded(self) -> list[tuple[bytes, Tag]]:
        """The messages that a batch stands for, with their tags, for a ring with members that do not understand
        batches."""
        assert len(self.tag) == 5
        session, last, following, _, cost = self.tag
        messages = expand_batch(self.data)
        costs = [len(message) + totem_reader.MESSAGE_OVERHEAD_BYTES for message in messages]
        costs[-1] += cost - sum(costs)
        first = last - len(messages) + 1
        tags = [(session, first + index, following, last, each) for index, each in enumerate(costs)]
        return list(zip(messages, tags, strict=True))
