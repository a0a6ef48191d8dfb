"""Totem's frames over knet: marks urgent ones, and writes the target node id into frames for one node.

Corosync's nodes drop a frame whose target is neither 0 nor their own id. So over knet a frame for one node needs its
target. (Over udp and udpu the field is unused.) The transport and the simulator both send through this module.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from services.totem.ring.events import EVERYBODY
from services.totem.transport.knet.knet import EVERYBODY as ALL_HOSTS
from services.totem.transport.knet.knet import Knet
from services.totem.wire.frames import Kind

_KIND_AT = 3
_TARGET_AT, _TARGET_END = 9, 13
_NOBODY = bytes(4)
_TARGET = struct.Struct("<I")


class TotemFrames:
    """Sends Totem's frames through a `Knet`."""

    __slots__ = ("_knet", "_target")

    def __init__(self, knet: Knet) -> None:
        self._knet = knet
        self._target = _TARGET.pack(knet.options.node_id)

    def send(self, packets: Iterable[tuple[int, bytes]], now_ns: int) -> list[bytes]:
        """Send frames in order. Returns those that this node must get back itself."""
        knet, own = self._knet, self._knet.options.node_id
        local: list[bytes] = []
        together: list[bytes] = []
        for destination, frame in packets:
            if destination == EVERYBODY and frame[_KIND_AT] == Kind.MCAST:
                together.append(frame)
                continue
            if destination == own:
                local.append(frame)
                continue
            if together:
                knet.send(ALL_HOSTS, together, now_ns)
                together = []
            if destination == EVERYBODY:
                local.append(frame)
                knet.send(ALL_HOSTS, [frame], now_ns, urgent=True)
            else:
                addressed = frame[:_TARGET_AT] + _TARGET.pack(destination) + frame[_TARGET_END:]
                knet.send(destination, [addressed], now_ns)
        if together:
            knet.send(ALL_HOSTS, together, now_ns)
        return local

    def is_for_this_node(self, frame: bytes) -> bool:
        """Whether a received frame is for this node, alone or among others."""
        return frame[_TARGET_AT:_TARGET_END] in (_NOBODY, self._target)
