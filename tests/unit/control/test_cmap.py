"""Keys: types, names, what programs cannot change, what changed, and the snapshot."""

from __future__ import annotations

import random

import pytest

from services.control.cmap.keymap import BYTES_MAX, KEYS_MAX, Change, Keymap
from services.control.cmap.names import check_name, is_read_only
from services.control.cmap.values import VALUE_BYTES_MAX, CmapError, Refusal, Type, Value, added, make


def _refusal(call: object, *arguments: object) -> Refusal:
    with pytest.raises(CmapError) as caught:
        call(*arguments)  # type: ignore[operator]
    return caught.value.refusal


@pytest.mark.parametrize(
    ("kind", "lowest", "highest", "width"),
    [
        (Type.I8, -128, 127, 1),
        (Type.U8, 0, 255, 1),
        (Type.I16, -(1 << 15), (1 << 15) - 1, 2),
        (Type.U16, 0, (1 << 16) - 1, 2),
        (Type.I32, -(1 << 31), (1 << 31) - 1, 4),
        (Type.U32, 0, (1 << 32) - 1, 4),
        (Type.I64, -(1 << 63), (1 << 63) - 1, 8),
        (Type.U64, 0, (1 << 64) - 1, 8),
    ],
)
def test_integers_have_their_range_and_wrap_around(kind: Type, lowest: int, highest: int, width: int) -> None:
    assert make(kind, lowest) == Value(kind, lowest)
    assert make(kind, highest).bytes == width
    assert _refusal(make, kind, lowest - 1) == Refusal.INVALID_PARAM
    assert _refusal(make, kind, highest + 1) == Refusal.INVALID_PARAM
    assert added(Value(kind, highest), 1) == Value(kind, lowest)
    assert added(Value(kind, lowest), -1) == Value(kind, highest)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Type.U32, "1"),
        (Type.U32, True),
        (Type.U32, 1.0),
        (Type.FLT, "1"),
        (Type.FLT, 1e300),
        (Type.DBL, 10**400),
        (Type.STR, b"x"),
        (Type.STR, "a\0b"),
        (Type.STR, "\ud800"),
        (Type.STR, "x" * VALUE_BYTES_MAX),
        (Type.BIN, "x"),
        (Type.BIN, bytes(VALUE_BYTES_MAX + 1)),
        (0, 1),
        (13, 1),
    ],
)
def test_a_value_that_is_none_of_its_type_is_refused(kind: int, value: object) -> None:
    assert _refusal(make, kind, value) == Refusal.INVALID_PARAM


def test_other_types() -> None:
    assert make(Type.FLT, 0.1).value == pytest.approx(0.1, rel=1e-6)
    assert make(Type.FLT, 0.1).value != 0.1
    assert make(Type.DBL, 0.1).value == 0.1
    assert make(Type.STR, "n1").bytes == 3
    assert make(Type.BIN, b"ab").bytes == 2
    assert (make(Type.FLT, 1).bytes, make(Type.DBL, 1).bytes) == (4, 8)
    assert _refusal(added, Value(Type.STR, "1"), 1) == Refusal.INVALID_PARAM


@pytest.mark.parametrize("name", ["ab", "x" * 256, "with blank", "täst", "", "a\nb", None])
def test_names_that_are_none(name: object) -> None:
    assert _refusal(check_name, name) == Refusal.NAME_TOO_LONG


def test_names() -> None:
    for name in ("abc", "x" * 255, "a.b_c-d/e:f"):
        assert check_name(name) == name


@pytest.mark.parametrize(
    ("name", "read_only"),
    [
        ("nodelist.node.0.nodeid", True),
        ("runtime.config.totem.token", True),
        ("totem.transport", True),
        ("totem.token", False),
        ("quorum.wait_for_all", True),
        ("quorum.expected_votes", False),
        ("my.key", False),
    ],
)
def test_what_programs_cannot_change(name: str, read_only: bool) -> None:
    assert is_read_only(name) == read_only
    keys = Keymap()
    keys.put(name, Value(Type.U8, 1))
    if read_only:
        assert _refusal(keys.set, name, Type.U8, 2) == Refusal.ACCESS
        assert _refusal(keys.increment, name) == Refusal.ACCESS
        assert _refusal(keys.delete, name) == Refusal.ACCESS
        assert keys.get(name) == Value(Type.U8, 1)
    else:
        keys.set(name, Type.U8, 2)
        assert keys.increment(name, 2) == Value(Type.U8, 4)
        keys.delete(name)
        assert name not in keys


