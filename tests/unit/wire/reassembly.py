"""A reference reassembler of totempg packets, written for these tests alone.

It follows the receiver's rules and nothing else: per sender one buffer and the `fragmented` number of the last packet.
A packet whose `continuation` differs from that number is a broken chain. The captures have none, so it is an error.
It reads the packets by itself; the codec under test is not used.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field


class BrokenChainError(ValueError):
    """A packet does not continue what was kept of its sender."""


@dataclass(slots=True)
class _Kept:
    data: bytearray = field(default_factory=bytearray)
    fragmented: int = 0


class Reassembler:
    """Turns totempg packets, in their order on the ring, into whole messages."""

    def __init__(self) -> None:
        self._kept: dict[int, _Kept] = {}

    def add(self, sender: int, packet: bytes) -> list[bytes]:
        """The messages that `packet` completes. Raises `BrokenChainError`."""
        fragmented, continuation, count = packet[4], packet[5], struct.unpack_from("<H", packet, 6)[0]
        kept = self._kept.setdefault(sender, _Kept())
        if continuation != kept.fragmented:
            raise BrokenChainError(f"node {sender}: continues {continuation}, kept {kept.fragmented}")
        kept.fragmented = fragmented
        messages: list[bytes] = []
        at = 8 + 2 * count
        for i in range(count):
            (length,) = struct.unpack_from("<H", packet, 8 + 2 * i)
            kept.data += packet[at : at + length]
            at += length
            if i < count - 1 or not fragmented:
                messages.append(bytes(kept.data))
                kept.data.clear()
        if at != len(packet):
            raise ValueError(f"node {sender}: packet of {len(packet)} bytes announces {at}")
        return messages

    def unfinished(self) -> dict[int, int]:
        """Bytes kept of each sender whose last message is not complete."""
        return {node: len(kept.data) for node, kept in self._kept.items() if kept.fragmented or kept.data}
