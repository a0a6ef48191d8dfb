"""The targets of the fuzzer with what they begin with, cut and altered. `make fuzz` does this with guidance."""

from __future__ import annotations

import random

import pytest

from tests.fuzz.lines import lines_of, reached
from tests.fuzz.shapes import from_seeds
from tests.fuzz.targets import TARGETS, Target

ALTERATIONS = 300


@pytest.mark.parametrize("target", TARGETS.values(), ids=str)
def test_a_target_raises_nothing(target: Target) -> None:
    randomness = random.Random(target.name)
    seeds = target.seeds()
    for seed in seeds:
        target.run(seed)
    for _ in range(ALTERATIONS):
        data = bytearray(randomness.choice(seeds))
        for _ in range(randomness.randrange(1, 4)):
            if data:
                data[randomness.randrange(len(data))] = randomness.randrange(256)
        target.run(bytes(data[: randomness.randrange(len(data) + 1)]))


def test_lines_are_counted() -> None:
    """Good input alone leaves the refusals out."""
    target = TARGETS["events"]
    some = reached(target, target.seeds()[:1])
    assert some
    assert some < lines_of(target)


def test_structures_are_altered() -> None:
    seeds: list[object] = [[1, [2, b"three"], None]]
    made = {from_seeds(seeds, bytes([0, a, b, c, a, b])) for a in range(5) for b in range(5) for c in range(5)}
    assert len(made) > 10
