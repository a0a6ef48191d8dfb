"""The judge of recipes lets pass what is right, and finds each rule broken."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.checker.recipes.history import Call, read
from tests.checker.recipes.judge import faults, notes

A, B, C = "n1.1", "n2.2", "n3.3"


class Story:
    """Calls one after the other, each from one moment to the next."""

    def __init__(self, recipe: str) -> None:
        self.recipe = recipe
        self.calls: list[Call] = []

    def did(self, who: str, what: tuple[Any, ...], result: Any = None) -> Story:
        """A call with its answer."""
        began = 10 * len(self.calls)
        self.calls.append(Call(self.recipe, who, what, began, began + 5, result))
        return self

    def tried(self, who: str, what: tuple[Any, ...]) -> Story:
        """A call without an answer."""
        began = 10 * len(self.calls)
        self.calls.append(Call(self.recipe, who, what, began, failed=began + 5))
        return self

    def faults(self, *finals: Any) -> list[str]:
        """What the judge says of it."""
        if self.recipe == "notes":
            return notes(self.calls, finals)
        return faults({self.recipe: self.calls}, {self.recipe: finals})


def register() -> Story:
    return Story("dict:e1:7").did(A, ("put", "a")).did(B, ("get",), "a").did(B, ("put_if", "a", "b"), True)


def lock() -> Story:
    return Story("lock:e1").did(A, ("acquire",), 1).did(A, ("release", 1), True).did(B, ("acquire",), 2)


def queue() -> Story:
    return Story("queue:e1").did(A, ("put", "x"), 1).did(A, ("put", "y"), 2).did(B, ("get",), [1, "x"])


RIGHT = {
    "a register": register().did(C, ("get",), "b"),
    "a write without an answer that is seen": register().tried(A, ("put", "c")).did(C, ("get",), "c"),
    "a write without an answer that is not": register().tried(A, ("put", "c")).did(C, ("get",), "b"),
    "a lock": lock(),
    "a holder that was cut off": lock().did(C, ("acquire",), 3).did(B, ("release", 2), False),
    "a token that nobody knows": lock().tried(A, ("acquire",)).did(B, ("release", 2), True).did(C, ("acquire",), 4),
    "two permits": Story("semaphore:e1").did(A, ("acquire",), 1).did(B, ("acquire",), 2).did(A, ("release", 1), True),
    "a queue": queue().did(B, ("done", 1), True).did(C, ("get",), [2, "y"]).did(C, ("get",), None),
    "an item given back": queue().did(B, ("back", 1), True).did(C, ("get",), [1, "x"]),
    "a worker that was cut off": queue().did(C, ("get",), [1, "x"]).did(B, ("done", 1), False),
    "an item that was put without an answer": queue().tried(A, ("put", "z")).did(B, ("get",), [2, "y"])
    .did(B, ("get",), [3, "z"]),
    "an item that somebody may have had": Story("queue:e1").did(A, ("put", "x"), 1).did(A, ("put", "y"), 2)
    .tried(C, ("get",)).did(B, ("get",), [2, "y"]),
    "once": Story("once:e1.0").did(A, ("run",), "by a").did(B, ("run",), "by a"),
}  # fmt: skip
WRONG = {
    "a stale read": register().did(C, ("get",), "a"),
    "a value that nobody wrote": register().did(C, ("get",), "c"),
    "a comparison that was not true": register().did(C, ("put_if", "a", "c"), True),
    "a write that is seen and then not": register().tried(A, ("put", "c")).did(C, ("get",), "c").did(C, ("get",), "b"),
    "a token that goes back": lock().did(B, ("release", 2), True).did(C, ("acquire",), 1),
    "a token that is given twice": lock().did(B, ("release", 2), True).did(C, ("acquire",), 2),
    "two holders": lock().did(C, ("acquire",), 3).did(B, ("release", 2), True),
    "three of two permits": Story("semaphore:e1").did(A, ("acquire",), 1).did(B, ("acquire",), 2)
    .did(C, ("acquire",), 3).did(A, ("release", 1), True).did(B, ("release", 2), True).did(C, ("release", 3), True),
    "an item for two": queue().did(C, ("get",), [1, "x"]).did(B, ("done", 1), True),
    "an item that is done and comes again": queue().did(B, ("done", 1), True).did(C, ("get",), [1, "x"]),
    "items out of order": Story("queue:e1").did(A, ("put", "x"), 1).did(A, ("put", "y"), 2).did(B, ("get",), [2, "y"]),
    "one item twice": queue().did(B, ("get",), [2, "x"]),
    "an item that changes": queue().did(B, ("back", 1), True).did(C, ("get",), [1, "z"]),
    "a queue that is not empty": queue().did(C, ("get",), None),
    "numbers out of order": Story("queue:e1").did(A, ("put", "x"), 2).did(B, ("put", "y"), 1),
    "a barrier for two": Story("barrier:e1").did(A, ("wait",)),
    "once for two": Story("once:e1.0").did(A, ("run",), "by a").did(B, ("run",), "by b"),
}  # fmt: skip


@pytest.mark.parametrize("story", RIGHT.values(), ids=RIGHT)
def test_what_is_right_passes(story: Story) -> None:
    assert story.faults() == []


@pytest.mark.parametrize("story", WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_found(story: Story) -> None:
    assert story.faults()


def counted() -> Story:
    return Story("counter:e1").did(A, ("add",), 1).tried(B, ("add",)).did(C, ("get",), 1).did(A, ("add",), 2)


@pytest.mark.parametrize(
    ("story", "finals", "is_right"),
    [
        (counted(), (2, 2, 2), True),
        (counted(), (3, 3, 3), True),
        (counted(), (1, 1, 1), False),
        (counted(), (4, 4, 4), False),
        (counted(), (2, 3, 2), False),
        (counted().did(B, ("add",), 2), (2, 2, 2), False),
        (counted().did(B, ("get",), 1), (2, 2, 2), False),
        (queue(), (0,), False),
        (queue().did(B, ("get",), [2, "y"]), (0,), True),
    ],
)
def test_what_is_there_at_the_end(story: Story, finals: Sequence[int], is_right: bool) -> None:
    assert (story.faults(*finals) == []) is is_right


@pytest.mark.parametrize(
    ("finals", "is_right"),
    [
        ([["a", "c"]] * 3, True),
        ([["a", "b", "c"]] * 3, True),
        ([["b", "a", "c"]] * 3, True),
        ([["a"]] * 3, False),
        ([["c", "a"]] * 3, False),
        ([["a", "c", "a"]] * 3, False),
        ([["a", "c"], ["a", "c"], ["a", "b", "c"]], False),
    ],
)
def test_notes(finals: list[list[str]], is_right: bool) -> None:
    story = Story("notes").did(A, ("add", "a"), 1).tried(B, ("add", "b")).did(C, ("add", "c"), 2)
    assert (story.faults(*finals) == []) is is_right


def test_a_barrier_lets_through_who_waits_together() -> None:
    calls = [Call("barrier:e1", who, ("wait",), began, 20) for began, who in enumerate((A, B, C))]
    assert faults({"barrier:e1": calls}, {}) == []
    gone = replace(calls[2], ended=10**30, failed=15)
    assert faults({"barrier:e1": [*calls[:2], gone]}, {}) == [], "it may have been counted"
    late = replace(calls[2], began=30, ended=40)
    assert len(faults({"barrier:e1": [*calls[:2], late]}, {})) == 3


def test_the_notes_of_calls_are_read(tmp_path: Path) -> None:
    lines = [
        ["begin", "1", "lock:e1", A, ["acquire"], 5],
        ["begin", "2", "queue:e1", A, ["put", "x"], 6],
        ["end", "1", 3, 7],
        ["fail", "2", "Timeout", 8],
        ["begin", "3", "lock:e1", A, ["release", 3], 9],
    ]
    (tmp_path / "log").write_text("".join(json.dumps(line) + "\n" for line in lines) + '["end", "3", tr')
    calls = read([tmp_path / "log"])
    assert [(call.what, call.result, call.is_known) for call in calls["lock:e1"]] == [
        (("acquire",), 3, True), (("release", 3), None, False),
    ]  # fmt: skip
    assert calls["queue:e1"][0].failed == 8
