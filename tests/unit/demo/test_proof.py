"""The proof at the end of the demo finds what is wrong."""

from typing import Any

import pytest

from rondo.demo.proof import prove


def report(history: list[str], **balances: int) -> dict[str, Any]:
    return {"balances": balances or {"anna": 60, "bert": 40}, "history": history}


GOOD = {1: report(["a", "b"]), 2: report(["a", "b"])}
DONE = {"node 1": ["a"], "node 2": ["b"]}


def broken(reports: dict[int, Any], done: dict[str, list[str]]) -> list[str]:
    return [claim.text for claim in prove(reports, done, 100) if not claim.holds]


def test_all_is_well() -> None:
    assert broken(GOOD, DONE) == []
    assert broken(GOOD, {"node 1": ["a"], "node 2": ["b"]}) == [], "a transfer that nobody was told of may be there"


@pytest.mark.parametrize(
    ("reports", "done", "word"),
    [
        (GOOD | {2: report(["b", "a"])}, DONE, "equal"),
        (GOOD | {2: report(["a", "b"], anna=50, bert=50)}, DONE, "equal"),
        (GOOD, DONE | {"node 2": ["c"]}, "1 |2 are missing"),
        (GOOD, DONE | {"node 2": []}, "every application"),
        ({1: report(["a", "b", "a"]), 2: report(["a", "b", "a"])}, DONE, "twice: a"),
        ({1: report(["a", "b"], anna=1), 2: report(["a", "b"], anna=1)}, DONE, "money"),
        ({1: report(["a", "b"], anna=101, bert=-1), 2: report(["a", "b"], anna=101, bert=-1)}, DONE, "money"),
    ],
)
def test_what_is_wrong_is_told(reports: dict[int, Any], done: dict[str, list[str]], word: str) -> None:
    found = broken(reports, done)
    assert len(found) == 1
    assert any(part in found[0] for part in word.split("|"))
