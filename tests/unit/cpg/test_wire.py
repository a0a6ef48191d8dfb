"""The messages of CPG: layouts by hand from Corosync's, messages that a real Corosync 3.1.7 sent, and damage."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.cpg import wire

NAME = b"GRP1"
REAL_NAME = bytes.fromhex("04000000fd7f000047525031") + bytes(124)
"""As a C node sends it: length, garbage in the padding, 128 bytes."""
REAL_JOIN = (
    bytes.fromhex("0000020000000000a800000000000000") + REAL_NAME + bytes.fromhex("7f270000000000000100000000000000")
)
REAL_LEAVE = (
    bytes.fromhex("0100020000000000a800000000000000") + REAL_NAME + bytes.fromhex("ac270000000000000200000000000000")
)
REAL_JOINLIST = (
    bytes.fromhex("0200020000000000a800000000000000") + bytes(8) + bytes.fromhex("7b29000000000000") + REAL_NAME
)
REAL_MCAST = (
    bytes.fromhex("0300020000000000cc00000000000000") + REAL_NAME
    + bytes.fromhex("14000000000000007f270000000000000200000000000000301c2cae77550000") + b"B-20-xxxxxxxxxxxxxxx"
)  # fmt: skip
REAL_FIRST_HEAD = (
    bytes.fromhex("06000200fc7f0000c8fc0f0000560000") + REAL_NAME
    + bytes.fromhex("80841e000000000000fc0f0000000000ac270000fc7f00000100000001560000010000000000000090618f2701560000")
)  # fmt: skip
REAL_LAST_HEAD = (
    bytes.fromhex("060002000156000048890e0001560000") + REAL_NAME
    + bytes.fromhex("80841e000000000080880e0000000000ac270000fc7f00000300000001560000010000000000000090618f2701560000")
)  # fmt: skip
GROUPS = st.binary(min_size=1, max_size=128)
PIDS = st.integers(0, 2**32 - 1)


def test_messages_of_a_real_corosync() -> None:
    """What a C node sent is understood, garbage in the padding included."""
    assert wire.decode(REAL_JOIN) == wire.ProcJoin(NAME, 0x277F, 1)
    assert wire.decode(REAL_LEAVE) == wire.ProcLeave(NAME, 0x27AC, 2)
    assert wire.decode(REAL_JOINLIST) == wire.JoinList([(0x297B, NAME)])
    assert wire.decode(REAL_MCAST) == wire.Mcast(NAME, 0x277F, b"B-20-xxxxxxxxxxxxxxx")


def test_long_message_of_a_real_corosync() -> None:
    """2,000,000 bytes came as 1,047,552 and the rest, and Rondo cuts at the same place."""
    data = b"A-2000000-" + b"x" * 1_999_990
    first = wire.decode(REAL_FIRST_HEAD + data[:1_047_552])
    last = wire.decode(REAL_LAST_HEAD + data[1_047_552:])
    assert first == wire.PartialMcast(NAME, 0x27AC, 2_000_000, wire.Part.FIRST, data[:1_047_552], False)
    assert last == wire.PartialMcast(NAME, 0x27AC, 2_000_000, wire.Part.LAST, data[1_047_552:], False)
    assert [wire.decode(part) for part in wire.encode_mcast(NAME, 1, 0x27AC, data)] == [first, last]


def test_layouts_by_hand() -> None:
    """Every field at the offset that section 7.1 of the description of the wire gives it."""
    join = wire.encode_proc_join(b"g", 7)
    assert (len(join), struct.unpack_from("<i", join)[0], struct.unpack_from("<i", join, 8)[0]) == (168, 0x20000, 168)
    assert struct.unpack_from("<I", join, 16)[0] == 1
    assert join[24:152] == b"g" + bytes(127)
    assert struct.unpack_from("<I4xI", join, 152) == (7, 1)
    leave = wire.encode_proc_leave(b"g", 7, 5)
    assert (len(leave), struct.unpack_from("<i", leave)[0]) == (168, 0x20001)
    assert struct.unpack_from("<I4xI", leave, 152) == (7, 5)
    (joinlist,) = wire.encode_join_lists([(7, b"g"), (8, b"hh")])
    assert (len(joinlist), struct.unpack_from("<i4xi4xi", joinlist)) == (24 + 2 * 144, (0x20002, 24 + 2 * 144, 0))
    assert struct.unpack_from("<I4xI", joinlist, 24 + 144) == (8, 2)
    assert joinlist[24 + 144 + 16 :][:3] == b"hh\0"
    (mcast,) = wire.encode_mcast(b"g", 3, 7, b"data")
    assert (len(mcast), struct.unpack_from("<i4xi", mcast)) == (188, (0x20003, 188))
    assert struct.unpack_from("<I4xI4xI", mcast, 152) == (4, 7, 3)
    assert mcast[184:] == b"data"
    downlist = wire.encode_down_list(3, [2, 9])
    assert (len(downlist), struct.unpack_from("<i4xi4xI4xI4xIII", downlist)) == (1568, (0x20005, 1568, 3, 2, 2, 9, 0))


def test_largest_message_in_one() -> None:
    """Up to the cut a message is one MCAST, and with all headers below the 1 MiB at which a C node aborts."""
    (one,) = wire.encode_mcast(b"g", 1, 2, bytes(wire.PART_BYTES_MAX))
    assert len(one) + 8 < 1 << 20
    assert max(map(len, wire.encode_mcast(b"g", 1, 2, bytes(wire.PART_BYTES_MAX + 1)))) + 8 < 1 << 20


def test_joinlist_of_many() -> None:
    """Memberships that one message cannot hold are spread over several."""
    entries = [(pid, b"g") for pid in range(wire.JOINLIST_ENTRIES_MAX + 5)]
    lists = wire.encode_join_lists(entries)
    assert [len(wire.decode(some).entries) for some in lists] == [wire.JOINLIST_ENTRIES_MAX, 5]  # type: ignore[union-attr]
    assert wire.encode_join_lists([]) == []


@settings(deadline=None)
@given(group=GROUPS, pid=PIDS, data=st.binary(max_size=300), part=st.integers(10, 90))
def test_messages_come_back(group: bytes, pid: int, data: bytes, part: int) -> None:
    """Every message is decoded to what was encoded, long ones in parts that add up."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "PART_BYTES_MAX", part)
        decoded = [wire.decode(message) for message in wire.encode_mcast(group, 1, pid, data)]
    assert b"".join(bytes(m.data) for m in decoded if isinstance(m, wire.Mcast | wire.PartialMcast)) == data
    parts = [m.part for m in decoded if isinstance(m, wire.PartialMcast)]
    assert parts == ([1, *[2] * (len(parts) - 2), 3] if len(data) > part else [])
    assert wire.decode(wire.encode_proc_join(group, pid)) == wire.ProcJoin(group, pid, 1)
    assert wire.decode(wire.encode_proc_leave(group, pid, 5)) == wire.ProcLeave(group, pid, 5)
    assert wire.decode(wire.encode_join_lists([(pid, group)])[0]) == wire.JoinList([(pid, group)])


@pytest.mark.parametrize("message", [REAL_JOIN, REAL_LEAVE, REAL_JOINLIST, REAL_MCAST])
def test_truncated_at_every_byte(message: bytes) -> None:
    """A half message is refused, never half understood."""
    for length in range(len(message)):
        if message is REAL_JOINLIST and length == 24:
            continue  # an empty joinlist
        with pytest.raises(wire.WireError):
            wire.decode(message[:length])


@settings(deadline=None)
@given(st.binary(max_size=300), st.sampled_from([0x20000, 0x20001, 0x20002, 0x20003, 0x20005, 0x20006, 0x20007]))
def test_garbage_is_refused_or_understood(body: bytes, ident: int) -> None:
    """Whatever the bytes are, there is a message or a WireError."""
    try:
        wire.decode(struct.pack("<i", ident) + body)
    except wire.WireError:
        return


def test_what_is_not_for_cpg() -> None:
    """Unknown functions are ignored, other services refused."""
    assert wire.decode(struct.pack("<i12x", 0x20004)) is None
    assert wire.decode(struct.pack("<i12x", 0x20099)) is None
    with pytest.raises(wire.WireError, match="service 5"):
        wire.decode(struct.pack("<i12x", 0x50000))
