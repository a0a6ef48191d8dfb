"""Large payloads: the same bytes as msgpack's, the same values, and the same frames refused, by the shorter way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rondo.protocol import batch, client_gateway, cpg_gateway, events, large, requests, totem_reader
from rondo.protocol.client_gateway import FROM_CLIENT, FROM_GATEWAY, Kind
from rondo.protocol.envelope import BusError, unpack
from rondo.protocol.kinds import Kind as BusKind
from rondo.protocol.large import HEAD_BYTES_MAX, LARGE_BYTES, sizes_of_bins, split
from services.cpg import numbering
from tests.unit.protocol.test_envelopes import VALUES

SESSION = 2**64 - 1
SIZES = (0, 1, 255, 256, LARGE_BYTES - 1, LARGE_BYTES, 0xFFFF, 0x10000, 300_000)
USERS = (client_gateway, cpg_gateway, totem_reader, requests, events)
"""The modules that go by `LARGE_BYTES`."""
SMALL_BYTES = 3

Decoder = Callable[[bytes], Any]


def _client(frame: bytes) -> Any:
    return client_gateway.decode(frame, FROM_CLIENT)


def _gateway(frame: bytes) -> Any:
    return client_gateway.decode(frame, FROM_GATEWAY)


def _numbers(frame: bytes) -> Any:
    found = requests.decode_requests(frame)
    return found, numbering.check_numbers(found, 1, 2, 64 * 1024)


DECODERS: dict[str, Decoder] = {
    "client": _client,
    "gateway": _gateway,
    "cpg": cpg_gateway.decode,
    "totem": totem_reader.decode,
    "requests": requests.decode_requests,
    "numbers": _numbers,
}


@contextmanager
def everything_is_large() -> Iterator[None]:
    """Also payloads of a few bytes go the way of large ones."""
    with ExitStack() as stack:
        for module in (large, *USERS):
            stack.enter_context(patch.object(module, "LARGE_BYTES", SMALL_BYTES))
        for module in (large, batch):
            stack.enter_context(patch.object(module, "PAYLOADS_BYTES_MIN", 0))
        yield


@contextmanager
def nothing_is_large() -> Iterator[None]:
    """All goes msgpack's way."""
    with ExitStack() as stack:
        for module in (client_gateway, cpg_gateway, requests):
            stack.enter_context(patch.object(module, "split", lambda _: None))
        stack.enter_context(patch.object(large, "LARGE_BYTES", 1 << 30))
        yield


def outcome(decode: Decoder, frame: bytes) -> Any:
    """The value, with views as bytes, or None if it is refused."""
    try:
        return plain(decode(frame))
    except BusError:
        return None


def plain(value: Any) -> Any:
    """`value` in which each view is bytes."""
    if isinstance(value, memoryview):
        return bytes(value)
    return [plain(each) for each in value] if isinstance(value, (list, tuple)) else value


# -- what is sent ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_the_bytes_are_those_of_msgpack(size: int) -> None:
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    pack, view = msgpack.packb, memoryview(data)
    for blob in (data, view):
        assert client_gateway.encode(Kind.REQUEST, 5, 1, 2, blob) == pack([34, 5, 1, 2, data])
        assert client_gateway.encode(Kind.REPLY, 5, blob) == pack([36, 5, data])
        assert client_gateway.encode(Kind.EVENTS, 5, 1, SESSION, blob) == pack([37, 5, 1, SESSION, data])
        row: list[Any] = [7, 1, 2, blob]
        for rows in ([row], [[7, 1, 2, b""], row], [row] * 20):
            plain_rows = [[*row[:3], bytes(row[3])] for row in rows]
            assert cpg_gateway.encode(cpg_gateway.Request(5, rows)) == pack([21, 5, plain_rows])
            assert cpg_gateway.encode(cpg_gateway.Events(5, rows)) == pack([24, 5, plain_rows])
        assert cpg_gateway.encode(cpg_gateway.Reply(5, [[7, blob], [8, blob]])) == pack([23, 5, [[7, data], [8, data]]])
        for many in (1, 2, 20):
            for kind in (events.MESSAGE, events.BATCH):
                row = [SESSION, kind, b"g", 1, 77, False, blob]
                for last in (None, 7, SESSION):
                    expected = pack([[*row[:6], data, last]] * many)
                    assert events.encode_events([[*row, last]] * many) == expected
    for many in (1, 2, 20):
        some = [[1, 3, b"g", 2, data]] * many
        assert requests.encode_requests(some) == pack(some)
        assert requests.encode_requests([[1, 1, b"g"], *some]) == pack([[1, 1, b"g"], *some])
        assert batch.encode_body([data] * many) == pack([data] * many)
        assert batch.encode_body([b"", *[data] * many]) == pack([b"", *[data] * many])
        entries: list[list[Any]] = [[0, 1, [7, 8, 0], False, data], [0, 1, None, True, data]] * many
        assert totem_reader.encode(totem_reader.Log(5, 9, entries)) == pack([3, 5, 9, entries])
        submitted: list[list[Any]] = [[7, 9, 2, None, [data] * many], [7, 9, 2, b"note", [data]]]
        assert totem_reader.encode(totem_reader.Submit(5, submitted)) == pack([6, 5, submitted])
        assert totem_reader.encode(totem_reader.Submit(5, submitted[1:])) == pack([6, 5, submitted[1:]])


