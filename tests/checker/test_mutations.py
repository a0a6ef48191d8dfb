"""The checker finds what it is there for, each property by itself, and does not find what is not there."""

from __future__ import annotations

import time

import pytest

from tests.checker import PROPERTIES, check
from tests.checker.mutations import MUTATIONS, Mutation
from tests.checker.stories import LIMITS, story


def _name(mutation: Mutation) -> str:
    return f"{mutation.prop}: {mutation.name}"


@pytest.mark.parametrize("mutation", MUTATIONS, ids=_name)
def test_each_fault_breaks_one_property_and_no_other(mutation: Mutation) -> None:
    good, bad = mutation.traces()
    assert check(good, limits=LIMITS) == []
    assert {violation.prop for violation in check(bad, limits=LIMITS)} == {mutation.prop}
    assert check(bad, limits=LIMITS, without={mutation.prop}) == []
    assert check(bad, limits=LIMITS, only={mutation.prop})


def test_every_property_has_a_fault() -> None:
    assert {mutation.prop for mutation in MUTATIONS} == set(PROPERTIES)


def test_every_property_of_the_ring_is_there() -> None:
    extended_virtual_synchrony = {f"A{n}" for n in range(1, 12)}
    vocabulary = {f"C{n}" for n in range(1, 17)}
    internal = {f"D{n}" for n in range(1, 11)}
    assert set(PROPERTIES) == extended_virtual_synchrony | vocabulary | internal


@pytest.mark.parametrize("seed", range(60))
def test_good_traces_pass(seed: int) -> None:
    assert check(story(seed), limits=LIMITS) == []


def test_a_violation_shows_its_witness() -> None:
    _, bad = next(mutation for mutation in MUTATIONS if mutation.prop == "C5").traces()
    (violation,) = check(bad, limits=LIMITS)
    assert violation.nodes == (2,)
    lines = str(violation).splitlines()
    assert lines[0].startswith("C5: node 2 delivers message ")
    assert len(lines) == 3
    assert lines[1] == lines[2]


def test_an_unknown_property_is_refused() -> None:
    with pytest.raises(ValueError, match="no such property: A99"):
        check([], limits=LIMITS, only={"A99"})


def test_an_empty_trace_has_no_violations() -> None:
    assert check([], limits=LIMITS) == []


def test_time_is_linear_in_the_length() -> None:
    """A trace ten times as long takes ten times as long (with room for noise), not a hundred times."""
    short = story(1, nodes=5, chapters=20)
    long = story(1, nodes=5, chapters=200)

    def seconds(events: list[dict[str, object]]) -> float:
        times = []
        for _ in range(3):
            begin = time.process_time()
            assert check(events, limits=LIMITS) == []
            times.append(time.process_time() - begin)
        return min(times)

    assert seconds(long) / seconds(short) < 4 * len(long) / len(short)
