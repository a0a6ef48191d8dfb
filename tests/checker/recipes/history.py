"""What callers of recipes noted: a line when a call begins, another when it ends.

A line is a JSON array: `["begin", id, recipe, who, what, ns]`, `["end", id, result, ns]` or `["fail", id, error, ns]`.
Who is a process, `NODE.NUMBER`: one that is killed and started again is another one. A call that has failed, or has no
end, may have taken effect or not. Clocks are those of one machine.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.checker.recipes.linearizability import FOR_EVER, Operation


@dataclass(frozen=True)
class Call:
    """A call of a recipe."""

    recipe: str
    who: str
    what: tuple[Any, ...]
    began: int
    ended: int = FOR_EVER
    """When the caller got an answer."""
    result: Any = None
    failed: int = FOR_EVER
    """When the caller gave up, with an error that leaves it open whether it was done."""

    @property
    def is_known(self) -> bool:
        """Whether the caller got an answer."""
        return self.ended != FOR_EVER

    @property
    def operation(self) -> Operation:
        """For the search."""
        return Operation(self.who, self.what, self.began, self.ended, self.result)


def read(paths: Iterable[Path]) -> dict[str, list[Call]]:
    """The calls of each recipe, in the order of their begins. The last line of a killed process may be half of one."""
    calls: dict[str, Call] = {}
    for path in paths:
        for line in path.read_text().splitlines(keepends=True):
            if line.endswith("\n"):
                _take(calls, *json.loads(line))
    by_recipe: dict[str, list[Call]] = defaultdict(list)
    for call in sorted(calls.values(), key=lambda call: call.began):
        by_recipe[call.recipe].append(call)
    return dict(by_recipe)


def _take(calls: dict[str, Call], kind: str, number: str, *said: Any) -> None:
    if kind == "begin":
        recipe, who, what, at = said
        calls[number] = Call(recipe, who, tuple(what), at)
    elif kind == "end":
        calls[number] = replace(calls[number], result=said[0], ended=said[1])
    else:
        calls[number] = replace(calls[number], failed=said[1])
