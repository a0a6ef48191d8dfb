"""Whether what callers saw agrees with some order in which each operation took effect at once (Wing and Gong, 1993).

The history is read once, in the order of time, with all states kept that it may have led to. An operation takes effect
as late as it can: when it ends, or when another one that ends needs it to have been before (Lowe, 2017). So the work
grows with the length of the history, and with what overlaps. An operation whose caller never got an answer may have
taken effect at any time after it began, or never.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

FOR_EVER = 10**30
"""Later than any clock."""
STATES_MAX = 200_000


@dataclass(frozen=True)
class Operation:
    """Of one caller: what, from when to when, and what came of it."""

    who: str
    what: tuple[Any, ...]
    began: int
    ended: int = FOR_EVER
    result: Any = None

    @property
    def has_ended(self) -> bool:
        """Whether the caller got an answer."""
        return self.ended != FOR_EVER


Step = Callable[[Any, Operation], Iterable[Hashable]]
"""A state and an operation: the states that may follow, if it has its result there. None of them: it cannot have."""
Apply = Callable[[Any, Operation], tuple[Hashable, Any]]
"""A state and an operation: the next state, and the result."""
Silent = Callable[[Any], Iterable[Hashable]]
"""States into which a state may go by itself."""
Place = tuple[Hashable, frozenset[int]]
"""A state, and the operations that have begun and have had no effect yet."""


def _never(_: Any) -> Iterable[Hashable]:
    return ()


def first_fault(history: Sequence[Operation], start: Hashable, step: Step, silent: Silent = _never) -> Operation | None:
    """The first operation that cannot have ended as it did; None if all can. Raises OverflowError if there get too many
    states, which says nothing."""
    places: set[Place] = {(start, frozenset())}
    for _, is_end, n in _moments(history):
        if is_end:
            places = _after(history, n, places, step, silent)
            if not places:
                return history[n]
        else:
            places = {(state, todo | {n}) for state, todo in places}
    return None


def _moments(history: Sequence[Operation]) -> list[tuple[int, bool, int]]:
    """All begins and ends. What begins when another one ends overlaps it."""
    begins = [(operation.began, False, n) for n, operation in enumerate(history)]
    ends = [(operation.ended, True, n) for n, operation in enumerate(history) if operation.has_ended]
    return sorted(begins + ends)


def _after(history: Sequence[Operation], n: int, places: set[Place], step: Step, silent: Silent) -> set[Place]:
    """All places in which this operation has had its effect."""
    found: set[Place] = set()
    tried = set(places)
    stack = list(places)
    while stack:
        state, todo = stack.pop()
        if n not in todo:
            found.add((state, todo))
            continue
        reached: list[Place] = [(after, todo) for after in silent(state)]
        reached += [(after, todo - {each}) for each in todo for after in step(state, history[each])]
        for place in reached:
            if place not in tried:
                tried.add(place)
                stack.append(place)
        if len(tried) > STATES_MAX:
            raise OverflowError("too many states")
    return found


def by_result(apply: Apply) -> Step:
    """For what has one result in each state."""

    def step(state: Any, operation: Operation) -> Iterable[Hashable]:
        after, result = apply(state, operation)
        return (after,) if not operation.has_ended or result == operation.result else ()

    return step


def is_linearizable(history: Sequence[Operation], start: Hashable, apply: Apply, silent: Silent = _never) -> bool:
    """Whether all of it can have been. Raises OverflowError."""
    return first_fault(history, start, by_result(apply), silent) is None
