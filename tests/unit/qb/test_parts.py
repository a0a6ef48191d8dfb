"""Long messages that come in parts."""

import tracemalloc

import pytest

from rondo.protocol.codes import Code
from services.qb_gateway.cpg import parts
from services.qb_gateway.cpg.parts import Held, LongMessage
from services.qb_gateway.wire.cpg import FIRST, LAST, MIDDLE, Part


def test_parts_become_a_message() -> None:
    held = Held()
    message = LongMessage(held, 100)
    assert message.add(Part(6, FIRST, b"ab")) == (Code.OK, None)
    assert message.add(Part(6, MIDDLE, b"cd")) == (Code.OK, None)
    assert held.bytes == 4
    assert message.add(Part(6, LAST, b"ef")) == (Code.OK, b"abcdef")
    assert held.bytes == 0


def test_tiny_parts_take_no_more_memory_than_their_bytes() -> None:
    message = LongMessage(Held(), 100_000)
    message.add(Part(60_000, FIRST, b""))
    tracemalloc.start()
    try:
        for number in range(100_000):
            assert message.add(Part(60_000, MIDDLE, b"." if number % 2 else b"")) == (Code.OK, None)
        assert tracemalloc.get_traced_memory()[0] < 200_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "bad",
    [
        [Part(6, MIDDLE, b"ab")],
        [Part(6, LAST, b"abcdef")],
        [Part(6, FIRST, b"ab"), Part(6, LAST, b"cd")],
        [Part(6, FIRST, b"ab"), Part(7, LAST, b"cdef")],
        [Part(6, FIRST, b"ab"), Part(6, MIDDLE, b"cdefg")],
    ],
)
def test_parts_that_do_not_fit_are_refused_and_forgotten(bad: list[Part]) -> None:
    held = Held()
    message = LongMessage(held, 100)
    *good, last = bad
    for part in good:
        assert message.add(part)[0] == Code.OK
    assert message.add(last) == (Code.INVALID_PARAM, None)
    assert held.bytes == 0
    assert message.add(Part(6, LAST, b"ef")) == (Code.INVALID_PARAM, None)


def test_a_message_that_is_too_long_is_refused_with_its_first_part() -> None:
    assert LongMessage(Held(), 100).add(Part(101, FIRST, b"a")) == (Code.TOO_BIG, None)


def test_a_new_first_part_begins_anew() -> None:
    message = LongMessage(Held(), 100)
    message.add(Part(6, FIRST, b"ab"))
    message.add(Part(3, FIRST, b"x"))
    assert message.add(Part(3, LAST, b"yz")) == (Code.OK, b"xyz")


def test_when_all_programs_together_hold_too_much_another_one_has_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "HELD_BYTES_MAX", 3)
    held = Held()
    first, second = LongMessage(held, 100), LongMessage(held, 100)
    first.add(Part(9, FIRST, b"abcd"))
    assert second.add(Part(9, FIRST, b"abcd")) == (Code.TRY_AGAIN, None)
    first.drop()
    assert second.add(Part(9, FIRST, b"abcd")) == (Code.OK, None)
