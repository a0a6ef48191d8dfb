"""Damaged input: cut at every byte, one bit flipped at every place, wrecked at random, lying about its lists.

A decoder answers with a value or with `Malformed`, never with another error. What it takes although it was damaged
must be a message that it would also write.
"""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.totem.wire import executive, frames, packets, syncmsg
from services.totem.wire.base import Malformed, Reason
from services.totem.wire.frames import Mcast
from services.totem.wire.packets import Group
from tests.unit.wire import strategies as wire
from tests.unit.wire.encoding import encode_frame
from tests.unit.wire.layouts import FRAMES, PACKET, RING, Example, barrier, service_build

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
SEED = 20_240_601
WRECKS = 300
FRAME_REASONS = {
    Reason.TOO_SHORT, Reason.BAD_MAGIC, Reason.OTHER_ENDIAN, Reason.BAD_VERSION, Reason.BAD_TYPE,
    Reason.TOO_MANY_ENTRIES, Reason.BAD_INDEX, Reason.BAD_ENCAPSULATION,
}  # fmt: skip
SMALL_FRAMES = [e for e in FRAMES if len(e.frame) <= 600]

each_frame = pytest.mark.parametrize("example", FRAMES, ids=lambda e: e.name)
each_small_frame = pytest.mark.parametrize("example", SMALL_FRAMES, ids=lambda e: e.name)


def attempt(decoder: Callable[[bytes], T], data: bytes) -> tuple[T | None, Reason | None]:
    """What `decoder` makes of `data`, or why it refuses. Any error but `Malformed` passes through to the test."""
    try:
        return decoder(data), None
    except Malformed as error:
        return None, error.reason


def refusal(decoder: Callable[[bytes], object], data: bytes) -> Reason | None:
    """Why `decoder` refuses `data`; None if it does not."""
    return attempt(decoder, data)[1]


def flips(data: bytes) -> list[bytes]:
    """`data` with each of its bits flipped, one at a time."""
    found = []
    for at in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[at] ^= 1 << bit
            found.append(bytes(damaged))
    return found


def wrecks(data: bytes) -> list[bytes]:
    """`data` with several random bytes changed, then perhaps cut or lengthened: the same ones on every run."""
    dice = random.Random(SEED + len(data))
    found = []
    for _ in range(WRECKS):
        damaged = bytearray(data)
        for _ in range(dice.randint(1, 6)):
            damaged[dice.randrange(len(damaged))] = dice.choice((0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)))
        end = dice.choice((len(damaged), dice.randrange(len(damaged) + 1)))
        found.append(bytes(damaged[:end]) + dice.randbytes(dice.choice((0, 0, 1, 50))))
    return found


def check_frame(data: bytes) -> None:
    """A damaged frame is refused with a reason of its layer, or is a frame that encodes to what was read of it."""
    decoded, reason = attempt(frames.decode, data)
    if decoded is None:
        assert reason in FRAME_REASONS
        return
    if isinstance(decoded, Mcast) and decoded.sender != decoded.origin:
        return  # no encoder makes this one
    again = encode_frame(decoded)
    # the target and the header's unused "encapsulated" are the only bytes of a frame that a decoder passes over
    seen = bytearray(data[: len(again)])
    seen[9:13] = bytes(4)
    if not isinstance(decoded, Mcast):
        seen[4] = 0
    assert again == seen


def check_payload(whole: bytes) -> None:
    """All that a node decodes of an assembled message ends in a value or in `Malformed`."""
    split, reason = attempt(packets.split_group, whole)
    if split is None:
        assert reason is Reason.BAD_GROUP
        return
    group, at = split
    assert at <= len(whole)
    decoders: list[Callable[[bytes], object]] = [syncmsg.decode_sync]
    if group is Group.EXECUTIVE:
        decoders = [executive.service_of]
    for decoder in decoders:
        assert refusal(decoder, whole[at:]) in (None, Reason.BAD_MESSAGE)


@pytest.mark.parametrize("reason", Reason)
def test_malformed_carries_its_reason_and_is_a_value_error(reason: Reason) -> None:
    error = Malformed(reason)
    assert error.reason is reason
    assert str(error) == reason.value
    assert isinstance(error, ValueError)


