"""Numbers, fragments, encryption, compression and the search for the path's MTU, each by itself."""

from __future__ import annotations

import bz2
import hashlib
import hmac
import lzma
import zlib

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from hypothesis import given
from hypothesis import strategies as st

from services.totem.transport.knet import format as wire
from services.totem.transport.knet.compression import Unpackable, compressor, decompress
from services.totem.transport.knet.crypto import CIPHER_KEY_BYTES, HASHES, make_cipher
from services.totem.transport.knet.fragments import AGE_NS_MAX, INCOMPLETE_MAX, Joiner, Refused, cut
from services.totem.transport.knet.numbers import FADE_NS, KEPT_FROM, PING_EVERY, WINDOW, ReceiveWindow, SendNumbers
from services.totem.transport.knet.path_mtu import TRIES, PathMtu, Phase
from tests.unit.knet.network import KEY, MS

# -- numbers


def test_zero_and_the_kept_numbers_are_left_out() -> None:
    numbers = SendNumbers()
    given_out = [numbers.next() for _ in range(KEPT_FROM)]
    assert given_out[0] == 1
    assert max(given_out) == KEPT_FROM - 1
    assert given_out[-1] == 1
    kept = [numbers.next_kept() for _ in range(600)]
    assert min(kept) == KEPT_FROM
    assert max(kept) == 65_535


def test_a_ping_is_due_every_so_many_numbers() -> None:
    numbers = SendNumbers()
    due = []
    for _ in range(3 * PING_EVERY):
        numbers.next()
        due.append(numbers.ping_is_due)
        numbers.ping_is_due = False
    assert due.count(True) == 3


@given(st.lists(st.integers(-WINDOW + 1, 40), max_size=60), st.integers(1, 65_535))
def test_a_number_is_taken_once(steps: list[int], start: int) -> None:
    """Beside a model that remembers whole numbers, as long as nothing is further away than the window."""
    window, newest, had = ReceiveWindow(), start, set[int]()
    for step in [0, *steps]:
        wanted = newest + step
        if wanted % 65_536 == 0 or newest - wanted > WINDOW:
            continue
        assert window.has(wanted % 65_536) == (wanted in had)
        assert window.take(wanted % 65_536) == (wanted not in had)
        had.add(wanted)
        newest = max(newest, wanted)


def test_a_number_far_away_begins_a_new_window() -> None:
    window = ReceiveWindow()
    for number in (5000, 5001, 5001 + WINDOW):
        assert window.take(number)
    assert not window.take(5001)
    assert window.take(20_000)
    assert window.restarts == 1
    assert window.take(5001)


def test_a_ping_moves_the_window_and_takes_nothing_away() -> None:
    window = ReceiveWindow()
    window.take(10)
    window.reached(14)
    assert window.take(13)
    assert not window.take(10)
    window.reached(9)
    assert window.newest == 14
    window.reached(14 + 2 * WINDOW)
    assert window.take(14 + 2 * WINDOW)


def test_what_was_taken_is_forgotten_after_a_while() -> None:
    """Not at once, and not what was taken since; the newest number stays where it is."""
    window, now_ns = ReceiveWindow(), FADE_NS
    assert window.take(100)
    window.fade(now_ns)
    assert window.take(103)
    window.fade(now_ns + FADE_NS - 1)
    assert window.has(100)
    window.fade(now_ns + FADE_NS)
    assert not window.has(100)
    assert window.has(103)
    assert window.newest == 103
    window.fade(now_ns + 2 * FADE_NS)
    assert not window.has(103)


# -- fragments


@given(st.binary(min_size=1, max_size=5000), st.integers(1, 2000), st.randoms(use_true_random=False))
def test_pieces_in_any_order_and_twice_are_the_frame(frame: bytes, size: int, random: object) -> None:
    pieces = cut(frame, size)
    assert len(pieces) <= 255
    if len(pieces) == 1:
        return
    order = list(enumerate(pieces, 1)) * 2
    random.shuffle(order)  # type: ignore[attr-defined]
    joiner = Joiner()
    for which, piece in order:
        found = joiner.join(7, len(pieces), which, piece, 0)
        if found is not None:
            assert found == frame
            return
    pytest.fail("not whole")


def test_senseless_fragments_are_refused() -> None:
    joiner = Joiner()
    joiner.join(1, 3, 1, b"aaaa", 0)
    for count, which, piece in ((3, 0, b"x"), (3, 4, b"x"), (4, 2, b"aaaa"), (3, 2, b"bbb"), (3, 2, b"")):
        with pytest.raises(Refused):
            joiner.join(1, count, which, piece, 0)
    assert joiner.join(1, 3, 2, b"bbbb", 0) is None
    assert joiner.join(1, 3, 3, b"c", 0) == b"aaaabbbbc"


def test_incomplete_frames_are_bounded_in_number_bytes_and_time() -> None:
    joiner = Joiner()
    for number in range(1, 100):
        joiner.join(number, 2, 1, b"a", 0)
    assert len(joiner) == INCOMPLETE_MAX
    joiner.expire(AGE_NS_MAX)
    assert len(joiner) == 0
    assert joiner.dropped == 99
    for which in (1, 2):
        joiner.join(1, 4, which, bytes(30_000), 0)
    with pytest.raises(Refused, match="bytes"):
        joiner.join(1, 4, 3, bytes(30_000), 0)


# -- encryption


