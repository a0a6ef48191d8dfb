"""Every datagram of two captured Corosync rings decodes, and encodes again to the same bytes; nothing is left over.

The numbers below were counted in the captures with a separate reader; they pin that no layer skips anything.
"""

from __future__ import annotations

import struct
from collections import Counter, defaultdict
from functools import cache
from itertools import pairwise

import pytest

from services.totem.wire import executive, frames, packets, syncmsg
from services.totem.wire.base import RingId, extend_u32
from services.totem.wire.frames import Commit, HoldCancel, Join, Mcast, Merge, Token
from services.totem.wire.packets import Group
from tests.unit.wire.captures import datagrams
from tests.unit.wire.encoding import encode_frame
from tests.unit.wire.reassembly import Reassembler

CAPTURES = ("udp", "udpu")

KINDS = {
    "udp": {Token: 134, Mcast: 37, Merge: 16, Join: 8, Commit: 4},
    "udpu": {Token: 3704, Mcast: 2249, Merge: 553, Join: 42, Commit: 16, HoldCancel: 16},
}
MESSAGES = {
    "udp": {"sync 0": 20, "sync 1": 5, "0.0": 5, "2.5": 5, "5.0": 12},
    "udpu": {
        "sync 0": 48, "sync 1": 12, "0.0": 12, "2.0": 4, "2.1": 3, "2.2": 2, "2.3": 8, "2.5": 12, "2.6": 2, "5.0": 27,
    },
}  # fmt: skip
"""Assembled messages: "sync" and the id, or service.function."""
RING_LENGTHS = {
    "udp": {"1.1f": 8, "2.23": 8, "1.27": 14, "2.2b": 7},
    "udpu": {"1.5": 8, "1.9": 15, "1.d": 2171, "1.11": 18, "2.15": 7, "1.16": 8, "1.1a": 15, "2.1e": 7},
}
"""How many mcasts each ring ordered."""


def without_target(frame: bytes) -> bytes:
    """The frame with target_nodeid, which Corosync leaves uninitialised over these transports, set to 0."""
    return frame[:9] + bytes(4) + frame[13:]


def without_padding(message: bytes) -> bytes:
    """The message with the two pads of its 16-byte header, which may hold garbage, set to 0."""
    return message[:4] + bytes(4) + message[8:12] + bytes(4) + message[16:]


@cache
def mcasts(name: str) -> tuple[Mcast, ...]:
    decoded = (frames.decode(d.payload) for d in datagrams(name))
    return tuple(f for f in decoded if isinstance(f, Mcast))


@cache
def messages(name: str) -> tuple[tuple[RingId, int, bytes], ...]:
    """`(ring, sender, whole message with its group header)` in the order of delivery."""
    reassembler = Reassembler()
    found = [(m.ring, m.sender, whole) for m in mcasts(name) for whole in reassembler.add(m.sender, m.payload)]
    assert reassembler.unfinished() == {}
    return tuple(found)


@pytest.mark.parametrize("name", CAPTURES)
def test_every_datagram_is_decoded_and_encodes_to_the_same_bytes(name: str) -> None:
    kinds: Counter[type] = Counter()
    for datagram in datagrams(name):
        decoded = frames.decode(datagram.payload)
        kinds[type(decoded)] += 1
        assert encode_frame(decoded) == without_target(datagram.payload)
    assert kinds == KINDS[name]


@pytest.mark.parametrize("name", CAPTURES)
def test_every_packet_is_decoded_and_encodes_to_the_same_bytes(name: str) -> None:
    for mcast in mcasts(name):
        assert mcast.encapsulated == frames.PLAIN
        packet = packets.decode_packet(mcast.payload)
        assert packets.encode_packet(*packet) == mcast.payload
        assert packets.decode_packet(mcast.frame, frames.MCAST_HEADER_SIZE) == packet


