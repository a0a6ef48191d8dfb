"""Assembles messages from packets: one buffer per sender keeps the fragments of a message until its last one has come.

Corosync's rule for receivers: if `continuation` equals the `fragmented` of the sender's previous packet, the pieces
belong together. Otherwise the receiver has lost track: the sender, or this node, joined in the middle of the chain.
Nothing is then handed up until a packet ends the damaged chain. The first piece of that packet is skipped.

Two rules go beyond Corosync's:
- In chains of more than 255 fragments the number 1 comes again. A receiver that has lost track would take the middle of
  such a message for its beginning. A packet with one piece and a continuation other than 0 is always the middle of a
  chain, so skipping goes on.
- A packet without a continuation starts with the beginning of a message. The buffer is dropped then, and nothing is
  skipped. No honest sender leaves out the rest of a chain. A forged fragment does, and must not cost the first genuine
  message after it.
"""

from __future__ import annotations

from typing import Final

from services.totem.ring.counters import Counters
from services.totem.ring.options import MESSAGE_SIZE_MAX
from services.totem.wire.base import Reason

ASSEMBLY_BYTES_MAX: Final = MESSAGE_SIZE_MAX + 65536
"""Corosync's buffer; a C node aborts above it."""


class _Buffer:
    """The fragments of one sender's unfinished message."""

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
        """The sender is gone: drop its unfinished message."""
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
        """Put the kept fragments in front of the first piece."""
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
        if last is None:  # the skipped piece itself continues: the beginning of the chain is missing
            buffer.skipping = True
            return
        buffer.parts.append(last)
        buffer.size += len(last)
        if buffer.size > ASSEMBLY_BYTES_MAX:
            self._counters.drop(Reason.TOO_BIG)
            buffer.lose_track(fragmented)