@each_frame
def test_a_frame_cut_anywhere_is_too_short(example: Example) -> None:
    needed = example.fixed if isinstance(example.decoded, Mcast) else len(example.frame)
    for end in range(needed):
        assert refusal(frames.decode, example.frame[:end]) is Reason.TOO_SHORT
    for end in range(needed, len(example.frame) + 1):
        assert refusal(frames.decode, example.frame[:end]) is None


@each_small_frame
def test_a_frame_with_any_bit_flipped(example: Example) -> None:
    for damaged in flips(example.frame):
        check_frame(damaged)


@each_frame
def test_a_frame_wrecked_at_random(example: Example) -> None:
    for damaged in wrecks(example.frame):
        check_frame(damaged)


@wire.reproducible
@given(st.integers(0, 7), st.binary(max_size=120))
def test_anything_behind_a_good_header(kind: int, body: bytes) -> None:
    check_frame(struct.pack("<HBB", frames.MAGIC, frames.VERSION, kind) + body)


@wire.reproducible
@given(st.binary(max_size=150))
def test_anything_at_all(data: bytes) -> None:
    check_frame(data)
    check_payload(data)
    for group in (packets.EXECUTIVE_PREFIX, packets.SYNC_PREFIX):
        check_payload(group + data)
    assert refusal(packets.decode_packet, data) in (None, Reason.BAD_PACKET)


COUNTS = (1, 2, 30, 79, 80, 81, 255, 383, 384, 385, 0x7FFF, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF)


@pytest.mark.parametrize("announced", COUNTS)
@pytest.mark.parametrize(
    ("base", "offset", "bound"),
    [("token-0", 53, 80), ("join-0-0", 17, 384), ("join-0-0", 21, 384), ("commit-0-of-1", 37, 384)],
)
def test_a_list_longer_than_the_datagram_or_the_protocol(base: str, offset: int, bound: int, announced: int) -> None:
    """Within the bound the datagram is too short, even with nearly all it needs; beyond, its length does not count."""
    example = next(e for e in FRAMES if e.name == base)
    lying = bytearray(example.frame)
    struct.pack_into("<I", lying, offset, announced)
    entry = {53: 16, 17: 4, 21: 4, 37: 28}[offset]
    if announced > bound:
        for tail in (0, 65_000):
            assert refusal(frames.decode, bytes(lying) + bytes(tail)) is Reason.TOO_MANY_ENTRIES
    else:
        needed = example.fixed + entry * announced
        assert refusal(frames.decode, bytes(lying).ljust(needed, b"\0")[: needed - 1]) is Reason.TOO_SHORT
        assert refusal(frames.decode, bytes(lying).ljust(needed, b"\0")) is None


@pytest.mark.parametrize(("index", "count"), [(1, 0), (0, 0), (4, 3), (0xFFFF_FFFF, 3)])
def test_a_commit_token_filled_beyond_its_end_or_of_nobody(index: int, count: int) -> None:
    example = next(e for e in FRAMES if e.name == "commit-2-of-3")
    lying = bytearray(example.frame)
    struct.pack_into("<II", lying, 33, index, count)
    assert refusal(frames.decode, bytes(lying)) is Reason.BAD_INDEX
    assert refusal(frames.decode, bytes(lying[: 41 + 28 * count])) is Reason.BAD_INDEX


@pytest.mark.parametrize("value", [0, 3, 0x81, 0xFF])
def test_an_mcast_of_unknown_encapsulation(value: int) -> None:
    frame = FRAMES[3].frame
    assert refusal(frames.decode, frame[:4] + bytes([value]) + frame[5:]) is Reason.BAD_ENCAPSULATION


def test_a_packet_cut_or_lengthened_anywhere() -> None:
    for packet in (PACKET, packets.encode_packet(0, 0, [b"only one"]), packets.encode_packet(0, 0, [b""])):
        for end in range(len(packet)):
            assert refusal(packets.decode_packet, packet[:end]) is Reason.BAD_PACKET
        assert refusal(packets.decode_packet, packet + b"\0") is Reason.BAD_PACKET
        assert refusal(packets.decode_packet, packet) is None


def test_a_packet_cut_anywhere_inside_its_mcast() -> None:
    """Also where the mcast carries no payload at all."""
    frame = frames.encode_mcast(1, 1, 1, RING, PACKET)
    for end in range(45, len(frame)):
        assert refusal(lambda data: packets.decode_packet(data, 45), frame[:end]) is Reason.BAD_PACKET