@pytest.mark.parametrize("hash_name", HASHES)
@pytest.mark.parametrize("cipher", CIPHER_KEY_BYTES)
def test_a_packet_is_salt_cbc_and_hmac_over_both(cipher: str, hash_name: str) -> None:
    """The packet is opened here with AES-CBC and HMAC alone."""
    size = CIPHER_KEY_BYTES[cipher]
    sealing = make_cipher(cipher, hash_name, KEY, bytes(16))
    salts = set()
    for packet in (b"first", b"second", bytes(1409 + 14)):
        datagram = sealing.seal(packet)
        mac_bytes = hashlib.new(hash_name).digest_size
        body, mac = datagram[:-mac_bytes], datagram[-mac_bytes:]
        assert mac == hmac.new(KEY, body, hash_name).digest()
        salts.add(body[:16])
        padded = Cipher(AES(KEY[:size]), CBC(body[:16])).decryptor().update(body[16:])
        assert padded[: -padded[-1]] == packet
        assert sealing.open(datagram) == packet
    assert len(salts) == 3


@pytest.mark.parametrize("names", [("aes256", "sha256"), ("none", "sha256")])
def test_nothing_altered_is_opened(names: tuple[str, str]) -> None:
    sealing = make_cipher(*names, KEY, bytes(16))
    datagram = sealing.seal(b"packet of some size")
    for at in range(len(datagram)):
        altered = bytearray(datagram)
        altered[at] ^= 1
        assert sealing.open(bytes(altered)) is None
    for length in range(len(datagram)):
        assert sealing.open(datagram[:length]) is None
    assert make_cipher(*names, KEY[1:], bytes(16)).open(datagram) is None
    assert sealing.open(datagram) == b"packet of some size"


@given(st.integers(100, 9000), st.sampled_from(["none", *CIPHER_KEY_BYTES]), st.sampled_from(sorted(HASHES)))
def test_room_is_the_largest_packet_that_fits(size: int, cipher: str, hash_name: str) -> None:
    sealing = make_cipher(cipher, hash_name, KEY, bytes(16))
    room = sealing.room(size)
    assert len(sealing.seal(bytes(room))) <= size
    assert len(sealing.seal(bytes(room + 1))) > size


def test_a_piece_at_mtu_1500_has_1409_bytes() -> None:
    assert make_cipher("aes256", "sha256", KEY, bytes(16)).room(1472) - wire.DATA_HEADER_BYTES == 1409


# -- compression


@pytest.mark.parametrize(
    ("number", "name", "unpack"),
    [(1, "zlib", zlib.decompress), (5, "lzma", lzma.decompress), (6, "bzip2", bz2.decompress)],
)
def test_codecs_of_the_standard_library(number: int, name: str, unpack: object) -> None:
    compress = compressor(name, 0)
    assert compress is not None
    frame = b"a frame" * 1000
    assert unpack(compress(frame)) == frame  # type: ignore[operator]
    assert decompress(number, compress(frame)) == frame
    with pytest.raises(Unpackable, match="too_large"):
        decompress(number, compress(bytes(1_000_000)))
    with pytest.raises(Unpackable, match="broken"):
        decompress(number, b"nonsense")


def test_an_unknown_codec_is_refused_by_name() -> None:
    for number, why in ((4, "unknown"), (200, "unknown")):
        with pytest.raises(Unpackable, match=why):
            decompress(number, b"data")


# -- path MTU


def _search(path: PathMtu, passes: int, now_ns: int, floor_passes: bool = True) -> int:
    """Answer what passes until the search rests; how long it took."""
    begun_ns = now_ns
    for _ in range(1000):
        if path.phase is not Phase.SEARCH:
            break
        for size in path.probes(now_ns):
            if size <= passes and (size > path.floor or floor_passes):
                path.answered(size, now_ns + MS)
        now_ns = max(now_ns, min(path.due_ns, now_ns + 1000 * MS))
    return now_ns - begun_ns


@given(st.integers(548, 8972))
def test_the_search_finds_what_passes(passes: int) -> None:
    path = PathMtu(548, 8972, 30_000 * MS)
    path.start(0)
    took_ns = _search(path, passes, 0)
    assert passes - 16 <= path.size <= passes
    assert took_ns < 6_000 * MS


def test_where_nothing_comes_through_no_size_is_refuted() -> None:
    path = PathMtu(548, 1472, 30_000 * MS)
    path.start(0)
    for turn in range(3 * TRIES):
        assert path.probes(turn * 100 * MS) == (548, 1472)


def test_a_size_that_no_longer_passes_is_given_up() -> None:
    path = PathMtu(548, 1472, 30_000 * MS)
    path.start(0)
    _search(path, 1472, 0)
    assert path.size == 1472
    assert path.verify(MS) == 1472
    path.answered(1472, MS)
    for turn in range(3):
        path.verify(turn * 1000 * MS)
    assert path.size == 1472
    _search(path, 1300, 3000 * MS)
    assert 1284 <= path.size <= 1300


def test_a_size_that_the_kernel_refuses_is_given_up_at_once() -> None:
    path = PathMtu(548, 1472, 30_000 * MS)
    path.start(0)
    _search(path, 1472, 0)
    path.too_large(1472, MS)
    assert path.size == 548
    _search(path, 1400, MS)
    assert 1384 <= path.size <= 1400


def test_more_is_tried_again_after_the_interval() -> None:
    path = PathMtu(548, 1472, 30_000 * MS)
    path.start(0)
    _search(path, 1000, 0)
    assert path.probes(path.due_ns) == (548, 1472)
