"""Packet layouts of knet's wire format, version 1: encoding and decoding.

| bytes | field |
|---|---|
| 1 | version, 1 |
| 1 | type |
| 2 | the sender's host id, big-endian |
| 2 | 0 |
| .. | by type |

| type | follows |
|---|---|
| 0x00 data | number u16, compression u8, 0, for everybody u8, fragments u8, which of them u8, channel i8; piece |
| 0x81 ping | link u8, time stamp (16), the sender's data number u16, by timer u8 |
| 0x82 pong | the ping's, unchanged |
| 0x83 probe of the path | link u8, size u16 (opaque), as many bytes as there have to be |
| 0x84 answer | link and size of the probe |

Fragments are counted from 1; a whole frame has fragment 0. Only their sender interprets time stamp and size.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

VERSION: Final = 1

DATA: Final = 0x00
PING: Final = 0x81
PONG: Final = 0x82
PROBE: Final = 0x83
PROBE_ANSWER: Final = 0x84

NUMBER_MAX: Final = 0xFFFF
FRAGMENTS_MAX: Final = 255
FRAME_BYTES_MAX: Final = 65536
"""Most bytes of a frame, before it is compressed and cut."""

HEADER: Final = struct.Struct(">BBHH")
DATA_HEADER: Final = struct.Struct(">BBHHHBBBBBb")
_PING: Final = struct.Struct(">BBHHBQQHB")
_PROBE: Final = struct.Struct(">BBHHBH")

HEADER_BYTES: Final = HEADER.size
DATA_HEADER_BYTES: Final = DATA_HEADER.size
PING_BYTES: Final = _PING.size
PROBE_BYTES: Final = _PROBE.size


class Ping(NamedTuple):
    """A ping or a pong."""

    sender: int
    link: int
    stamp: int
    """Opaque: nanoseconds of a clock of the node that pings."""
    number: int
    """The last data number of the node that pings; 0: it has sent no data yet."""
    timed: bool
    """Whether the ping timer sent it; False: it was sent out of turn."""


class Probe(NamedTuple):
    """A probe of the path, or the answer to one."""

    sender: int
    link: int
    size: int


def encode_ping(ping: Ping) -> bytes:
    """A ping of this node."""
    seconds, rest = divmod(ping.stamp, 1_000_000_000)
    return _PING.pack(VERSION, PING, ping.sender, 0, ping.link, seconds, rest, ping.number, ping.timed)


def decode_ping(packet: bytes) -> Ping | None:
    """The fields of a ping or pong; None if it is none."""
    if len(packet) != PING_BYTES:
        return None
    _, _, sender, _, link, seconds, rest, number, timed = _PING.unpack(packet)
    return Ping(sender, link, seconds * 1_000_000_000 + rest, number, timed != 0)


def pong_of(ping: bytes, node_id: int) -> bytes:
    """The pong for a ping."""
    return HEADER.pack(VERSION, PONG, node_id, 0) + ping[HEADER_BYTES:]


def encode_probe(node_id: int, link: int, size: int, packet_bytes: int) -> bytes:
    """A probe of so many bytes. `size` comes back in the answer."""
    return _PROBE.pack(VERSION, PROBE, node_id, 0, link, size).ljust(packet_bytes, b"\0")


def decode_probe(packet: bytes) -> Probe | None:
    """The fields of a probe or of an answer; None if it is none."""
    if len(packet) < PROBE_BYTES:
        return None
    _, _, sender, _, link, size = _PROBE.unpack_from(packet)
    return Probe(sender, link, size)


def answer_of(probe: bytes, node_id: int) -> bytes:
    """The answer to a probe. It is small, whatever the probe's size."""
    return HEADER.pack(VERSION, PROBE_ANSWER, node_id, 0) + probe[HEADER_BYTES:PROBE_BYTES]


def is_plain(datagram: bytes) -> bool:
    """Whether this is a knet packet in the clear."""
    return (
        len(datagram) > HEADER_BYTES
        and datagram[0] == VERSION
        and datagram[1] in (DATA, PING, PONG, PROBE, PROBE_ANSWER)
        and datagram[4:6] in (b"\0\0", b"\x02\0")
    )
