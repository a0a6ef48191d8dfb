"""The README's example is whole: it runs, and it says what to do with every kind of event."""

import ast
import typing

from rondo import events
from tests.documents.blocks import ROOT, blocks
from tests.documents.on_loopback import run_until

(BLOCK,) = [block for block in blocks(ROOT / "README.md") if block.language == "python" and block.goes_on]


def test_the_example_handles_every_event() -> None:
    (match,) = [node for node in ast.walk(ast.parse(BLOCK.text)) if isinstance(node, ast.Match)]
    handled = {
        case.pattern.cls.attr
        for case in match.cases
        if isinstance(case.pattern, ast.MatchClass) and isinstance(case.pattern.cls, ast.Attribute)
    }
    assert handled == {each.__name__ for each in typing.get_args(events.Event)}


def test_the_example_joins_and_hears_itself() -> None:
    first, *_, last = run_until(BLOCK, b"deposit 10")
    assert first[0] == "members are"
    assert last[1] == b"deposit 10"