@pytest.mark.parametrize("name", CAPTURES)
def test_every_ring_is_there_from_its_first_mcast_without_a_gap(name: str) -> None:
    rings: defaultdict[str, list[int]] = defaultdict(list)
    for mcast in mcasts(name):
        rings[str(mcast.ring)].append(mcast.seq)
    assert {ring: len(seqs) for ring, seqs in rings.items()} == RING_LENGTHS[name]
    for seqs in rings.values():
        assert seqs == list(range(1, len(seqs) + 1))


@pytest.mark.parametrize("name", CAPTURES)
def test_every_message_is_known_and_says_its_own_length(name: str) -> None:
    kinds: Counter[str] = Counter()
    for _, _, whole in messages(name):
        group, at = packets.split_group(whole)
        ident, size = struct.unpack_from("<i4xi", whole, at)
        assert size == len(whole) - at
        if group is Group.SYNC:
            kinds[f"sync {ident}"] += 1
        else:
            service, function = executive.service_of(whole[at:])
            kinds[f"{service}.{function}"] += 1
    assert kinds == MESSAGES[name]


@pytest.mark.parametrize("name", CAPTURES)
def test_sync_messages_are_of_their_ring_and_encode_to_the_same_bytes(name: str) -> None:
    for ring, _, whole in messages(name):
        group, at = packets.split_group(whole)
        if group is not Group.SYNC:
            continue
        decoded = syncmsg.decode_sync(whole[at:])
        assert decoded is not None
        assert decoded.ring == ring
        if isinstance(decoded, syncmsg.ServiceBuild):
            assert decoded.services == (0, 2, 3, 5)  # cmap, cpg, quorum, votequorum
            assert decoded.tail == ()  # a C node leaves zeros where Rondo nodes know each other
            again = syncmsg.encode_service_build(decoded)
        else:
            again = syncmsg.encode_barrier(decoded)
        assert again == without_padding(whole[at:])


def test_long_cpg_messages_come_out_of_reassembly_whole() -> None:
    """MCASTs announce their payload; two PARTIAL_MCASTs make the one of 2,000,000 bytes."""
    lengths, parts = [], []
    for _, _, whole in messages("udpu"):
        group, at = packets.split_group(whole)
        body = whole[at:]
        if group is Group.SYNC or executive.service_of(body)[0] != executive.Service.CPG:
            continue
        function = executive.service_of(body)[1]
        if function == 3:
            (length,) = struct.unpack_from("<I", body, 152)
            assert len(body) == 184 + length
            lengths.append(length)
        elif function == 6:
            total, length, kind = (struct.unpack_from("<I", body, offset)[0] for offset in (152, 160, 176))
            assert len(body) == 200 + length
            parts.append((total, length, kind))
    assert sorted(lengths) == [10, 10, 20, 20, 3000, 4000, 100_000, 900_000]
    assert [(total, kind) for total, _, kind in parts] == [(2_000_000, 1), (2_000_000, 3)]
    assert sum(length for _, length, _ in parts) == 2_000_000


@pytest.mark.parametrize("name", CAPTURES)
def test_a_leave_names_its_sender_last_among_the_failed(name: str) -> None:
    joins = [f for d in datagrams(name) if isinstance(f := frames.decode(d.payload), Join)]
    leaves = [join for join in joins if join.is_leave]
    assert leaves
    assert all(leave.failed[-1] == leave.sender and leave.sender not in leave.proc for leave in leaves)
    assert all(join.header_node == join.sender for join in joins if not join.is_leave)


@pytest.mark.parametrize("name", CAPTURES)
def test_the_initial_aru_stands_below_every_sequence_number(name: str) -> None:
    """The second node of a new ring, whose own aru is 0, does not lower 0xFFFFFFFF: for it that is less than 0."""
    tokens = [f for d in datagrams(name) if isinstance(f := frames.decode(d.payload), Token)]
    first = [(a, b) for a, b in pairwise(tokens) if a.token_seq == 0 and b.token_seq == 1 and a.ring == b.ring]
    assert first
    for initial, forwarded in first:
        assert (initial.seq, initial.aru, initial.aru_addr) == (0, 0xFFFF_FFFF, initial.ring.representative)
        assert forwarded.aru == 0xFFFF_FFFF
        assert extend_u32(forwarded.aru, 0) < 0
