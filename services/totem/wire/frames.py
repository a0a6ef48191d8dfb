"""Encodes and decodes the six messages of totemsrp. Each is one datagram.

Layout of the common header (13 bytes): magic u16 0xC070, version u8 3, type u8, encapsulated u8, sender u32, target
u32. Over udp and udpu Corosync does not set the target, so the field holds garbage. It is ignored, and sent as 0.

`decode` returns one of `Token`, `Mcast`, `Merge`, `Join`, `Commit`, `HoldCancel`. As in Corosync, a length is a
minimum: bytes after the announced end are ignored.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from services.totem.wire.base import Malformed, Reason, RingId

MAGIC: Final = 0xC070
MAGIC_SWAPPED: Final = 0x70C0
VERSION: Final = 3

PROCESSORS_MAX: Final = 384
"""Most nodes in any list (PROCESSOR_COUNT_MAX)."""
RTR_ENTRIES_MAX: Final = 30
"""Most retransmission requests in the token of a ring with Corosync nodes. With more, these read past their copy."""
RTR_ENTRIES_RONDO_MAX: Final = 80
"""Most requests in the token of a ring of Rondo nodes only. The token is then no larger than a packet of data."""

PLAIN: Final = 2
ENCAPSULATED: Final = 1
"""Values of `encapsulated` in an mcast. With 1 the payload is a whole mcast of the old ring, sent during recovery."""


SAFE: Final = 1
"""`guarantee` of an mcast in which a SAFE message ends, if its sender is Rondo. 0 otherwise."""


class Kind(IntEnum):
    """The `type` byte of the header."""

    TOKEN = 0
    MCAST = 1
    MERGE = 2
    JOIN = 3
    COMMIT = 4
    HOLD_CANCEL = 5


_HEADER: Final = struct.Struct("<HBBBII")
_TOKEN: Final = struct.Struct("<HBBBIIIIIIIQIIII")
_MCAST: Final = struct.Struct("<HBBBIIIIIIQII")
_JOIN: Final = struct.Struct("<HBBBIIIIIQ")
_MERGE: Final = struct.Struct("<HBBBIIIIQ")
_HOLD_CANCEL: Final = struct.Struct("<HBBBIIIQ")
_COMMIT: Final = struct.Struct("<HBBBIIIIQIII")
_COMMIT_ENTRY: Final = struct.Struct("<IQIII")
_RTR: Final = struct.Struct("<IQI")

_SECRECY: Final = struct.Struct("<2sBB")
_SECRECY_MARK: Final = b"FS"
_SECRECY_VERSION: Final = 1
PUBLIC_SIZE: Final = 32
BOX_SIZE: Final = 50

HEADER_SIZE: Final = _HEADER.size
KIND_AT: Final = 3
"""The offset of the kind in a frame, in bytes."""
_OURS: Final = MAGIC.to_bytes(2, "little") + bytes([VERSION])
"""The first bytes of every valid frame, before the kind: magic and version."""
MCAST_HEADER_SIZE: Final = _MCAST.size
TOKEN_SIZE: Final = _TOKEN.size
RTR_ENTRY_SIZE: Final = _RTR.size

GUARANTEE_AT: Final = 41
"""The offset of the guarantee's lowest byte in an mcast, in bytes."""


@dataclass(slots=True)
class Token:
    """orf_token (type 0): the right to send, and the ring's shared counts. 57 + 16 bytes per request."""

    sender: int
    seq: int
    """Highest mcast sequence number assigned on this ring."""
    token_seq: int
    """Grows by one at every hop."""
    aru: int
    """Every member has all packets up to here."""
    aru_addr: int
    """The node that lowered aru because it misses a packet; 0 = none."""
    ring: RingId
    backlog: int = 0
    fcc: int = 0
    """Mcasts, new and retransmitted, of the last rotation."""
    retrans_flg: int = 0
    rtr: list[tuple[RingId, int]] = field(default_factory=list)
    """Requested sequence numbers, each with its ring; at most `RTR_ENTRIES_RONDO_MAX`."""


