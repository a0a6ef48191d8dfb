"""From messages to packets: small messages share a packet, long ones are cut into a chain of fragments.

Messages wait as they are and are packed when the token comes, so that packets are as full as can be. A packet is
closed by a message that does not fit: the part that fits goes in, `fragmented` says with which number (1, 2 .. 255,
1 ..) the rest continues. A new chain begins at 1, because receivers that lost track find their way back there.

A chain must not straddle a ring change: members that joined in between could not assemble the message. So a message
that was cut when the ring changed is sent again from its beginning, after a packet that ends the broken chain: its
one piece is of a group that nobody has, so it is dropped by those who see it and skipped by those who lost track.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from services.totem.ring.events import Tag
from services.totem.wire import packets

FRAGMENT_MIN = 64
"""A smaller rest of a packet is left empty rather than filled with a scrap of a message (unless nothing else is in
the packet)."""

CHAIN_BREAKER = packets.encode_packet(0, 0, [packets.NOBODY_PREFIX])


class Packet(NamedTuple):
    """What is to be sent next."""

    payload: bytes
    tags: tuple[Tag, ...]
    """Those of the messages that end in it."""
    safe: bool
    """Whether one of these is SAFE."""


Parts = Callable[[], Iterable[tuple[bytes, Tag]]]
"""Gives the messages, each with its group header, and their tags, that stand for a message in a ring with members that
do not understand it."""


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
        """Queue a message (group header included). It goes in `parts` where it is not understood as a whole."""
        self.queue.append(_Waiting(message, tag, safe, parts))
        self.bytes_queued += len(message)

    def packets_queued(self) -> int:
        """How many packets the queue is worth: what a node tells others as its backlog."""
        if not self.queue:
            return int(self._break_chain)
        overhead = packets.PACKET_HEADER_SIZE + 2
        return (self.bytes_queued - self._offset) // (self.packet_size_max - overhead) + 1

    def keep_whole(self, whole: bool) -> None:
        """Whether messages that have parts are sent as a whole, from now on."""
        self.takes_whole = whole

    def restart(self) -> None:
        """The ring changed: a message that was cut is to be sent anew, as a whole."""
        if self._chain:
            self._break_chain = True
            self._chain = 0
            self._offset = 0

    def clear(self) -> None:
        """Forget the messages; a chain that was begun will be ended."""
        self.restart()
        self.queue.clear()
        self.bytes_queued = 0

    def take(self, size_max: int | None = None) -> Packet | None:
        """The next packet, of at most `size_max` bytes (None: of the usual size); None if nothing waits."""
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
        """Replace the first message by its parts. (None of it was sent: a ring change makes it begin anew.)"""
        whole = self.queue.popleft()
        self.bytes_queued -= len(whole.message)
        found = [_Waiting(message, tag, whole.safe, None) for message, tag in parts()]
        self.queue.extendleft(reversed(found))
        self.bytes_queued += sum(len(each.message) for each in found)

    def _pop(self) -> None:
        message = self.queue.popleft().message
        self.bytes_queued -= len(message)
        self._offset = 0
