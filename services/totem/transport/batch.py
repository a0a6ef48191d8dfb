"""Many datagrams with one system call: UDP_SEGMENT for sending, UDP_GRO for receiving (udp(7)).

The packets that a node sends at one visit of the token all have the same size, except the last. The kernel takes them
as one buffer with a segment size, and splits it only at the network card. Between network namespaces, and on loopback,
the receiver gets them as one buffer. The bytes on the wire are the same.

If the kernel refuses a group, its datagrams are sent one by one, with the same result. That happens with a kernel
before 4.18, an interface without checksum offload, or a segment that exceeds the path MTU (only fragmented datagrams
may).
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from collections.abc import Sequence
from typing import Final

SEGMENTS_MAX: Final = 64
"""Most datagrams of one call (UDP_MAX_SEGMENTS of older kernels)."""

GROUP_BYTES_MAX: Final = 65_000
"""Most bytes of one call: a little less than an IP packet of either version can hold."""

CONTROL_BYTES: Final = socket.CMSG_SPACE(4)
"""Room for the control message with the segment size."""

_SOL_UDP: Final = 17
_UDP_SEGMENT: Final = 103
_UDP_GRO: Final = 104
_SIZE_OUT: Final = struct.Struct("=H")
_SIZE_IN: Final = struct.Struct("=i")
_REFUSALS: Final = frozenset((errno.EINVAL, errno.EMSGSIZE, errno.EIO, errno.ENOPROTOOPT, errno.EOPNOTSUPP))


class Grouping:
    """What the kernel accepts in one call, learned from its refusals."""

    def __init__(self) -> None:
        self.segment_size_max = GROUP_BYTES_MAX
        """Larger datagrams are sent one by one."""

    def groups(self, datagrams: Sequence[bytes]) -> list[list[bytes]]:
        """The datagrams, in order, in groups that can be sent with one call each.

        All datagrams of a group have the same size; the last may be shorter.
        """
        made: list[list[bytes]] = []
        group: list[bytes] = []
        size = room = 0
        for each in datagrams:
            length = len(each)
            if room and length <= size:
                group.append(each)
                room = room - 1 if length == size else 0
                continue
            made.append(group := [each])
            size = length
            room = min(SEGMENTS_MAX, GROUP_BYTES_MAX // size) - 1 if 0 < size <= self.segment_size_max else 0
        return made

    def refused(self, error: OSError, size: int) -> bool:
        """A group with segments of this size was not sent. True: because of the grouping."""
        if error.errno not in _REFUSALS:
            return False
        self.segment_size_max = size - 1
        return True


def segment_size(size: int) -> list[tuple[int, int, bytes]]:
    """Control data for sendmsg: split the buffer into datagrams of this size."""
    return [(_SOL_UDP, _UDP_SEGMENT, _SIZE_OUT.pack(size))]


def ask_for_groups(receiver: socket.socket) -> None:
    """Let this socket receive groups, if the kernel supports that."""
    with contextlib.suppress(OSError):
        receiver.setsockopt(_SOL_UDP, _UDP_GRO, 1)


def refuse_groups(receiver: socket.socket) -> None:
    """Let this socket receive datagrams one by one again."""
    with contextlib.suppress(OSError):
        receiver.setsockopt(_SOL_UDP, _UDP_GRO, 0)


def split(data: bytes, control: Sequence[tuple[int, int, bytes]]) -> list[bytes]:
    """The datagrams of a group, by the control data that came with it."""
    size = size_of_each(data, control)
    return [data[at : at + size] for at in range(0, len(data), size)] if size < len(data) else [data]


def size_of_each(data: bytes, control: Sequence[tuple[int, int, bytes]]) -> int:
    """Size of each datagram of a group (the last may be shorter). If it is no group, the size of all data."""
    for level, kind, value in control:
        if level == _SOL_UDP and kind == _UDP_GRO and len(value) >= _SIZE_IN.size:
            (size,) = _SIZE_IN.unpack_from(value)
            if 0 < size < len(data):
                return int(size)
    return len(data)
