"""The executive messages of votequorum (service 5), as Corosync 3.1 sends them. Integers are little-endian.

Each begins with the 16-byte header of executive messages: id i32 = 5 << 16 | function, 4 bytes of padding, size i32, 4
bytes of padding. Padding may hold garbage; it is not read.

| function | message | layout after the header |
|---|---|---|
| 0 | NODEINFO, 32 bytes | node u32 @16, votes u32 @20, expected votes u32 @24, flags u32 @28 |
| 1 | RECONFIGURE, 32 bytes | node u32 @16, value u32 @20, parameter u8 @24 |
| 2 | QDEVICE_REG, 280 bytes | operation u32 @16, name 255 bytes @20 |
| 3 | QDEVICE_RECONFIGURE, 528 bytes | old name 255 bytes @16, new name 255 bytes @271 |

A C node does not check sizes: it would read beyond the end of a shorter message. So the sizes are always these.
"""

from __future__ import annotations

import struct
from enum import IntEnum, IntFlag
from typing import NamedTuple

SERVICE = 5
NAME_BYTES = 255
"""Bytes of a quorum device's name, with its NUL. A C node copies up to the NUL, so there must be one."""

_HEAD = struct.Struct("<i4xi4x")
_NODEINFO = struct.Struct("<i4xi4xIIII")
_RECONFIGURE = struct.Struct("<i4xi4xIIB7x")
_QDEVICE_REG = struct.Struct(f"<i4xi4xI{NAME_BYTES}s5x")
_QDEVICE_RECONFIGURE = struct.Struct(f"<i4xi4x{NAME_BYTES}s{NAME_BYTES}s2x")


class Function(IntEnum):
    """Low 16 bits of the id."""

    NODEINFO = 0
    RECONFIGURE = 1
    QDEVICE_REG = 2
    QDEVICE_RECONFIGURE = 3


class Flag(IntFlag):
    """Flags of a NODEINFO."""

    QUORATE = 1
    """The sender was quorate when it sent this."""
    LEAVING = 2
    WAITING_FOR_ALL = 4
    FIRST = 8
    """The sender has not been in a ring with others since its start."""
    DEVICE_REGISTERED = 16
    DEVICE_ALIVE = 32
    DEVICE_CASTS_VOTE = 64
    DEVICE_MASTER_WINS = 128


class Parameter(IntEnum):
    """What a RECONFIGURE changes."""

    EXPECTED_VOTES = 1
    VOTES = 2
    CANCEL_WAIT_FOR_ALL = 3


class WireError(ValueError):
    """The bytes are no message of votequorum. The text gives the reason."""


class NodeInfo(NamedTuple):
    """A node's votes; node 0 is the quorum device of the sender."""

    node: int
    votes: int
    expected_votes: int
    flags: int
    """`Flag`, and unknown bits."""


class Reconfigure(NamedTuple):
    """A change at run time."""

    node: int
    value: int
    parameter: int
    """`Parameter`, or an unknown number."""


class QdeviceReg(NamedTuple):
    """A quorum device was registered or unregistered."""

    registered: bool
    name: bytes


class QdeviceReconfigure(NamedTuple):
    """A quorum device was renamed."""

    old: bytes
    new: bytes


Message = NodeInfo | Reconfigure | QdeviceReg | QdeviceReconfigure


def encode(message: Message) -> bytes:
    """The bytes of a message. Names must be shorter than `NAME_BYTES`."""
    if isinstance(message, NodeInfo):
        return _NODEINFO.pack(SERVICE << 16 | Function.NODEINFO, _NODEINFO.size, *message)
    if isinstance(message, Reconfigure):
        return _RECONFIGURE.pack(SERVICE << 16 | Function.RECONFIGURE, _RECONFIGURE.size, *message)
    if isinstance(message, QdeviceReg):
        assert len(message.name) < NAME_BYTES
        ident = SERVICE << 16 | Function.QDEVICE_REG
        return _QDEVICE_REG.pack(ident, _QDEVICE_REG.size, message.registered, message.name)
    assert len(message.old) < NAME_BYTES
    assert len(message.new) < NAME_BYTES
    ident = SERVICE << 16 | Function.QDEVICE_RECONFIGURE
    return _QDEVICE_RECONFIGURE.pack(ident, _QDEVICE_RECONFIGURE.size, *message)


def decode(data: bytes) -> Message:
    """The message in `data`, an executive message of service 5. Raises `WireError`."""
    if len(data) < _HEAD.size:
        raise WireError("shorter than its header")
    ident, _ = _HEAD.unpack_from(data)
    if ident >> 16 != SERVICE:
        raise WireError("of another service")
    function = ident & 0xFFFF
    layout = _LAYOUTS.get(function)
    if layout is None:
        raise WireError("unknown function")
    if len(data) < layout.size:
        raise WireError("too short")
    fields = layout.unpack_from(data)[2:]
    if function == Function.NODEINFO:
        return NodeInfo(*fields)
    if function == Function.RECONFIGURE:
        return Reconfigure(*fields)
    if function == Function.QDEVICE_REG:
        return QdeviceReg(bool(fields[0]), _name(fields[1]))
    return QdeviceReconfigure(_name(fields[0]), _name(fields[1]))


_LAYOUTS: dict[int, struct.Struct] = {
    Function.NODEINFO: _NODEINFO,
    Function.RECONFIGURE: _RECONFIGURE,
    Function.QDEVICE_REG: _QDEVICE_REG,
    Function.QDEVICE_RECONFIGURE: _QDEVICE_RECONFIGURE,
}


def _name(field: bytes) -> bytes:
    """The bytes before the NUL. Raises `WireError` if there is none."""
    name, nul, _ = field.partition(b"\0")
    if not nul:
        raise WireError("a name without its end")
    return name
