"""`extend_u32` against Corosync's way to compare sequence numbers, over every place where they wrap or change rule."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.totem.wire.base import U32_MASK, extend_u32
from tests.unit.wire.strategies import reproducible, u32

WINDOW = 0x10000
"""Corosync's rule tells the order of two numbers that are at most this far apart; its own window is 16384."""
TURNS = (0x8000_0000, 0x8001_0000, 0x1_0000_0000, 0x1_0001_0000, 0x1_8000_0000, 0x2_0000_0000, 1 << 40)
"""Where the rule of comparison, or the number of bits, changes."""
OFFSETS = (-WINDOW, -WINDOW + 1, -16385, -16384, -2, -1, 0, 1, 2, 16383, 16384, WINDOW - 1, WINDOW)


def corosync_less(a: int, b: int) -> bool:
    """Corosync's "less than" of two u32: both less 0x10000, as u32, as soon as one is above 0x80000000."""
    if a > 0x8000_0000 or b > 0x8000_0000:
        return (a - 0x10000) & U32_MASK < (b - 0x10000) & U32_MASK
    return a < b


def agree(true_a: int, true_b: int, near: int) -> bool:
    """Whether both rules say the same of two numbers that went over the wire as 32 bits."""
    a, b = true_a & U32_MASK, true_b & U32_MASK
    return (extend_u32(a, near) < extend_u32(b, near)) == corosync_less(a, b) == (true_a < true_b)


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("near_offset", OFFSETS)
def test_both_rules_agree_around_every_turn(turn: int, near_offset: int) -> None:
    for offset_a in OFFSETS:
        for offset_b in OFFSETS:
            if abs(offset_a - offset_b) <= WINDOW:
                assert agree(turn + offset_a, turn + offset_b, turn + near_offset)


@pytest.mark.parametrize("turn", [0x8000_0000, 0x1_0000_0000])
def test_both_rules_agree_at_every_distance_around_a_turn(turn: int) -> None:
    for distance in range(0, WINDOW + 1, 7):
        for a in (turn - distance, turn - distance // 2, turn - 1, turn):
            assert agree(a, a + distance, turn)
            assert agree(a + distance, a, turn)


@reproducible
@given(st.integers(0, 1 << 45), st.integers(-WINDOW, WINDOW), st.integers(-WINDOW, WINDOW))
@example(0xFFFF_FFFF, WINDOW, 0)
def test_both_rules_agree_anywhere(a: int, distance: int, near_offset: int) -> None:
    b = max(0, a + distance)
    assert agree(a, b, a + near_offset)


def test_the_rules_part_one_beyond_the_window() -> None:
    """So 0x10000 is the true bound of Corosync's rule, and not one that happens to pass."""
    assert agree(0xFFFF_FFFF, 0xFFFF_FFFF + WINDOW, 0xFFFF_FFFF)
    assert not agree(0xFFFF_FFFF, 0xFFFF_FFFF + WINDOW + 1, 0xFFFF_FFFF)


@reproducible
@given(u32, st.integers(-1, 1 << 45))
@example(0x8000_0000, 0)
@example(0x7FFF_FFFF, 0xFFFF_FFFF)
def test_the_extended_number_is_the_nearest_with_these_bits(value: int, near: int) -> None:
    extended = extend_u32(value, near)
    assert extended & U32_MASK == value
    assert -0x8000_0000 <= extended - near < 0x8000_0000


def test_the_initial_aru_is_minus_one() -> None:
    assert extend_u32(0xFFFF_FFFF, 0) == -1
    assert extend_u32(0xFFFF_FFFF, -1) == -1
    assert extend_u32(0, -1) == 0
    assert corosync_less(0xFFFF_FFFF, 0)
    assert corosync_less(0xFFFF_FFFF, 1)
