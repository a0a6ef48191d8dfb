"""The states of the recipes travel whole: who waits, what is held, and all numbers that must go on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rondo.recipes.machines import Jobs, Meetings, Number, Permits, Single, Table

A, B = b"author a", b"author b"
RING = 117_702_878_527_156
"""The sequence of a ring of nodes that began with the clock."""
Act = Callable[[Any], object]

STORIES: dict[str, tuple[type[Any], list[Act]]] = {
    "table": (Table, [lambda m: m.put(A, "k", 1), lambda m: m.put(A, 7, [1, 2]), lambda m: m.put_if(B, "k", 1, 2)]),
    "number": (Number, [lambda m: m.add(A, 5), lambda m: m.put(B, 3), lambda m: m.add(A, 1)]),
    "permits": (
        Permits,
        [
            lambda m: m.acquire(A, 1, 1, "a", True, 0), lambda m: m.acquire(B, 1, 1, "b", True, 5),
            lambda m: m.went_on(8), lambda m: m.release(A, 1), lambda m: m.acquire(A, 2, 1, None, True, 3),
            lambda m: m.gone(B),
        ],
    ),
    "meetings": (
        Meetings,
        [
            lambda m: m.arrive(A, 1, 2), lambda m: m.arrive(B, 1, 2), lambda m: m.arrive(A, 2, 3),
            lambda m: m.arrive(A, 3, 3), lambda m: m.withdraw(A, 2), lambda m: m.gone(A),
        ],
    ),
    "jobs": (
        Jobs,
        [
            lambda m: m.take(A, 1, True), lambda m: m.take(B, 1, True), lambda m: m.put(A, "x", 9),
            lambda m: m.put(A, "y", 9), lambda m: m.put(A, "z", 9), lambda m: m.back(A, 1, 1),
            lambda m: m.take(A, 2, True), lambda m: m.gone(B), lambda m: m.done(A, 1), lambda m: m.take(B, 2, True),
        ],
    ),
    "single": (
        Single, [lambda m: m.claim(A, 1), lambda m: m.claim(B, 1), lambda m: m.gone(A), lambda m: m.claim(B, 2),
                 lambda m: m.finish(B, 2, "done")],
    ),
}  # fmt: skip


def everything(machine: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(machine).items() if name != "watchers"}


@pytest.mark.parametrize("recipe", STORIES)
def test_who_gets_the_state_at_any_time_goes_on_alike(recipe: str) -> None:
    kind, acts = STORIES[recipe]
    for moment in range(len(acts) + 1):
        giver, taker = kind(), kind()
        for act in acts[:moment]:
            act(giver)
        taker.restore(iter(list(giver.snapshot())))
        assert everything(taker) == everything(giver)
        for act in acts[moment:]:
            assert act(taker) == act(giver)
        assert everything(taker) == everything(giver)


def test_fencing_tokens_grow_with_the_ring_and_in_a_ring_with_the_clock() -> None:
    def acquire(permits: Permits, number: int, clock_ms: int) -> int:
        token = permits.acquire(A, number, 9, None, False, clock_ms)
        assert token is not None
        return token

    first = Permits()
    first.went_on(RING)
    tokens = [acquire(first, number, clock_ms) for number, clock_ms in enumerate((70, 70, 3, 90))]
    assert tokens == [(RING << 14) + low for low in (71, 72, 73, 91)]
    again = Permits()  # all processes have ended, in the same ring
    again.went_on(RING)
    later = acquire(again, 1, 95)
    assert later > tokens[-1]
    anew = Permits()  # the state was lost with those that had it, and the clock is a minute behind
    anew.went_on(RING + 4)
    assert acquire(anew, 1, 0) > acquire(first, 9, 65_000)
    anew.went_on(4)  # somebody has thrown away what the nodes knew of rings
    last = anew.last_fencing
    assert acquire(anew, 2, 0) == last + 1, "in one state it grows whatever is said"


@pytest.mark.parametrize("ring", [0, 4, RING, (1 << 62), (1 << 64) - 1])
def test_fencing_tokens_are_signed_numbers_of_64_bits(ring: int) -> None:
    permits = Permits()
    permits.went_on(ring)
    token = permits.acquire(A, 1, 1, None, False, (1 << 40) - 1)
    assert token is not None
    assert 0 < token < 1 << 63
    other = Permits()
    other.restore(iter(permits.snapshot()))
    assert everything(other) == everything(permits)


@pytest.mark.parametrize("clock_ms", [-1, 1 << 40, "5", 1.5, None, True])
def test_a_clock_that_no_process_of_this_version_sends_does_no_harm(clock_ms: Any) -> None:
    permits = Permits()
    before = permits.state()
    with pytest.raises(ValueError, match="a time of 40 bits"):
        permits.acquire(A, 1, 1, None, True, clock_ms)
    assert permits.state() == before
