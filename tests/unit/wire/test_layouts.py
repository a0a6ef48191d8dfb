"""The codecs against messages that were built by hand, byte for byte, from the offset tables in `layouts`."""

from __future__ import annotations

import struct

import pytest

from services.totem.wire import executive, frames, packets, syncmsg
from services.totem.wire.base import Malformed, Reason, RingId
from services.totem.wire.packets import Group
from tests.unit.wire.encoding import encode_frame
from tests.unit.wire.layouts import (
    FRAMES,
    PACKET,
    PIECES,
    RING,
    Example,
    barrier,
    header,
    lay,
    ring_at,
    service_build,
)

each_frame = pytest.mark.parametrize("example", FRAMES, ids=lambda e: e.name)
GARBAGE = 0xEE


@each_frame
def test_a_frame_encodes_as_laid_out(example: Example) -> None:
    assert encode_frame(example.decoded) == example.frame


@each_frame
def test_a_frame_decodes_as_laid_out(example: Example) -> None:
    assert frames.decode(example.frame) == example.decoded


@each_frame
def test_a_garbage_target_and_bytes_beyond_the_end_are_ignored(example: Example) -> None:
    garbled = example.frame[:9] + b"\xde\xad\xbe\xef" + example.frame[13:]
    if isinstance(example.decoded, frames.Mcast):  # a payload has no end of its own, and the frame is kept as it came
        decoded = frames.decode(garbled)
        assert isinstance(decoded, frames.Mcast)
        assert decoded.frame == garbled
        decoded.frame = example.frame
        assert decoded == example.decoded
    else:
        assert frames.decode(garbled + b"tail") == example.decoded


@each_frame
def test_a_frame_of_a_big_endian_host_is_refused_as_that(example: Example) -> None:
    with pytest.raises(Malformed) as caught:
        frames.decode(b"\xc0\x70" + example.frame[2:])
    assert caught.value.reason is Reason.OTHER_ENDIAN


@each_frame
@pytest.mark.parametrize(
    ("offset", "value", "reason"),
    [
        (0, 0x71, Reason.BAD_MAGIC),
        (1, 0xC1, Reason.BAD_MAGIC),
        (2, 2, Reason.BAD_VERSION),
        (2, 4, Reason.BAD_VERSION),
        (3, 6, Reason.BAD_TYPE),
        (3, 255, Reason.BAD_TYPE),
    ],
)
def test_a_foreign_header_is_refused(example: Example, offset: int, value: int, reason: Reason) -> None:
    damaged = example.frame[:offset] + bytes([value]) + example.frame[offset + 1 :]
    with pytest.raises(Malformed) as caught:
        frames.decode(damaged)
    assert caught.value.reason is reason


def test_what_is_not_said_is_sent_as_zero() -> None:
    """The first token of a ring, an unfilled commit token and a plain mcast need no more than these arguments."""
    token = frames.Token(1, 0, 0, 0xFFFF_FFFF, 1, RING)
    rows = [*header(0, 1), (21, "I", 0xFFFF_FFFF), (25, "I", 1), *ring_at(29, RING)]
    assert frames.encode_token(token) == lay(57, *rows)
    commit = frames.Commit(1, 2, RING, (1,), [frames.CommitEntry()])
    rows = [*header(4, 1), (13, "I", 2), *ring_at(17, RING), (37, "I", 1), (41, "I", 1)]
    assert frames.encode_commit(commit) == lay(41 + 28, *rows)
    rows = [*header(1, 1, encapsulated=2), (13, "I", 1), (17, "I", 5), (21, "I", 6), *ring_at(25, RING)]
    assert frames.encode_mcast(1, 5, 6, RING, b"") == lay(45, *rows)


@each_frame
def test_the_header_alone_tells_the_kind(example: Example) -> None:
    assert frames.kind_of(example.frame[:13]) == example.frame[3]


def test_what_other_nodes_cannot_read_is_not_written() -> None:
    with pytest.raises(AssertionError):
        frames.encode_token(frames.Token(1, 0, 0, 0, 0, RING, rtr=[(RING, 1)] * 81))
    with pytest.raises(AssertionError):
        frames.encode_commit(frames.Commit(1, 2, RING, (1, 2), [frames.CommitEntry()]))
    with pytest.raises(AssertionError):
        packets.encode_packet(0, 0, [])


def test_an_mcast_gives_its_payload_and_its_sizes_are_corosyncs() -> None:
    mcast = frames.decode_mcast(FRAMES[3].frame)
    assert mcast.payload == bytes(range(200, 240))
    assert (frames.HEADER_SIZE, frames.MCAST_HEADER_SIZE, frames.TOKEN_SIZE) == (13, 45, 57)


