"""Every message of the wire, built by hand from offset tables and not by the codecs.

Each table says `(offset, format, value)`; what no row covers stays zero. The values of a table have bytes that all
differ, so that no swapped, shifted or shortened field can pass.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.totem.wire.base import RingId
from services.totem.wire.frames import Commit, CommitEntry, Frame, HoldCancel, Join, Mcast, Merge, Token

if TYPE_CHECKING:
    from collections.abc import Iterable

Row = tuple[int, str, int | bytes]

RING = RingId(0x11121314, 0x2122232425262728)
OLD_RING = RingId(0x31323334, 0x4142434445464748)


def lay(size: int, *rows: Row, fill: int = 0) -> bytes:
    """`size` bytes of `fill` with each value at its offset, little-endian."""
    buffer = bytearray([fill]) * size
    for offset, form, value in rows:
        struct.pack_into("<" + form, buffer, offset, value)
    return bytes(buffer)


def header(kind: int, nodeid: int, *, encapsulated: int = 0, target: int = 0) -> list[Row]:
    """The 13 bytes that every datagram begins with."""
    return [(0, "H", 0xC070), (2, "B", 3), (3, "B", kind), (4, "B", encapsulated), (5, "I", nodeid), (9, "I", target)]


def ring_at(offset: int, ring: RingId) -> list[Row]:
    """A memb_ring_id: u32 representative, u64 sequence, packed."""
    return [(offset, "I", ring.representative), (offset + 4, "Q", ring.sequence)]


def u32s(offset: int, values: Iterable[int]) -> list[Row]:
    """Consecutive fields of type u32."""
    return [(offset + 4 * i, "I", value) for i, value in enumerate(values)]


@dataclass(frozen=True)
class Example:
    """One datagram as the tables have it, and as the codec is to see it."""

    name: str
    frame: bytes
    decoded: Frame
    fixed: int
    """Size of the part that does not depend on lists or payload."""


def _token(requests: int) -> Example:
    rtr = [(OLD_RING if i % 2 else RING, 0xC1C2C300 + i) for i in range(requests)]
    rows = [
        *header(0, 0x51525354), (13, "I", 0x61626364), (17, "I", 0x65666768), (21, "I", 0x696A6B6C),
        (25, "I", 0x71727374), *ring_at(29, RING), (41, "I", 0x81828384), (45, "I", 0x85868788), (49, "I", 0x898A8B8C),
        (53, "I", requests),
    ]  # fmt: skip
    for i, (ring, seq) in enumerate(rtr):
        rows += [*ring_at(57 + 16 * i, ring), (57 + 16 * i + 12, "I", seq)]
    decoded = Token(
        0x51525354, 0x61626364, 0x65666768, 0x696A6B6C, 0x71727374, RING,
        backlog=0x81828384, fcc=0x85868788, retrans_flg=0x898A8B8C, rtr=rtr,
    )  # fmt: skip
    return Example(f"token-{requests}", lay(57 + 16 * requests, *rows), decoded, 57)


def _mcast(encapsulated: int) -> Example:
    payload = bytes(range(200, 240))
    frame = lay(
        45 + len(payload), *header(1, 0x51525354, encapsulated=encapsulated), (13, "I", 0x51525354),
        (17, "I", 0x61626364), (21, "I", 0x65666768), *ring_at(25, RING), (37, "I", 0x71727374), (41, "I", 0x75767778),
        (45, f"{len(payload)}s", payload),
    )  # fmt: skip
    decoded = Mcast(
        0x51525354, 0x51525354, 0x61626364, 0x65666768, RING, 0x71727374, 0x75767778, encapsulated, frame
    )  # fmt: skip
    return Example(f"mcast-{encapsulated}", frame, decoded, 45)


def _merge() -> Example:
    frame = lay(29, *header(2, 0x51525354), (13, "I", 0x61626364), *ring_at(17, RING))
    return Example("merge", frame, Merge(0x51525354, 0x61626364, RING), 29)


def _join(header_node: int, procs: int, fails: int) -> Example:
    proc = tuple(0xA1A2A300 + i for i in range(procs))
    failed = tuple(0xB1B2B300 + i for i in range(fails))
    frame = lay(
        33 + 4 * (procs + fails), *header(3, header_node), (13, "I", 0x61626364), (17, "I", procs), (21, "I", fails),
        (25, "Q", 0x7172737475767778), *u32s(33, proc), *u32s(33 + 4 * procs, failed),
    )  # fmt: skip
    decoded = Join(header_node, 0x61626364, proc, failed, 0x7172737475767778)
    return Example(f"join-{procs}-{fails}" if header_node else "leave", frame, decoded, 33)


def _commit(members: int, filled: int) -> Example:
    addrs = tuple(0xA1A2A300 + i for i in range(members))
    rows = [
        *header(4, 0x51525354), (13, "I", 0x61626364), *ring_at(17, RING), (29, "I", 0x71727374), (33, "I", filled),
        (37, "I", members), *u32s(41, addrs),
    ]  # fmt: skip
    entries = []
    for i in range(members):
        at = 41 + 4 * members + 24 * i
        if i < filled:
            aru, high, flag = 0x81828300 + i, 0x91929300 + i, 1
            rows += [*ring_at(at, OLD_RING), (at + 12, "I", aru), (at + 16, "I", high), (at + 20, "I", flag)]
            entries.append(CommitEntry(OLD_RING, aru, high, flag))
        else:
            entries.append(CommitEntry())
    decoded = Commit(0x51525354, 0x61626364, RING, addrs, entries, memb_index=filled, retrans_flg=0x71727374)
    return Example(f"commit-{filled}-of-{members}", lay(41 + 28 * members, *rows), decoded, 41)


def _hold_cancel() -> Example:
    frame = lay(25, *header(5, 0x51525354), *ring_at(13, RING))
    return Example("hold-cancel", frame, HoldCancel(0x51525354, RING), 25)


FRAMES = [
    _token(0), _token(1), _token(30), _mcast(1), _mcast(2), _merge(), _join(0x51525354, 0, 0), _join(0x51525354, 3, 2),
    _join(0, 2, 1), _join(0x51525354, 384, 384), _commit(1, 0), _commit(3, 2), _commit(384, 384), _hold_cancel(),
]  # fmt: skip

PIECES = (b"first", b"", b"the third piece")
PACKET = lay(
    8 + 2 * 3 + 20, (0, "H", 0), (2, "H", 0), (4, "B", 0xF1), (5, "B", 0xC1), (6, "H", 3), (8, "H", 5), (10, "H", 0),
    (12, "H", 15), (14, "5s", b"first"), (19, "15s", b"the third piece"),
)  # fmt: skip
"""fragmented 0xF1, continuation 0xC1."""


def barrier(fill: int = 0) -> bytes:
    """BARRIER of `RING`, with `fill` in everything that is padding."""
    return lay(32, (0, "i", 0), (8, "i", 32), *ring_at(16, RING), fill=fill)


def service_build(count: int, slots: list[int], fill: int = 0) -> bytes:
    """SERVICE_BUILD of `RING` that announces `count`; all 128 slots of ids are set, to `slots` and then to zero."""
    ids: list[Row] = [(40 + 4 * i, "i", slots[i] if i < len(slots) else 0) for i in range(128)]
    return lay(552, (0, "i", 1), (8, "i", 552), *ring_at(16, RING), (32, "i", count), *ids, fill=fill)


def cmap_item(version: int | None, key: bytes = b"totem.config_version", fill: int = 0) -> bytes:
    """CMAP's sync message with one item: 336 bytes, or 328 without a value."""
    size = 328 if version is None else 336
    item = 48
    rows: list[Row] = [
        (0, "i", 0), (8, "i", size), (16, "B", 0), (24, "B", 1), (32, "B", 0), (40, "B", 0),
        (item, "H", len(key)), (item + 8, "256s", key), (item + 264, "B", 0 if version is None else 8),
        (item + 272, "Q", 0 if version is None else 8),
    ]  # fmt: skip
    if version is not None:
        rows.append((item + 280, "Q", version))
    return lay(size, *rows, fill=fill)