def test_a_packet_with_any_bit_flipped_or_wrecked() -> None:
    for damaged in flips(PACKET) + wrecks(PACKET):
        decoded, reason = attempt(packets.decode_packet, damaged)
        if decoded is None:
            assert reason is Reason.BAD_PACKET
        else:
            assert packets.encode_packet(*decoded) == damaged


@pytest.mark.parametrize("count", [0, 1, 2, 4, 13, 14, 15, 0x7FFF, 0xFFFF])
def test_a_packet_that_lies_about_its_pieces(count: int) -> None:
    assert refusal(packets.decode_packet, PACKET[:6] + struct.pack("<H", count) + PACKET[8:]) is Reason.BAD_PACKET


@pytest.mark.parametrize(("offset", "value"), [(0, 1), (1, 1), (2, 1), (3, 0x80)])
def test_a_packet_of_another_version_or_type(offset: int, value: int) -> None:
    damaged = PACKET[:offset] + bytes([value]) + PACKET[offset + 1 :]
    assert refusal(packets.decode_packet, damaged) is Reason.BAD_PACKET


PAYLOADS = {
    "barrier": packets.SYNC_PREFIX + barrier(),
    "service-build": packets.SYNC_PREFIX + service_build(4, [0, 2, 3, 5]),
    "executive": packets.EXECUTIVE_PREFIX + bytes(16),
    "several-groups": b"\x02\x00\x04\x00\x04\x00" + b"elsesync" + barrier(),
}
each_payload = pytest.mark.parametrize("whole", PAYLOADS.values(), ids=PAYLOADS)


@each_payload
def test_a_message_cut_anywhere(whole: bytes) -> None:
    """Cut in its group header it is BAD_GROUP, behind that BAD_MESSAGE; nothing shorter than the whole is taken."""
    group, at = packets.split_group(whole)
    decoder = syncmsg.decode_sync if group is Group.SYNC else executive.service_of
    for end in range(at):
        assert refusal(packets.split_group, whole[:end]) is Reason.BAD_GROUP
    for end in range(at, len(whole)):
        assert packets.split_group(whole[:end]) == (group, at)
        assert refusal(decoder, whole[at:end]) is Reason.BAD_MESSAGE
        header_cut = refusal(executive.service_of, whole[at:end])
        assert header_cut is (Reason.BAD_MESSAGE if end - at < 16 else None)
    assert refusal(decoder, whole[at:]) is None


@each_payload
def test_a_message_with_any_bit_flipped_or_wrecked(whole: bytes) -> None:
    for damaged in flips(whole) + wrecks(whole):
        check_payload(damaged)


@pytest.mark.parametrize("length", [5, 0x7FFF, 0xFFFF])
def test_a_group_list_whose_last_name_ends_beyond_the_message(length: int) -> None:
    """It is refused although a group of ours comes before that name."""
    whole = struct.pack("<HHH", 2, 4, length) + b"sync" + b"else"
    assert refusal(packets.split_group, whole) is Reason.BAD_GROUP
    assert packets.split_group(struct.pack("<HHH", 2, 4, 4) + b"sync" + b"else") == (Group.SYNC, 14)


@pytest.mark.parametrize("count", [-0x8000_0000, -1, 129, 0x7FFF_FFFF])
def test_a_service_build_that_lies_about_its_services(count: int) -> None:
    assert refusal(syncmsg.decode_sync, service_build(count, [0, 2, 3, 5])) is Reason.BAD_MESSAGE


@pytest.mark.parametrize("count", [0, 128])
def test_a_service_build_of_none_or_of_all_slots(count: int) -> None:
    slots = list(range(1, 129))
    build = syncmsg.decode_sync(service_build(count, slots))
    assert build == syncmsg.ServiceBuild(RING, tuple(slots[:count]), tuple(slots[count:]))


@pytest.mark.parametrize("kind", [2, 3, -1, 0x7FFF_FFFF])
def test_a_sync_message_of_unknown_kind_is_ignored(kind: int) -> None:
    assert syncmsg.decode_sync(struct.pack("<i4xi4x", kind, 16)) is None