def test_what_is_not_large_alone_is_packed_as_it_was() -> None:
    data = bytes(LARGE_BYTES)
    changes = [[9, 1, b"g", [[1, 2]], [], [], None], [9, 0, b"g", 1, 2, False, data, None]]
    assert events.encode_events(changes) == msgpack.packb(changes)
    entries: list[list[Any]] = [[7], [0, 1, None, False, data * 2]]
    assert totem_reader.encode(totem_reader.Log(5, 9, entries)) == msgpack.packb([3, 5, 9, entries])
    assert cpg_gateway.encode(cpg_gateway.Events(5, [])) == msgpack.packb([24, 5, []])


# -- what comes --------------------------------------------------------------------------------------------------------


def test_a_large_blob_is_not_copied() -> None:
    blob = bytes(LARGE_BYTES)
    frame = client_gateway.encode(Kind.REQUEST, 5, 1, 2, blob)
    assert client_gateway.decode(frame, FROM_CLIENT)[2][2].obj is frame
    frame = cpg_gateway.encode(cpg_gateway.Request(5, [[7, 1, 2, blob]]))
    assert cpg_gateway.decode(frame).requests[0][3].obj is frame  # type: ignore[union-attr]
    frame = requests.encode_requests([[1, int(requests.Op.MCAST), b"g", 2, blob]])
    assert requests.decode_requests(frame)[0][4].obj is frame


def test_what_others_keep_is_bytes() -> None:
    """Requests of SAM and control, arguments other than payloads."""
    blob = bytes(LARGE_BYTES)
    for kind in (Kind.SAM_REQUEST, Kind.CONTROL_REQUEST):
        assert type(client_gateway.decode(msgpack.packb([int(kind), 0, 1, blob]), FROM_CLIENT)[2][1]) is bytes
    assert type(requests.decode_requests(msgpack.packb([[1, 1, blob]]))[0][2]) is bytes
    assert requests.decode_requests(msgpack.packb([[1, 3, b"g", 2, [blob]]])) == [[1, 3, b"g", 2, [blob]]]
    assert type(requests.decode_requests(msgpack.packb([[1, 3, 2, blob]]))[0][3]) is bytes


def test_a_view_keeps_hardly_more_than_itself() -> None:
    """A blob behind other large ones is copied."""
    rows = [[7, 1, 2, bytes(LARGE_BYTES)], [8, 1, 2, bytes(LARGE_BYTES)]]
    assert split(cpg_gateway.encode(cpg_gateway.Events(5, rows))) is None
    for before in range(HEAD_BYTES_MAX + 20):
        frame = (
            b"\x92\xc5" + before.to_bytes(2) + bytes(before) + b"\xc6" + (LARGE_BYTES).to_bytes(4) + bytes(LARGE_BYTES)
        )
        parts = split(frame)
        assert (parts is not None) == (len(frame) - LARGE_BYTES <= HEAD_BYTES_MAX)


BLOBS = st.binary(max_size=12)
ROWS = st.lists(
    st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 300), st.integers(0, 300), BLOBS).map(list), max_size=3
)
PAYLOADS = st.lists(BLOBS, max_size=4)
FRAMES = st.one_of(
    st.tuples(
        st.sampled_from([34, 36, 37, 43, 45]), st.integers(0, 9), st.integers(0, 300), st.integers(0, 300), BLOBS
    ),
    st.tuples(st.sampled_from([36, 43]), st.integers(0, 9), st.integers(0, 9), BLOBS),
    st.tuples(st.sampled_from([21, 24, 23]), st.integers(0, 9), ROWS),
    st.tuples(st.just(23), st.just(5), st.lists(st.tuples(st.integers(0, 9), BLOBS), max_size=2)),
    st.tuples(st.sampled_from(sorted([int(kind) for kind in BusKind])), VALUES, VALUES, BLOBS),
    st.lists(
        st.tuples(st.sampled_from([1, 2]), st.sampled_from([1, 3, 4]), BLOBS, st.integers(0, 3), BLOBS), max_size=2
    ),
    st.tuples(st.tuples(st.just(1), st.just(4), BLOBS, st.just(2), PAYLOADS.map(msgpack.packb))),
    st.tuples(st.tuples(st.just(1), st.just(3), BLOBS, st.just(2), st.tuples(BLOBS))),
    VALUES,
).map(msgpack.packb)