def test_changes_have_old_and_new_and_only_what_changed() -> None:
    keys = Keymap()
    keys.set("my.key", Type.U32, 1)
    keys.set("my.key", Type.U32, 1)
    keys.set("my.key", Type.U8, 1)
    keys.increment("my.key")
    keys.delete("my.key")
    u8, u8_2, u32 = Value(Type.U8, 1), Value(Type.U8, 2), Value(Type.U32, 1)
    assert keys.changes == [
        Change("my.key", None, u32),
        Change("my.key", u32, u8),
        Change("my.key", u8, u8_2),
        Change("my.key", u8_2, None),
    ]


def test_what_does_not_exist() -> None:
    keys = Keymap()
    assert keys.get("my.key") is None
    assert _refusal(keys.delete, "my.key") == Refusal.NOT_EXIST
    assert _refusal(keys.increment, "my.key") == Refusal.NOT_EXIST
    assert not keys.changes


def test_keys_below_a_prefix_ascend_while_the_map_changes() -> None:
    keys = Keymap()
    for name in ("b.2", "a.1", "b.10", "b.1", "c.1"):
        keys.set(name, Type.U8, 1)
    found = []
    for name, _ in keys.items("b."):
        found.append(name)
        if name == "b.1":
            keys.delete("b.10")
            keys.set("b.3", Type.U8, 1)
    assert found == ["b.1", "b.2"]
    assert [name for name, _ in keys.items()] == ["a.1", "b.1", "b.2", "b.3", "c.1"]


def test_keys_below_a_prefix_are_replaced() -> None:
    keys = Keymap()
    one, two = Value(Type.U8, 1), Value(Type.U8, 2)
    keys.replace_below("run.", {"run.a": one, "run.b": one})
    keys.put("other", one)
    keys.changes.clear()
    keys.replace_below("run.", {"run.b": two, "run.c": one})
    assert keys.changes == [
        Change("run.a", one, None),
        Change("run.b", one, two),
        Change("run.c", None, one),
    ]


def test_the_map_is_bounded_in_keys_and_in_bytes() -> None:
    keys = Keymap()
    for number in range(KEYS_MAX):
        keys.set(f"k.{number}", Type.U8, 1)
    assert _refusal(keys.set, "one.more", Type.U8, 1) == Refusal.NO_SPACE
    keys.set("k.1", Type.U8, 2)
    keys = Keymap()
    big = bytes(VALUE_BYTES_MAX)
    number = 0
    while (number + 1) * (VALUE_BYTES_MAX + 8) <= BYTES_MAX:
        keys.set(f"big.{number:04}", Type.BIN, big)
        number += 1
    assert _refusal(keys.set, "big.last", Type.BIN, big) == Refusal.NO_SPACE
    keys.delete("big.0000")
    keys.set("big.last", Type.BIN, big)


def test_a_snapshot_is_the_same_map() -> None:
    rng = random.Random(3)
    keys = Keymap()
    values: list[tuple[Type, object]] = [
        (Type.I8, -1), (Type.U64, 1 << 63), (Type.FLT, 0.5), (Type.STR, "ä"), (Type.BIN, b"\0")
    ]  # fmt: skip
    for number in range(200):
        keys.set(f"k.{rng.randrange(100)}", *rng.choice(values))
        if number % 3 == 0 and f"k.{number % 100}" in keys:
            keys.delete(f"k.{number % 100}")
    again = Keymap.restore(keys.snapshot())
    assert list(again.items()) == list(keys.items())
    assert not again.changes
    assert again.snapshot() == keys.snapshot()
