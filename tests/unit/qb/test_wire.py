"""The messages of libcpg: offsets as its headers have them, and damage."""

import random
import struct

import pytest

from services.qb_gateway.wire import connecting, cpg
from services.qb_gateway.wire.messages import RequestError

SIZES = {0: 24, 1: 24, 3: 9248, 4: 32, 5: 32, 6: 168, 7: 24, 8: 24, 9: 24, 10: 24, 11: 24, 12: 24}
"""Of the replies, by the id of the request."""


def u32(message: bytes, at: int) -> int:
    return int.from_bytes(message[at : at + 4], "little")


def name(group: bytes, length: int | None = None) -> bytes:
    return struct.pack("<II128s", len(group) if length is None else length, 0xAAAAAAAA, group)


def request(ident: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack("<iIiI", ident, 0xBBBBBBBB, 16 + len(body), 0xCCCCCCCC) + body


def padded(value: int) -> bytes:
    return struct.pack("<II", value, 0xDDDDDDDD)


def test_requests_are_read_whatever_their_padding_holds() -> None:
    assert cpg.decode(0, request(0, name(b"g\0"), padded(77), padded(1))) == cpg.Join(b"g\0", 77, 1)
    assert cpg.decode(1, request(1, name(b"g"), padded(77))) == cpg.Leave(b"g", 77)
    assert cpg.decode(3, request(3, name(b"g"))) == cpg.Members(b"g")
    assert cpg.decode(4, request(4)) == cpg.OwnNode()
    assert cpg.decode(6, request(6, (2**63).to_bytes(8, "little"))) == cpg.IterationNext(2**63)
    assert cpg.decode(8, request(8)) == cpg.Finalize()


def test_the_name_of_an_iteration_counts_only_where_one_group_is_asked_for() -> None:
    garbage = name(b"x", 4_000_000)
    assert cpg.decode(5, request(5, garbage, padded(3))) == cpg.IterationBegin(b"", 3)
    assert cpg.decode(5, request(5, name(b"g"), padded(2))) == cpg.IterationBegin(b"g", 2)
    with pytest.raises(RequestError) as refused:
        cpg.decode(5, request(5, garbage, padded(2)))
    assert refused.value.code == 13


def test_a_multicast_has_its_data_behind_forty_bytes() -> None:
    head = struct.pack("<iIiIiI", 2, 0, 45, 0, 0, 0) + padded(2) + padded(5)
    assert cpg.multicast_data(head + b"hello") == b"hello"
    assert cpg.multicast_data(head + b"hell") is None
    assert cpg.multicast_data(head[:39]) is None


def test_a_part_has_its_data_behind_fifty_six() -> None:
    head = struct.pack("<iIiIiI", 12, 0, 61, 0, 0, 0) + padded(2) + padded(99) + padded(5) + padded(1)
    assert cpg.decode(12, head + b"hello") == cpg.Part(99, 1, b"hello")
    with pytest.raises(RequestError):
        cpg.decode(12, head + b"hell")


@pytest.mark.parametrize("ident", [*range(-1, 20), 2**31 - 1])
def test_every_request_has_an_answer_and_damage_raises_nothing_else(ident: int) -> None:
    rng = random.Random(ident)
    for size in range(16, 300):
        code = 1
        try:
            cpg.decode(ident, rng.randbytes(size))
        except RequestError as error:
            code = error.code
        refusal = cpg.refusal(ident, code)
        assert len(refusal) == u32(refusal, 8) == SIZES.get(ident, 24)
        assert u32(refusal, 16) == (code if ident in SIZES else 7)


@pytest.mark.parametrize(("ident", "size"), SIZES.items())
def test_refusals_have_the_size_of_the_structure_that_the_library_reads(ident: int, size: int) -> None:
    refusal = cpg.refusal(ident, 12)
    assert len(refusal) == u32(refusal, 8) == size


def test_replies() -> None:
    members = cpg.members_reply([(1, 10), (2, 20)])
    assert (len(members), u32(members, 0), u32(members, 24)) == (9248, 3, 2)
    assert [(u32(members, 32 + 24 * i), u32(members, 40 + 24 * i)) for i in range(2)] == [(1, 10), (2, 20)]
    assert u32(cpg.members_reply([(1, n) for n in range(300)]), 24) == 128
    entry = cpg.entry_reply(b"g", 3, 4)
    assert (len(entry), u32(entry, 0), u32(entry, 24), u32(entry, 160), u32(entry, 164)) == (168, 10, 1, 3, 4)
    assert u32(cpg.own_node_reply(9), 24) == 9


def test_message_events() -> None:
    (event,) = cpg.message_events(b"grp", 1, 77, [b"hello"])
    assert (u32(event, 0), u32(event, 8)) == (5, len(event))
    assert [u32(event, at) for at in (24, 160, 168, 176)] == [3, 5, 1, 77]
    assert event[184:] == b"hello"


@pytest.mark.parametrize("size", [1047552, 1047553, 2 * 1047552, 3_000_000])
def test_long_messages_come_in_parts_that_fit_a_ring(size: int) -> None:
    data = random.Random(1).randbytes(size)
    events = cpg.message_events(b"grp", 1, 77, [data])
    assert max(map(len, events)) < cpg.MESSAGE_BYTES_MAX
    if size <= 1047552:
        assert [u32(event, 0) for event in events] == [5]
        return
    assert {u32(event, 0) for event in events} == {17}
    assert {u32(event, 160) for event in events} == {size}
    assert [u32(event, 192) for event in events] == [1, *[2] * (len(events) - 2), 3]
    assert b"".join(event[200:] for event in events) == data


def test_a_membership_event_has_those_who_left_before_those_who_joined() -> None:
    event = cpg.membership_event(b"g", [(1, 10), (2, 20)], [(2, 20, 1)], [(3, 30, 5)])
    assert [u32(event, at) for at in (160, 168, 176)] == [2, 1, 1]
    rows = [tuple(u32(event, 184 + 24 * i + at) for at in (0, 8, 16)) for i in range(4)]
    assert rows == [(1, 10, 0), (2, 20, 0), (3, 30, 5), (2, 20, 1)]
    assert len(event) == u32(event, 8) == 184 + 4 * 24


def test_a_ring_event_has_four_spare_bytes() -> None:
    event = cpg.ring_event(1, 2**40, [1, 2, 5])
    assert len(event) == u32(event, 8) == 48 + 12
    assert (u32(event, 0), u32(event, 24), int.from_bytes(event[32:40], "little"), u32(event, 40)) == (13, 1, 2**40, 3)
    assert [u32(event, at) for at in (44, 48, 52)] == [1, 2, 5]


def test_connecting() -> None:
    assert connecting.is_connect_request(struct.pack("<iIiIII", -1, 1, 24, 2, 1048576, 3))
    assert not connecting.is_connect_request(struct.pack("<iIiIII", 0, 1, 24, 2, 1048576, 3))
    reply = connecting.accept(65536, "/r", "/s", "/e")
    assert (len(reply), u32(reply, 8), u32(reply, 16), u32(reply, 24), u32(reply, 28)) == (12328, 12328, 0, 1, 65536)
    assert [reply[at : at + 3] for at in (40, 4136, 8232)] == [b"/r\0", b"/s\0", b"/e\0"]
    assert struct.unpack_from("<i", connecting.refuse(11), 16) == (-11,)
    with pytest.raises(ValueError, match="too long"):
        connecting.accept(65536, "/r" * 3000, "/s", "/e")