@dataclass(slots=True)
class Mcast:
    """mcast (type 1): one totempg packet, or with `encapsulated` 1 a whole old-ring mcast. 45 bytes + payload."""

    sender: int
    """Header node id: the sender of the messages inside."""
    origin: int
    """system_from: the node that originated this frame."""
    seq: int
    this_seqno: int
    """Count of the sender's mcasts, for information."""
    ring: RingId
    node_id: int
    """0, or the round of an accelerated ring."""
    guarantee: int
    encapsulated: int
    frame: bytes
    """The whole datagram. A retransmission sends the same bytes."""

    @property
    def payload(self) -> bytes:
        """What follows the 45-byte header."""
        return self.frame[MCAST_HEADER_SIZE:]


@dataclass(slots=True)
class Join:
    """memb_join (type 3). A LEAVE has `header_node` 0, and the leaving node last in `failed`. 33 bytes + 4 per node.
    With forward secrecy, which needs security, 36 bytes follow that C nodes do not read."""

    header_node: int
    sender: int
    """system_from."""
    proc: tuple[int, ...]
    failed: tuple[int, ...]
    ring_seq: int
    public: bytes = b""
    """The sender's ephemeral public key, by which it gets the secret of the ring; empty without forward secrecy."""
    secrecy_required: bool = False
    """The sender enters no ring without a secret."""

    @property
    def is_leave(self) -> bool:
        """Whether this is a LEAVE."""
        return self.header_node == 0


_NO_RING: Final = RingId(0, 0)


@dataclass(slots=True, frozen=True)
class CommitEntry:
    """One member's entry in the commit token, about its old ring. All zero until the member fills it in."""

    ring: RingId = _NO_RING
    aru: int = 0
    high_delivered: int = 0
    received_flg: int = 0


@dataclass(slots=True)
class Commit:
    """memb_commit_token (type 4): goes twice round the ring that is being formed. 41 bytes + 28 per member. In a ring
    with a secret of its own, 54 bytes + 32 per member follow that C nodes do not read."""

    sender: int
    token_seq: int
    ring: RingId
    addrs: tuple[int, ...]
    """Members in ascending order; this is the order of the ring."""
    entries: list[CommitEntry]
    memb_index: int = 0
    """How many entries are filled."""
    retrans_flg: int = 0
    publics: tuple[bytes, ...] = ()
    """Ephemeral public keys of the members; empty if the ring has no secret."""
    box: bytes = b""
    """The secret, sealed for the next member."""


@dataclass(slots=True)
class Merge:
    """memb_merge_detect (type 2): "this ring exists", from its representative. 29 bytes."""

    header_node: int
    sender: int
    ring: RingId


@dataclass(slots=True)
class HoldCancel:
    """token_hold_cancel (type 5): asks the representative to release the held token. 25 bytes."""

    sender: int
    ring: RingId


Frame = Token | Mcast | Join | Commit | Merge | HoldCancel


def kind_of(frame: bytes) -> Kind:
    """Check the header of a datagram and return its kind. Raises `Malformed`."""
    if len(frame) < HEADER_SIZE:
        raise Malformed(Reason.TOO_SHORT)
    magic, version, kind, _, _, _ = _HEADER.unpack_from(frame)
    if magic != MAGIC:
        raise Malformed(Reason.OTHER_ENDIAN if magic == MAGIC_SWAPPED else Reason.BAD_MAGIC)
    if version != VERSION:
        raise Malformed(Reason.BAD_VERSION)
    if kind > Kind.HOLD_CANCEL:
        raise Malformed(Reason.BAD_TYPE)
    return Kind(kind)


def decode(frame: bytes) -> Frame:
    """Decode one datagram. Raises `Malformed`."""
    if len(frame) >= HEADER_SIZE and frame[:KIND_AT] == _OURS and frame[KIND_AT] < len(_BY_KIND):
        return _BY_KIND[frame[KIND_AT]](frame)
    return _DECODERS[kind_of(frame)](frame)


def decode_token(frame: bytes) -> Token:
    """Decode a datagram whose header says orf_token. Raises `Malformed`."""
    if len(frame) < TOKEN_SIZE:
        raise Malformed(Reason.TOO_SHORT)
    (_, _, _, _, sender, _, seq, token_seq, aru, aru_addr, rep, ring_seq, backlog, fcc, retrans_flg, count) = (
        _TOKEN.unpack_from(frame)
    )
    if count > RTR_ENTRIES_RONDO_MAX:
        raise Malformed(Reason.TOO_MANY_ENTRIES)
    end = TOKEN_SIZE + count * _RTR.size
    if len(frame) < end:
        raise Malformed(Reason.TOO_SHORT)
    rtr = [(RingId(r, s), q) for r, s, q in _RTR.iter_unpack(frame[TOKEN_SIZE:end])] if count else []
    return Token(sender, seq, token_seq, aru, aru_addr, RingId(rep, ring_seq), backlog, fcc, retrans_flg, rtr)


