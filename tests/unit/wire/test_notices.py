"""Notices: what they carry, and that for everybody else they are hold cancels of a ring that is nobody's."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.totem.wire.base import Malformed
from services.totem.wire.frames import HoldCancel, decode, encode_hold_cancel
from services.totem.wire.notices import (
    NOTICE_RING,
    PROBE_SIZE_MIN,
    KeyNotice,
    Probe,
    decode_notice,
    encode_keys,
    encode_probe,
    is_notice,
)

U32 = st.integers(0, 2**32 - 1)
PROBES = st.builds(Probe, U32, U32, U32, st.booleans(), st.booleans())
IDENTITIES = st.lists(st.binary(min_size=8, max_size=8), min_size=1, max_size=8, unique=True)
KEYS = st.builds(lambda sender, valid, i: KeyNotice(sender, tuple(valid), valid[i % len(valid)]), U32, IDENTITIES, U32)


@given(PROBES, st.integers(0, 9000))
def test_probes_come_back_as_they_were(probe: Probe, size: int) -> None:
    frame = encode_probe(probe, size)
    assert len(frame) == max(size, PROBE_SIZE_MIN)
    assert is_notice(frame)
    assert decode_notice(frame) == probe


@given(KEYS)
def test_keys_come_back_as_they_were(notice: KeyNotice) -> None:
    frame = encode_keys(notice)
    assert is_notice(frame)
    assert decode_notice(frame) == notice


@given(st.one_of(PROBES.map(encode_probe), KEYS.map(encode_keys)))
def test_the_ring_sees_a_hold_cancel_that_is_not_of_any_ring(frame: bytes) -> None:
    seen = decode(frame)
    assert isinstance(seen, HoldCancel)
    assert seen.ring == NOTICE_RING
    assert seen.ring.representative == 0
    assert not is_notice(encode_hold_cancel(HoldCancel(seen.sender, NOTICE_RING._replace(sequence=4))))


@given(st.one_of(PROBES.map(encode_probe), KEYS.map(encode_keys)), st.binary(max_size=60))
def test_cut_or_altered_they_are_refused_or_understood_but_never_break_anything(frame: bytes, noise: bytes) -> None:
    for size in range(25, len(frame)):
        with pytest.raises(Malformed):
            decode_notice(frame[:size])
    altered = frame[:25] + bytes(a ^ b for a, b in zip(frame[25:], noise.ljust(len(frame), b"\0"), strict=False))
    with contextlib.suppress(Malformed):
        decode_notice(altered)


def test_another_version_is_left_alone() -> None:
    frame = encode_probe(Probe(1, 2, 3, multicast=False))
    assert decode_notice(frame[:25] + b"\x02" + frame[26:]) is None
