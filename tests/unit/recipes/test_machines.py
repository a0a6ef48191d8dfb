"""The states of the recipes travel whole: who waits, what is held, and all numbers that must go on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rondo.recipes.machines import Jobs, Meetings, Number, Permits, Single, Table

A, B = b"author a", b"author b"
Act = Callable[[Any], object]

STORIES: dict[str, tuple[type[Any], list[Act]]] = {
    "table": (Table, [lambda m: m.put(A, "k", 1), lambda m: m.put(A, 7, [1, 2]), lambda m: m.put_if(B, "k", 1, 2)]),
    "number": (Number, [lambda m: m.add(A, 5), lambda m: m.put(B, 3), lambda m: m.add(A, 1)]),
    "permits": (
        Permits,
        [
            lambda m: m.acquire(A, 1, 1, "a", True), lambda m: m.acquire(B, 1, 1, "b", True),
            lambda m: m.release(A, 1), lambda m: m.acquire(A, 2, 1, None, True), lambda m: m.gone(B),
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
