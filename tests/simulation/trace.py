"""The trace of a run, for the checker and for people: a list of events (dicts) in the order of virtual time.

Every event has `t` (seconds), `node`, `inc` (which start of the node this is) and `ev` (its name). A message of the
simulated applications begins with (node, inc, n). So the bytes of a delivery tell which message it is.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Event = dict[str, Any]
MessageId = tuple[int, int, int]

_HEAD = struct.Struct("<4sIII")
_MAGICS = {b"sim\0": "agreed", b"sim\1": "safe"}
MESSAGE_SIZE_MIN = _HEAD.size
_TOLD_BY_THE_HOST = ("send", "sync")
"""Events that the host writes itself, because it knows more of them. Those of the ring are dropped."""


class SimulationError(AssertionError):
    """The simulator itself has seen what must never happen. This ends the run, before the checker judges it."""


class Trace:
    """The events of one run. `now_ns` is the virtual time; the world moves it."""

    __slots__ = ("events", "now_ns")

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.now_ns = 0

    def emit(self, node: int, inc: int, name: str, fields: dict[str, object]) -> None:
        """Append one event. It is the dict `fields` itself, with the common fields added."""
        fields["t"], fields["node"], fields["inc"], fields["ev"] = self.now_ns / 1e9, node, inc, name
        self.events.append(fields)

    def digest(self) -> str:
        """A hash of the whole trace. Two runs of one seed must have the same."""
        text = json.dumps(self.events, sort_keys=True, separators=(",", ":"))
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def write(self, path: Path) -> None:
        """Write the events to a file, one JSON object a line."""
        with path.open("w") as file:
            file.writelines(json.dumps(event, separators=(",", ":")) + "\n" for event in self.events)


class NodeObserver:
    """The observer of a node's ring: adds time, node and incarnation to the events of the ring.

    It also keeps the fields of each `packet_out`, in order, until the host has put that packet on the wire. A `buffers`
    event that equals the one before is left out.
    """

    __slots__ = ("_buffers", "inc", "node", "packets_out", "trace")

    def __init__(self, trace: Trace, node: int, inc: int) -> None:
        self.trace = trace
        self.node = node
        self.inc = inc
        self.packets_out: deque[dict[str, Any]] = deque()
        self._buffers: dict[str, object] = {}

    def __call__(self, event_name: str, fields: dict[str, object]) -> None:
        """The ring calls this with each event."""
        if event_name == "packet_out":
            self.packets_out.append(fields)
        elif event_name == "buffers":
            if fields == self._buffers:
                return
            self._buffers = fields.copy()
        elif event_name in _TOLD_BY_THE_HOST:
            return
        self.trace.emit(self.node, self.inc, event_name, fields)

    def sent(self, msg: MessageId, level: str, ring: Sequence[int], seq: int) -> None:
        """Write down that the last fragment of a message of this node is on the wire."""
        place = {"cfg": f"r:{ring[0]}:{ring[1]}", "ring": ring, "seq": seq}
        self.trace.emit(self.node, self.inc, "send", {"msg": msg, **place, "level": level})


def make_message(msg: MessageId, filler: bytes, *, safe: bool = False) -> bytes:
    """The bytes of an application message."""
    return _HEAD.pack(b"sim\1" if safe else b"sim\0", *msg) + filler


def message_level(data: bytes) -> str:
    """The level with which this message was submitted, "agreed" or "safe"."""
    return _MAGICS[data[:4]]


def message_id(data: bytes) -> MessageId | None:
    """The id of the message that begins with these bytes. None if no simulated application made it. The first
    `MESSAGE_SIZE_MIN` bytes suffice."""
    if len(data) < _HEAD.size or data[:4] not in _MAGICS:
        return None
    _, node, inc, n = _HEAD.unpack_from(data)
    return node, inc, n


def message_hash(data: bytes) -> str:
    """The hash of a message's content, as in submit and deliver events."""
    return f"{zlib.crc32(data):08x}"