@st.composite
def altered(draw: st.DrawFn, frames: st.SearchStrategy[bytes] = FRAMES) -> bytes:
    """A frame, perhaps cut, longer, or with other bytes."""
    frame = bytearray(draw(frames))
    for _ in range(draw(st.integers(0, 2))):
        if frame:
            frame[draw(st.integers(0, len(frame) - 1))] = draw(st.integers(0, 255))
    return bytes(frame[: draw(st.integers(0, len(frame)))] if draw(st.booleans()) else frame) + draw(
        st.sampled_from([b"", b"", b"\x00", b"\xc4\x00"])
    )


@settings(deadline=None, max_examples=400)
@given(altered())
def test_both_ways_say_the_same_of_any_frame(frame: bytes) -> None:
    for name, decode in DECODERS.items():
        usual = outcome(decode, frame)
        with everything_is_large():
            assert outcome(decode, frame) == usual, name


@settings(deadline=None, max_examples=400)
@given(
    altered(),
    st.sampled_from([b"\xc4\x03abc", b"\xc5\x00\x03abc", b"\xc6\x00\x00\x00\x03abc", b"\xc6\x00\x00\x00\x00"]),
)
def test_both_ways_say_the_same_of_any_frame_that_ends_with_a_bin(frame: bytes, last: bytes) -> None:
    test_both_ways_say_the_same_of_any_frame.hypothesis.inner_test(frame + last)  # type: ignore[attr-defined]


@settings(deadline=None, max_examples=400)
@given(altered())
def test_what_is_parted_belongs_together(frame: bytes) -> None:
    with everything_is_large():
        check_parts(frame)


@pytest.mark.parametrize("count", [1, 2, 10])
def test_whatever_stands_before_the_last_element(count: int) -> None:
    """Each first byte, followed by fewer and by more bytes than it announces."""
    blob = b"\xc6" + LARGE_BYTES.to_bytes(4) + bytes(LARGE_BYTES)
    parted = 0
    for token in range(256):
        for between in range(20):
            parted += check_parts(bytes([0x90 | count, token]) + b"\x01" * between + blob)
    assert parted


def check_parts(frame: bytes) -> bool:
    """Whether the frame was parted. If so, the parts hold what it holds."""
    parts = split(frame)
    if parts is None:
        return False
    head, blob = parts
    try:
        whole = unpack(frame)
    except BusError:
        with pytest.raises(BusError):
            unpack(head)
    else:
        assert with_last(unpack(head), bytes(blob)) == whole
    return True


def with_last(value: Any, blob: bytes) -> Any:
    """`value` with its very last element, an empty bin, replaced."""
    if isinstance(value, list):
        return [*value[:-1], with_last(value[-1], blob)]
    assert value == b""
    return blob


@settings(deadline=None, max_examples=400)
@given(altered(PAYLOADS.map(msgpack.packb) | st.lists(VALUES, max_size=4).map(msgpack.packb)))
def test_sizes_of_payloads_without_unpacking_them(body: bytes) -> None:
    with everything_is_large():
        sizes = sizes_of_bins(body)
        assert sizes == sizes_of_bins(memoryview(body))
    try:
        payloads: list[bytes] | None = batch.decode_body(body)
    except BusError:
        payloads = None
    if sizes is not None:
        assert payloads is not None
        assert sizes == list(map(len, payloads))
    elif len(body) >= SMALL_BYTES:
        assert payloads is None or body[0] == 0xDD, "only the longest form of an array goes the usual way"


@pytest.mark.parametrize("name", DECODERS)
def test_large_frames_cut_and_altered(name: str) -> None:
    """At their real size: each cut of the head, and each byte of it altered, is judged as msgpack judges it."""
    blob = bytes(LARGE_BYTES + 40)
    body = batch.encode_body([bytes(LARGE_BYTES - 64), bytes(64)])
    frames = [
        client_gateway.encode(Kind.REQUEST, 5, 1, 2, blob),
        client_gateway.encode(Kind.EVENTS, 5, 1, 2, blob),
        cpg_gateway.encode(cpg_gateway.Request(5, [[SESSION, 1, 2, blob]])),
        totem_reader.encode(totem_reader.Submit(5, [[7, 9, 2, None, [blob]]])),
        requests.encode_requests([[1, 3, b"g", 2, blob]]),
        requests.encode_requests([[1, 4, b"g", 2, body]]),
    ]
    decode = DECODERS[name]
    for frame in frames:
        others = [frame[:length] for length in (*range(48), len(frame) - 1)] + [frame + b"\x00"]
        others += [
            frame[:at] + bytes([byte]) + frame[at + 1 :]
            for at in range(48)
            for byte in (0, 0x90, 0xC1, 0xC4, 0xC6, 0xFF)
        ]
        for other in others:
            with nothing_is_large():
                usual = outcome(decode, other)
            assert outcome(decode, other) == usual