def encode_token(token: Token) -> bytes:
    """The datagram of a token. The caller has cut its numbers to 32 bits."""
    assert len(token.rtr) <= RTR_ENTRIES_RONDO_MAX, "no node accepts more requests"
    head = _TOKEN.pack(
        MAGIC, VERSION, Kind.TOKEN, 0, token.sender, 0, token.seq, token.token_seq, token.aru, token.aru_addr,
        token.ring.representative, token.ring.sequence, token.backlog, token.fcc, token.retrans_flg, len(token.rtr),
    )  # fmt: skip
    if not token.rtr:
        return head
    return head + b"".join([_RTR.pack(ring[0], ring[1], seq) for ring, seq in token.rtr])


def decode_mcast(frame: bytes) -> Mcast:
    """Decode a datagram whose header says mcast. Raises `Malformed`."""
    if len(frame) < MCAST_HEADER_SIZE:
        raise Malformed(Reason.TOO_SHORT)
    (_, _, _, encapsulated, sender, _, origin, seq, this_seqno, rep, ring_seq, node_id, guarantee) = _MCAST.unpack_from(
        frame
    )
    if encapsulated not in (PLAIN, ENCAPSULATED):
        raise Malformed(Reason.BAD_ENCAPSULATION)
    return Mcast(sender, origin, seq, this_seqno, RingId(rep, ring_seq), node_id, guarantee, encapsulated, frame)


def encode_mcast(
    sender: int, seq: int, this_seqno: int, ring: RingId, payload: bytes, *,
    encapsulated: int = PLAIN, node_id: int = 0, guarantee: int = 0,
) -> bytes:  # fmt: skip
    """The datagram of an mcast that `sender` originates."""
    return _MCAST.pack(
        MAGIC, VERSION, Kind.MCAST, encapsulated, sender, 0, sender, seq, this_seqno, ring[0], ring[1],
        node_id, guarantee,
    ) + payload  # fmt: skip


def decode_join(frame: bytes) -> Join:
    """Decode a datagram whose header says memb_join. Raises `Malformed`."""
    if len(frame) < _JOIN.size:
        raise Malformed(Reason.TOO_SHORT)
    _, _, _, _, header_node, _, sender, procs, fails, ring_seq = _JOIN.unpack_from(frame)
    if procs > PROCESSORS_MAX or fails > PROCESSORS_MAX:
        raise Malformed(Reason.TOO_MANY_ENTRIES)
    if len(frame) < _JOIN.size + 4 * (procs + fails):
        raise Malformed(Reason.TOO_SHORT)
    nodes = struct.unpack_from(f"<{procs + fails}I", frame, _JOIN.size)
    keys, required = _secrecy(frame, _JOIN.size + 4 * (procs + fails), PUBLIC_SIZE)
    return Join(header_node, sender, nodes[:procs], nodes[procs:], ring_seq, keys, required)


def encode_join(join: Join) -> bytes:
    """The datagram of a join or a leave."""
    procs, fails = len(join.proc), len(join.failed)
    head = _JOIN.pack(MAGIC, VERSION, Kind.JOIN, 0, join.header_node, 0, join.sender, procs, fails, join.ring_seq)
    frame = head + struct.pack(f"<{procs + fails}I", *join.proc, *join.failed)
    if not join.public:
        return frame
    return frame + _SECRECY.pack(_SECRECY_MARK, _SECRECY_VERSION, join.secrecy_required) + join.public


def _secrecy(frame: bytes, at: int, size: int) -> tuple[bytes, bool]:
    """The bytes for forward secrecy behind the lists of a join or a commit token, and their flag. Empty if there are
    none, or if they are of another version."""
    if len(frame) < at + _SECRECY.size + size:
        return b"", False
    mark, version, flag = _SECRECY.unpack_from(frame, at)
    if mark != _SECRECY_MARK or version != _SECRECY_VERSION:
        return b"", False
    at += _SECRECY.size
    return frame[at : at + size], bool(flag)


