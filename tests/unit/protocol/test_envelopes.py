"""Every envelope comes back as it was; whatever else arrives is a BusError and nothing worse."""

from __future__ import annotations

import tracemalloc
from typing import Any

import msgpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rondo.protocol import control_gateway, cpg_gateway, events, requests, sam_gateway, totem_control, totem_reader
from rondo.protocol.envelope import BusError, pack, unpack
from rondo.protocol.kinds import Kind

RING = [1, 8]
ENTRIES: list[totem_reader.Entry] = [
    [totem_reader.MESSAGE, 2, None, False, b"data"],
    [totem_reader.MESSAGE, 1, [7, 8, 0], True, b""],
    [totem_reader.TRANSITIONAL, RING, [1, 12], [1], [2]],
    [totem_reader.REGULAR, [1, 12], [1, 3], [3], []],
    [totem_reader.SYNC_STEP, RING],
    [totem_reader.SYNC_ACTIVATE, RING],
    [totem_reader.SYNC_ABORT, RING],
    [totem_reader.SYNC_COMPLETE, RING],
    [totem_reader.SKIP],
]
ORDER: list[totem_reader.Envelope] = [
    totem_reader.Hello(0, 1, 99),
    totem_reader.Welcome(5, 1, 2, 99, 10, 9, b"core", None, [[7, 8]], [[7, 8, None], [7, 9, b"note"]], 1 << 22),
    totem_reader.Log(5, 1, ENTRIES),
    totem_reader.Kept(5, [[3, ENTRIES[0]]]),
    totem_reader.Taken(5, [[7, 8]], 4711),
    totem_reader.Submit(5, [[7, 8, 2, None, [b"a", b"b"]], [7, 9, 3, b"note", []]]),
    totem_reader.SyncReply(5, 3, [b"downlist"]),
    totem_reader.Ack(5, 9, None, b"table", [3, 4], [7]),
    totem_reader.Again(5),
]
WHO = [2**64 - 1, 77, 12345, 0, 0, 1, b"secret"]
SESSIONS: list[cpg_gateway.Envelope] = [
    cpg_gateway.GatewayHello(0, 1, 99, 1),
    cpg_gateway.CpgWelcome(5, 1, 2, 99, [WHO]),
    cpg_gateway.Open(5, [[*WHO, None], [*WHO, [4, 17, 3]]]),
    cpg_gateway.Opened(5, [[7, 1, 17, 3, [1, 8, [1, 2]]], [8, 12, 0, 0, None]]),
    cpg_gateway.Close(5, [[7, 1]]),
    cpg_gateway.Request(5, [[7, 1, 2, b"blob"]]),
    cpg_gateway.Settled(5, [[7, 2]]),
    cpg_gateway.Reply(5, [[7, b"blob"]]),
    cpg_gateway.Events(5, [[7, 1, 9, b"blob"]]),
    cpg_gateway.EventAck(5, [[7, 9]]),
    cpg_gateway.Notice(5, [[7, 1, [5, 6]], [8, 2, [18, "too slow"]]]),
    cpg_gateway.Lost(5, "it died", [[7, [3, 4]]]),
    cpg_gateway.Reopen(5, [7]),
    totem_reader.Again(5),
]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.binary(max_size=9) | st.text(max_size=9),
    lambda some: st.lists(some, max_size=6),
    max_leaves=20,
)


SAM: list[sam_gateway.Ask | sam_gateway.Answer] = [
    sam_gateway.Ask(0, b"route", 1, 77, 88, 1000, 1000, [4, 24], b"blob"),
    sam_gateway.Answer(0, b"route", 1, 1, b"blob"),
]


CONTROL_ENTRIES: list[totem_control.Entry] = [
    [totem_control.MESSAGE, 2, False, b"data"],
    [totem_control.TRANSITIONAL, [1], [2]],
    [totem_control.REGULAR, RING, [1, 3]],
    [totem_control.SYNC_STEP, RING, 5],
    [totem_control.SYNC_ACTIVATE, RING, 5],
    [totem_control.SYNC_ABORT, RING],
    [totem_control.SYNC_COMPLETE, RING],
]
CONTROL: list[totem_control.Envelope] = [
    totem_control.Hello(0, 1, 99),
    totem_control.Welcome(5, 1, 2, 99, 10, 9, None, 0),
    totem_control.Log(5, [[n, entry] for n, entry in enumerate(CONTROL_ENTRIES)]),
    totem_control.Commit(5, 1, 9, b"state", [b"votes"], [[8, [b"votes"]]]),
    totem_control.Committed(5, 1, 0),
    totem_control.Evict(5, True, "too old"),
    totem_control.Again(5),
]
ASKS: list[control_gateway.Ask | control_gateway.Answer | control_gateway.Forget] = [
    control_gateway.Ask(0, b"route", 1, b"blob"),
    control_gateway.Answer(0, b"route", 1, 1, b"blob"),
    control_gateway.Forget(0, b"route"),
]
OTHERS: list[tuple[Any, list[Any]]] = [
    (totem_reader, ORDER),
    (sam_gateway, SAM),
    (totem_control, CONTROL),
    (control_gateway, ASKS),
]
EVERY: list[Any] = [*ORDER, *SESSIONS, *SAM, *CONTROL, *ASKS]


def codec_of(envelope: Any) -> Any:
    """The module that knows this kind of envelope."""
    for codec, envelopes in OTHERS:
        if type(envelope) in {type(each) for each in envelopes}:
            return codec
    return cpg_gateway


