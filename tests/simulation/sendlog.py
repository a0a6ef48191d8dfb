"""Finds the messages that a node's own mcasts complete. The trace calls this event `send`.

The ring reports packets, but the checker judges messages. A long message is sent in pieces, in several packets. Of each
message only the first bytes are kept, which contain its identifier.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.totem.wire.frames import ENCAPSULATED, MCAST_HEADER_SIZE
from services.totem.wire.packets import NOBODY_PREFIX, SYNC_PREFIX, decode_packet, split_group
from tests.simulation.trace import MESSAGE_SIZE_MIN, SimulationError, message_id, message_level

if TYPE_CHECKING:
    from tests.simulation.trace import MessageId, NodeObserver

_ENCAPSULATED_AT = 4
_SEQ_AT = 17
_HEAD_BYTES = MESSAGE_SIZE_MIN + len(SYNC_PREFIX)
"""So many bytes from the beginning of a message are enough to identify it."""


class SendLog:
    """Reads the mcasts that a node sends, from its start to its end."""

    def __init__(self, observer: NodeObserver) -> None:
        self._observer = observer
        self._kept = b""

    def note(self, mcast: bytes) -> None:
        """Record the messages that this mcast completes, unless the mcast is a retransmission."""
        if not self._observer.packets_out:
            raise SimulationError(f"node {self._observer.node} sent a packet that it did not tell of")
        fields = self._observer.packets_out.popleft()
        seq = fields["seq"]
        if int.from_bytes(mcast[_SEQ_AT : _SEQ_AT + 4], "little") != seq & 0xFFFF_FFFF:
            raise SimulationError(f"node {self._observer.node} told of packet {seq}, but sent another one")
        if fields["new"] and mcast[_ENCAPSULATED_AT] != ENCAPSULATED:
            for msg, level in self._completed(mcast):
                self._observer.sent(msg, level, fields["ring"], seq)

    def _completed(self, mcast: bytes) -> list[tuple[MessageId, str]]:
        """The messages that end in this packet, with their levels. One that a ring change cut off is sent anew."""
        fragmented, continuation, pieces = decode_packet(mcast, MCAST_HEADER_SIZE)
        done = []
        for i, piece in enumerate(pieces):
            head = self._kept + piece[:_HEAD_BYTES] if i == 0 and continuation else piece[:_HEAD_BYTES]
            self._kept = b""
            if fragmented and i == len(pieces) - 1:
                self._kept = head[:_HEAD_BYTES]
            elif head.startswith(NOBODY_PREFIX):
                self._observer("long_message_again", {})
            else:
                _, offset = split_group(head)
                msg = message_id(head[offset:])
                if msg is not None:
                    done.append((msg, message_level(head[offset:])))
        return done