def decode_commit(frame: bytes) -> Commit:
    """Decode a datagram whose header says memb_commit_token. Raises `Malformed`."""
    if len(frame) < _COMMIT.size:
        raise Malformed(Reason.TOO_SHORT)
    _, _, _, _, sender, _, token_seq, rep, ring_seq, retrans_flg, index, count = _COMMIT.unpack_from(frame)
    if count > PROCESSORS_MAX:
        raise Malformed(Reason.TOO_MANY_ENTRIES)
    entries_at = _COMMIT.size + 4 * count
    end = entries_at + _COMMIT_ENTRY.size * count
    if len(frame) < end:
        raise Malformed(Reason.TOO_SHORT)
    if count == 0 or index > count:
        raise Malformed(Reason.BAD_INDEX)
    addrs = struct.unpack_from(f"<{count}I", frame, _COMMIT.size)
    entries = [
        CommitEntry(RingId(r, s), aru, high, flag)
        for r, s, aru, high, flag in _COMMIT_ENTRY.iter_unpack(frame[entries_at:end])
    ]
    keys, _ = _secrecy(frame, end, count * PUBLIC_SIZE + BOX_SIZE)
    publics = tuple(keys[at : at + PUBLIC_SIZE] for at in range(0, len(keys) - BOX_SIZE, PUBLIC_SIZE))
    box = keys[count * PUBLIC_SIZE :]
    return Commit(sender, token_seq, RingId(rep, ring_seq), addrs, entries, index, retrans_flg, publics, box)


def encode_commit(commit: Commit) -> bytes:
    """The datagram of a commit token."""
    count = len(commit.addrs)
    assert len(commit.entries) == count, "one count is sent for both members and entries"
    head = _COMMIT.pack(
        MAGIC, VERSION, Kind.COMMIT, 0, commit.sender, 0, commit.token_seq, *commit.ring, commit.retrans_flg,
        commit.memb_index, count,
    )  # fmt: skip
    entries = [_COMMIT_ENTRY.pack(*e.ring, e.aru, e.high_delivered, e.received_flg) for e in commit.entries]
    frame = b"".join([head, struct.pack(f"<{count}I", *commit.addrs), *entries])
    if not commit.publics:
        return frame
    assert len(commit.publics) == count, "each member has a key"
    mark = _SECRECY.pack(_SECRECY_MARK, _SECRECY_VERSION, 0)
    return b"".join([frame, mark, *commit.publics, commit.box.ljust(BOX_SIZE, b"\0")])


def decode_merge(frame: bytes) -> Merge:
    """Decode a datagram whose header says memb_merge_detect. Raises `Malformed`."""
    if len(frame) < _MERGE.size:
        raise Malformed(Reason.TOO_SHORT)
    _, _, _, _, header_node, _, sender, rep, ring_seq = _MERGE.unpack_from(frame)
    return Merge(header_node, sender, RingId(rep, ring_seq))


def encode_merge(merge: Merge) -> bytes:
    """The datagram of a merge detect message."""
    return _MERGE.pack(MAGIC, VERSION, Kind.MERGE, 0, merge.header_node, 0, merge.sender, *merge.ring)


def decode_hold_cancel(frame: bytes) -> HoldCancel:
    """Decode a datagram whose header says token_hold_cancel. Raises `Malformed`."""
    if len(frame) < _HOLD_CANCEL.size:
        raise Malformed(Reason.TOO_SHORT)
    _, _, _, _, sender, _, rep, ring_seq = _HOLD_CANCEL.unpack_from(frame)
    return HoldCancel(sender, RingId(rep, ring_seq))


def encode_hold_cancel(cancel: HoldCancel) -> bytes:
    """The datagram of a hold cancel."""
    return _HOLD_CANCEL.pack(MAGIC, VERSION, Kind.HOLD_CANCEL, 0, cancel.sender, 0, *cancel.ring)


_DECODERS: Final[dict[Kind, Callable[[bytes], Frame]]] = {
    Kind.TOKEN: decode_token,
    Kind.MCAST: decode_mcast,
    Kind.MERGE: decode_merge,
    Kind.JOIN: decode_join,
    Kind.COMMIT: decode_commit,
    Kind.HOLD_CANCEL: decode_hold_cancel,
}
_BY_KIND: Final = tuple(_DECODERS[kind] for kind in Kind)
