"""Packs messages into packets: small messages share a packet, long ones are cut into a chain of fragments.

Messages are queued whole and packed when the token comes, so that packets are as full as possible. A message that does
not fit closes the packet: the part that fits goes in. `fragmented` then gives the number (1, 2 .. 255, 1 ..) with which
the rest continues. A new chain begins at 1, because receivers that lost track find their way back there.

A chain must not cross a ring change: members that joined in between could not assemble the message. So a message that
was cut when the ring changed is sent again from its beginning. Before it goes a packet that ends the broken chain. Its
one piece is for a group that does not exist: receivers drop it, and those that lost track skip it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from services.totem.ring.events import Tag
from services.totem.wire import packets

FRAGMENT_MIN: Final = 64
"""If less room than this is left in a packet, it stays empty instead of taking a scrap of a message (unless the packet
is empty otherwise)."""

CHAIN_BREAKER: Final = packets.encode_packet(0, 0, [packets.NOBODY_PREFIX])


class Packet(NamedTuple):
    """The next packet to send."""

    payload: bytes
    tags: tuple[Tag, ...]
    """Tags of the messages that end in it."""
    safe: bool
    """Whether one of these messages is SAFE."""


Parts = Callable[[], Iterable[tuple[bytes, Tag]]]
"""Returns the (message, tag) pairs that replace a batch where not all members understand it. Each message has its group
header."""


class _Waiting(NamedTuple):
    """A message in the queue."""

    message: bytes
    tag: Tag
    safe: bool
    parts: Parts | None


class Packer:
    """A queue of messages, each with its group header, and the fragment chain at its head."""

    __slots__ = ("_break_chain", "_chain", "_offset", "bytes_queued", "packet_size_max", "queue", "takes_whole")

    def __init__(self, packet_size_max: int) -> None:
        self.packet_size_max = packet_size_max
        self.queue: deque[_Waiting] = deque()
        self.bytes_queued = 0
        self.takes_whole = False
        """Whether all members of the ring understand messages that have parts."""
        self._offset = 0  # how much of the first message was sent
        self._chain = 0  # `fragmented` of the last packet
        self._break_chain = False

    def add(self, message: bytes, tag: Tag, *, safe: bool = False, parts: Parts | None = None) -> None:
        """Queue a message (group header included). `parts` replaces it where not all members understand it."""
        self.queue.append(_Waiting(message, tag, safe, parts))
        self.bytes_queued += len(message)

    def packets_queued(self) -> int:
        """How many packets the queued messages make: the backlog that this node reports."""
        if not self.queue:
            return int(self._break_chain)
        overhead = packets.PACKET_HEADER_SIZE + 2
        return (self.bytes_queued - self._offset) // (self.packet_size_max - overhead) + 1

    def keep_whole(self, whole: bool) -> None:
        """Set whether messages that have parts are sent whole."""
        self.takes_whole = whole

    def restart(self) -> None:
        """The ring changed: a message that was cut is sent again from its beginning."""
        if self._chain:
            self._break_chain = True
            self._chain = 0
            self._offset = 0

    def clear(self) -> None:
        """Drop the messages. A chain that has begun will still be ended."""
        self.restart()
        self.queue.clear()
        self.bytes_queued = 0

    def take(self, size_max: int | None = None) -> Packet | None:
        """The next packet, of at most `size_max` bytes (None: `packet_size_max`); None if the queue is empty."""
        if self._break_chain:
            self._break_chain = False
            return Packet(CHAIN_BREAKER, (), False)
        if not self.queue:
            return None
        pieces: list[bytes] = []
        tags: list[Tag] = []
        any_safe = False
        continuation = self._chain
        self._chain = 0
        room = (size_max or self.packet_size_max) - packets.PACKET_HEADER_SIZE
        while self.queue:
            message, tag, safe, parts = self.queue[0]
            if parts is not None and not self.takes_whole:
                self._take_apart(parts)
                continue
            rest = len(message) - self._offset
            if rest + 2 <= room:
                pieces.append(message[self._offset :] if self._offset else message)
                tags.append(tag)
                any_safe = any_safe or safe
                room -= rest + 2
                self._pop()
                continue
            if room - 2 >= FRAGMENT_MIN or not pieces:
                pieces.append(message[self._offset : self._offset + room - 2])
                self._offset += room - 2
                first_of_chain = len(pieces) > 1 or not continuation
                self._chain = 1 if first_of_chain else continuation % 255 + 1
            break
        return Packet(packets.encode_packet(self._chain, continuation, pieces), tuple(tags), any_safe)

    def _take_apart(self, parts: Parts) -> None:
        """Replace the first message by its parts. None of it was sent yet: after a ring change it starts again."""
        whole = self.queue.popleft()
        self.bytes_queued -= len(whole.message)
        found = [_Waiting(message, tag, whole.safe, None) for message, tag in parts()]
        self.queue.extendleft(reversed(found))
        self.bytes_queued += sum(len(each.message) for each in found)

    def _pop(self) -> None:
        message = self.queue.popleft().message
        self.bytes_queued -= len(message)
        self._offset = 0
