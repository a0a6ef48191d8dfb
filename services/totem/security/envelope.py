"""The envelope: 40 bytes in front of every sealed packet, authenticated but not secret.

| offset | bytes | field |
|---|---|---|
| 0 | 1 | magic 0x52; a plain totem packet starts with 0x70 or 0xC0, so the two are never mixed up |
| 1 | 1 | version: 1, or 2 of what is sealed with the key of a forward secret ring |
| 2 | 1 | suite (suites.py) |
| 3 | 1 | inside: 0 a token, 1 a totem packet for everybody, 2 a challenge, 3 an answer, 4 a packet for one node |
| 4 | 2 | key number, derived from the key (keys.py) |
| 6 | 4 | cluster: the start of a hash of cluster_name; version 2: 2 bytes of it, then the ring tag (forward.py) |
| 10 | 4 | sender: its node id |
| 14 | 16 | boot: random bytes that the sender drew when it started |
| 30 | 2 | length of the whole datagram, lower 16 bits |
| 32 | 8 | counter: 1, 2, 3 ... over all that this boot of the sender seals; from 2^63 on for what is kept (replay.py) |

All numbers are big-endian. As in a plain totem packet, offset 3 is 0 if and only if the packet is a token. So a
receiver can stop reading at a token before it opens it. What follows depends on the suite. The first 30 bytes are the
same in all packets of a kind from one sender, so a receiver finds the keys with one look-up.

A packet for one node (0 and 4) is authenticated together with that node's id, 4 bytes that are not sent. No other node
can open it, so nobody can redirect a token.

A challenge or an answer holds: u32 node id of the receiver, 16 bytes nonce (challenge.py).
"""

from __future__ import annotations

import hashlib
import struct
from enum import IntEnum
from typing import Final, NamedTuple

MAGIC: Final = 0x52
VERSION: Final = 1
RING_VERSION: Final = 2
"""Version of packets that are sealed with the key of a forward secret ring: its data and its tokens."""
PLAIN_MAGIC: Final = (b"\x70\xc0", b"\xc0\x70")
"""The first bytes of plain totem packets, in either byte order."""

PREFIX_SIZE: Final = 30
HEADER_SIZE: Final = 40
BOOT_SIZE: Final = 16
NONCE_SIZE: Final = 16
COUNTER_AT: Final = 32
TAG_MASK: Final = 0xFFFF
"""The bits of the cluster number that hold a ring tag."""

_PREFIX: Final = struct.Struct(">BBBBHII16s")
TAIL: Final = struct.Struct(">HQ")
"""Length and counter, at PREFIX_SIZE."""
ENQUIRY: Final = struct.Struct(">I16s")
"""A challenge or an answer: for whom, nonce."""


class Content(IntEnum):
    """What is inside an envelope."""

    TOKEN = 0
    FRAME = 1
    CHALLENGE = 2
    ANSWER = 3
    DIRECT = 4
    """A frame for one node, other than a token."""


def bound_to(content: int, node: int) -> bytes:
    """Bytes that are authenticated besides the packet, if it is for `node` alone."""
    return node.to_bytes(4, "big") if content in (Content.TOKEN, Content.DIRECT) else b""


class Prefix(NamedTuple):
    """The part of the envelope that says how to open it."""

    magic: int
    version: int
    suite: int
    content: int
    key_number: int
    cluster: int
    sender: int
    boot: bytes

    @property
    def ring_tag(self) -> int:
        """The tag of the ring and epoch whose key seals it; 0 if no ring's key does."""
        return self.cluster & TAG_MASK if self.version == RING_VERSION else 0

    def pack(self) -> bytes:
        """Its 30 bytes."""
        return _PREFIX.pack(*self)


def prefix_of(datagram: bytes) -> Prefix:
    """The prefix of a datagram of at least PREFIX_SIZE bytes."""
    return Prefix._make(_PREFIX.unpack_from(datagram))


def cluster_number(cluster_name: str) -> int:
    """A number that tells clusters apart. It protects nothing: the name is part of the keys too."""
    digest = hashlib.sha256(b"rondo cluster\0" + cluster_name.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:4], "big")
