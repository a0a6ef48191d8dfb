"""The quorum captures, as each node's story: its rings, and what was delivered in them.

`data/quorum-*.pcap.gz` were taken among real Corosync 3.1.7 nodes (udpu, no encryption, token frames left out):

    basic        three nodes one after the other, two killed, one back, one leaves
    reconfigure  expected votes and votes set by tool, the configuration reloaded three times, a key set
    twonode-wfa  two_node with wait for all: start, loss, restart alone, cancelled, return

Who is in a ring is seen from the SERVICE_BUILDs of its sync: every member sends one.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path

from services.totem.ring.assembly import Assembler
from services.totem.ring.counters import Counters
from services.totem.wire.packets import Group, decode_packet, split_group
from services.totem.wire.syncmsg import ServiceBuild, decode_sync
from tests.unit.wire.captures import datagrams

DATA = Path(__file__).parent / "data"
_MCAST = struct.Struct("<IIIIQ")
_MCAST_HEADER_BYTES = 45


@dataclass
class CapturedRing:
    """One ring, with its messages in their order."""

    representative: int
    sequence: int
    numbers: list[int]
    """The sequence numbers of its packets, in ascending order."""
    messages: list[tuple[int, int, Group, bytes]] = field(default_factory=list)
    """Sequence number of the packet, sender, group and payload of each message."""

    @property
    def members(self) -> tuple[int, ...]:
        """The nodes that took part in its sync."""
        found = {
            sender
            for _, sender, group, payload in self.messages
            if group is Group.SYNC and isinstance(decode_sync(payload), ServiceBuild)
        }
        return tuple(sorted(found))


def rings(name: str) -> list[CapturedRing]:
    """The rings of the capture `name`, by the order in which they were installed."""
    packets: dict[tuple[int, int], dict[int, tuple[int, bytes]]] = {}
    for datagram in datagrams(f"quorum-{name}", DATA):
        frame = datagram.payload
        if frame[3] != 1:
            continue
        assert frame[4] != 1, "these captures have no messages of one ring repeated in the next"
        sender, number, _, representative, sequence = _MCAST.unpack_from(frame, 13)
        packets.setdefault((representative, sequence), {})[number] = sender, frame
    found = []
    for (representative, sequence), by_number in packets.items():
        ring = CapturedRing(representative, sequence, sorted(by_number))
        assembler = Assembler(Counters())
        for number in ring.numbers:
            sender, frame = by_number[number]
            fragmented, continuation, pieces = decode_packet(frame, _MCAST_HEADER_BYTES)
            for message in assembler.take(sender, fragmented, continuation, pieces):
                assert message is not None
                group, at = split_group(message)
                ring.messages.append((number, sender, group, message[at:]))
        found.append(ring)
    return found
