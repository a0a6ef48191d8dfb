"""Whether what callers saw agrees with some order in which each operation took effect at once (Wing and Gong, 1993).

A search over all orders that respect time, with what was tried already remembered (Lowe, 2017). An operation whose
caller never got an answer may have taken effect at any time after it began, or never.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any

FOR_EVER = 10**9
STATES_MAX = 2_000_000


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


Apply = Callable[[Any, Operation], tuple[Hashable, Any]]
"""A state and an operation: the next state, and the result."""
Silent = Callable[[Any], Iterable[Hashable]]
"""States into which a state may go by itself."""


def is_linearizable(history: list[Operation], start: Hashable, apply: Apply, silent: Silent = lambda _: ()) -> bool:
    """The search. Raises OverflowError if it gets too large, which says nothing."""
    tried: set[tuple[frozenset[int], Hashable]] = set()
    stack: list[tuple[frozenset[int], Hashable]] = [(frozenset(range(len(history))), start)]
    while stack:
        left, state = stack.pop()
        if (left, state) in tried:
            continue
        tried.add((left, state))
        if len(tried) > STATES_MAX:
            raise OverflowError("too many states")
        first_end = min((history[n].ended for n in left if history[n].has_ended), default=None)
        if first_end is None:
            return True
        stack += [(left, after) for after in silent(state)]
        for n in left:
            operation = history[n]
            if operation.began <= first_end:
                after, result = apply(state, operation)
                if not operation.has_ended or result == operation.result:
                    stack.append((left - {n}, after))
    return False
