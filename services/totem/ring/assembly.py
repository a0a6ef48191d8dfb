"""From packets to messages: one buffer per sender keeps the beginning of a message until its end has come.

The receiver's rule is Corosync's: if `continuation` equals the `fragmented` of the sender's previous packet, the
pieces are taken. Otherwise track is lost (the sender joined, or we did, in the middle of its chain) and nothing is
handed up until a packet that ends the damaged chain, whose first piece is skipped.

One difference: chains of more than 255 fragments come by number 1 again, where a receiver that has lost track would
take the middle of a message for its beginning. A packet with one piece and a continuation other than 0 is the middle
of a chain whatever its number, and we go on skipping.

Another one: a packet without a continuation begins with the beginning of a message, so whatever was kept is dropped and
nothing is skipped. No sender leaves out the rest of a chain, so this matters only after a forged fragment, which must
not cost the first true message that follows it.
"""

from __future__ import annotations

from services.totem.ring.counters import Counters
from services.totem.ring.options import MESSAGE_SIZE_MAX
from services.totem.wire.base import Reason

ASSEMBLY_BYTES_MAX = MESSAGE_SIZE_MAX + 65536
"""Corosync's buffer; a C node aborts above it."""


class _Buffer:
    """What is kept of one sender."""

    __slots__ = ("last", "parts", "size", "skipping")

    def __init__(self) -> None:
        self.last = 0
        self.parts: list[bytes] = []
        self.size = 0
        self.skipping = False

    def lose_track(self, last: int) -> None:
        self.last = last
        self.parts.clear()
        self.size = 0
        self.skipping = True


class Assembler:
    """One set of assembly buffers. A ring has two: for normal operation, and for the time of the sync."""

    __slots__ = ("_buffers", "_counters")

    def __init__(self, counters: Counters) -> None:
        self._buffers: dict[int, _Buffer] = {}
        self._counters = counters

    def size(self) -> int:
        """Bytes kept over all senders."""
        return sum(buffer.size for buffer in self._buffers.values())

    def drop(self, sender: int) -> None:
        """The sender is gone, and so is what it did not finish."""
        self._buffers.pop(sender, None)

    def clear(self) -> None:
        """Forget everything."""
        self._buffers.clear()

    def take(self, sender: int, fragmented: int, continuation: int, pieces: list[bytes]) -> list[bytes | None]:
        """The messages that end in this packet, one entry for each; None for one that cannot be assembled."""
        buffer = self._buffers.get(sender)
        if buffer is None:
            if not fragmented and not continuation:
                return pieces  # type: ignore[return-value]  # a list of bytes is one of bytes | None that nobody adds to
            buffer = self._buffers[sender] = _Buffer()
        if not continuation and (buffer.last or buffer.skipping):
            self._counters.drop(Reason.BROKEN_CHAIN)
            buffer = self._buffers[sender] = _Buffer()
        elif continuation != buffer.last and not buffer.skipping:
            self._counters.drop(Reason.BROKEN_CHAIN)
            buffer.lose_track(continuation)
        messages: list[bytes | None]
        if buffer.skipping:
            if fragmented > 1 or (fragmented == 1 and len(pieces) == 1 and continuation):
                return []
            buffer.skipping = False
            messages = [None, *pieces[1:]]
        else:
            messages = list(pieces)
            self._join(buffer, messages)
        self._keep(buffer, sender, fragmented, messages)
        return messages

    @staticmethod
    def _join(buffer: _Buffer, messages: list[bytes | None]) -> None:
        """Put what was kept in front of the first piece."""
        first = messages[0]
        if buffer.parts and first is not None and len(messages) > 1:
            messages[0] = b"".join((*buffer.parts, first))
            buffer.parts.clear()
            buffer.size = 0

    def _keep(self, buffer: _Buffer, sender: int, fragmented: int, messages: list[bytes | None]) -> None:
        """Keep the last piece if it continues later; else hand it up and forget the sender's buffer."""
        if not fragmented:
            last = messages[-1]
            if buffer.parts and last is not None:
                messages[-1] = b"".join((*buffer.parts, last))
            del self._buffers[sender]
            return
        last = messages.pop()
        buffer.last = fragmented
        if last is None:  # the skipped piece itself continues: a chain whose beginning is missing
            buffer.skipping = True
            return
        buffer.parts.append(last)
        buffer.size += len(last)
        if buffer.size > ASSEMBLY_BYTES_MAX:
            self._counters.drop(Reason.TOO_BIG)
            buffer.lose_track(fragmented)