def decode_any(frame: bytes) -> list[Any]:
    """The results of all decoders for a frame."""
    made: list[Any] = []
    faults: list[str] = []
    blobs = (requests.decode_requests, requests.decode_replies, events.decode_events)
    for decode in (
        totem_reader.decode,
        cpg_gateway.decode,
        sam_gateway.decode,
        totem_control.decode,
        control_gateway.decode,
        *blobs,
    ):
        try:
            made.append(decode(frame))
        except BusError as error:
            faults.append(str(error))
    assert all(fault and "\n" not in fault for fault in faults)
    return made


def test_every_envelope_comes_back() -> None:
    """And every kind is among them."""
    assert [totem_reader.decode(totem_reader.encode(envelope)) for envelope in ORDER] == ORDER
    assert [cpg_gateway.decode(cpg_gateway.encode(envelope)) for envelope in SESSIONS] == SESSIONS
    for codec, envelopes in OTHERS:
        assert [codec.decode(codec.encode(envelope)) for envelope in envelopes] == envelopes
    kinds = {unpack(codec_of(e).encode(e))[0] for e in EVERY}
    assert kinds == set(Kind)


def test_fixed_bytes() -> None:
    """The bytes themselves, for who writes the other side in another language."""
    assert totem_reader.encode(totem_reader.Taken(5, [[7, 8]], 300)) == bytes(
        [0x94, 5, 5, 0x91, 0x92, 7, 8, 0xCD, 1, 0x2C]
    )
    assert cpg_gateway.encode(cpg_gateway.Request(1, [[7, 1, 2, b"b"]])) == bytes(
        [0x93, 21, 1, 0x91, 0x94, 7, 1, 2, 0xC4, 1, ord("b")]
    )


@pytest.mark.parametrize("envelope", EVERY, ids=lambda e: type(e).__name__)
def test_half_an_envelope(envelope: Any) -> None:
    """Cut at every byte."""
    frame = codec_of(envelope).encode(envelope)
    for length in range(len(frame)):
        assert decode_any(frame[:length]) == []


@pytest.mark.parametrize("envelope", EVERY, ids=lambda e: type(e).__name__)
def test_each_field_is_checked(envelope: Any) -> None:
    """No field can be of another kind, missing or too much."""
    codec = codec_of(envelope)
    fields = unpack(codec.encode(envelope))
    for index in range(1, len(fields)):
        wrongs: list[Any] = [-1, 1.5, {}, "text" if isinstance(fields[index], int) else 2**64 - 1]
        for wrong in wrongs:
            with pytest.raises(BusError):
                codec.decode(pack([*fields[:index], wrong, *fields[index + 1 :]]))
    for fields_wrong in (fields[:-1], [*fields, 0]):
        with pytest.raises(BusError):
            codec.decode(pack(fields_wrong))


@settings(deadline=None)
@given(st.binary(max_size=60))
@example(b"\xdf\xff\xff\xff\xff")
@example(b"\xdd\xff\xff\xff\xff")
@example(b"\x81\x91\x01\x01")
@example(b"\xd6\xff\x00\x00\x00\x00")
@example(b"\xa1\xff")
@example(b"\x91" * 2000)
def test_garbage(frame: bytes) -> None:
    """The frame is any bytes."""
    decode_any(frame)


@settings(deadline=None)
@given(st.sampled_from(sorted(Kind)), st.lists(VALUES, max_size=12))
def test_garbage_of_the_right_kind(kind: Kind, fields: list[Any]) -> None:
    """Any values behind a known kind: what is accepted is encoded to the same."""
    frame = pack([int(kind), *fields])
    for made in decode_any(frame):
        if isinstance(made, tuple):
            assert codec_of(made).encode(made) == frame


def test_requests_and_events_come_back() -> None:
    """The blobs that the gateway does not read."""
    some: list[list[Any]] = [[1, 1, b"g"], [2, 3, b"g", 2, b"data"], [3, 16]]
    assert requests.decode_requests(requests.encode_requests(some)) == some
    replies: list[list[Any]] = [[1, 14, None], [3, 1, [[b"g", [[1, 2]]]]]]
    assert requests.decode_replies(pack(replies)) == replies
    happened: list[list[Any]] = [
        [1, events.MESSAGE, b"g", 1, 2, False, b"data", None],
        [2, events.MEMBERSHIP, b"g", [[1, 2]], [[1, 2, 1]], [], 7],
        [3, events.RING, 1, 8, [1, 2]],
        [4, events.FAILED, 7, 14],
    ]
    assert events.decode_events(events.encode_events(happened)) == happened


@pytest.mark.parametrize("value", [5, [[0, 1]], [[1]], [["1", 1]], [[2**64 - 1, 1]], [[True, 1]], {}])
def test_bad_requests(value: Any) -> None:
    """Not an array of numbered requests."""
    with pytest.raises(BusError):
        requests.decode_requests(msgpack.packb(value))


class _PacksMeanwhile(dict[str, int]):
    """A map that packs something else while it is being packed, as a finalizer may."""

    def items(self) -> Any:
        assert pack([b"other" * 20]) == msgpack.packb([b"other" * 20])
        return super().items()


def test_packing_within_packing() -> None:
    for _ in range(3):
        assert pack([1, _PacksMeanwhile(a=1), b"rest"]) == msgpack.packb([1, {"a": 1}, b"rest"])


def test_what_cannot_be_packed_leaves_nothing_behind() -> None:
    for _ in range(3):
        with pytest.raises(TypeError):
            pack([1, b"half", object()])
        assert pack([2]) == b"\x91\x02"


def test_a_large_envelope_is_not_kept_in_memory() -> None:
    pack([1])
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(8):
            pack([bytes(8 << 20)])
        assert tracemalloc.get_traced_memory()[0] - before < 1 << 20
    finally:
        tracemalloc.stop()