def test_an_encapsulated_mcast_holds_a_whole_one() -> None:
    inner = FRAMES[4].frame
    outer = frames.encode_mcast(7, 1, 1, RING, inner, encapsulated=frames.ENCAPSULATED)
    assert len(outer) == 45 + len(inner)
    assert frames.decode(frames.decode_mcast(outer).payload) == FRAMES[4].decoded


def test_a_ring_is_written_as_corosync_prints_it() -> None:
    assert str(RingId(1, 0x1F)) == "1.1f"


def test_a_packet_is_as_laid_out() -> None:
    assert packets.encode_packet(0xF1, 0xC1, list(PIECES)) == PACKET
    assert packets.decode_packet(PACKET) == (0xF1, 0xC1, list(PIECES))
    assert packets.decode_packet(b"before" + PACKET, 6) == (0xF1, 0xC1, list(PIECES))


def test_group_headers_are_as_laid_out() -> None:
    executive_head = lay(5, (0, "H", 1), (2, "H", 1), (4, "1s", b"a"))
    sync_head = lay(8, (0, "H", 1), (2, "H", 4), (4, "4s", b"sync"))
    assert executive_head == packets.EXECUTIVE_PREFIX
    assert sync_head == packets.SYNC_PREFIX
    assert packets.split_group(executive_head + b"payload") == (Group.EXECUTIVE, 5)
    assert packets.split_group(sync_head + b"payload") == (Group.SYNC, 8)


def test_a_message_to_several_groups_is_for_the_first_of_ours() -> None:
    head = lay(17, (0, "H", 3), (2, "H", 4), (4, "H", 0), (6, "H", 4), (8, "4s", b"else"), (12, "4s", b"sync"))
    assert packets.split_group(head) == (Group.SYNC, 16)
    for stranger in (lay(6, (0, "H", 1), (2, "H", 2), (4, "2s", b"aa")), lay(2), b"\x01\x00\x00\x00"):
        with pytest.raises(Malformed) as caught:
            packets.split_group(stranger)
        assert caught.value.reason is Reason.BAD_GROUP


@pytest.mark.parametrize("fill", [0, GARBAGE])
def test_sync_messages_are_as_laid_out(fill: int) -> None:
    assert syncmsg.decode_sync(barrier(fill)) == syncmsg.Barrier(RING)
    build = syncmsg.ServiceBuild(RING, (0, 2, 3, 5))
    assert syncmsg.decode_sync(service_build(4, [0, 2, 3, 5], fill)) == build
    marked = syncmsg.ServiceBuild(RING, (2, 5), (0, -1, 0x01020304))
    assert syncmsg.decode_sync(service_build(2, [2, 5, 0, -1, 0x01020304], fill)) == marked
    if not fill:
        assert syncmsg.encode_barrier(syncmsg.Barrier(RING)) == barrier()
        assert syncmsg.encode_service_build(build) == service_build(4, [0, 2, 3, 5])
        assert syncmsg.encode_service_build(marked) == service_build(2, [2, 5, 0, -1, 0x01020304])


def test_memb_determine_of_2_x_is_ignored() -> None:
    assert syncmsg.decode_sync(lay(32, (0, "i", 2), (8, "i", 32))) is None


def test_a_message_to_nobody_is_for_no_group_of_ours() -> None:
    assert lay(5, (0, "H", 1), (2, "H", 1), (4, "1s", b"-")) == packets.NOBODY_PREFIX
    with pytest.raises(Malformed) as caught:
        packets.split_group(packets.NOBODY_PREFIX)
    assert caught.value.reason is Reason.BAD_GROUP


@pytest.mark.parametrize(
    ("ident", "service", "function"),
    [(0x20003, 2, 3), (0x50000, 5, 0), (0x7FFF_FFFF, 0x7FFF, 0xFFFF), (-1, 0xFFFF, 0xFFFF)],
)
def test_an_executive_header_names_service_and_function(ident: int, service: int, function: int) -> None:
    assert executive.service_of(lay(16, (0, "i", ident), (8, "i", 16), fill=GARBAGE)) == (service, function)


def test_service_ids_are_corosyncs() -> None:
    names = ("CMAP", "CFG", "CPG", "QUORUM", "PLOAD", "VOTEQUORUM", "MON", "WD")
    assert [(s.name, s.value) for s in executive.Service] == [(name, i) for i, name in enumerate(names)]
    assert struct.calcsize("<i4xi4x") == executive.HEADER_SIZE == 16
