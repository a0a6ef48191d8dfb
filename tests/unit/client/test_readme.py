"""The README's example is whole: it is Python, and it says what to do with every kind of event."""

import ast
import typing
from pathlib import Path

from rondo import events

README = Path(__file__).parents[3] / "README.md"


def test_the_example_handles_every_event() -> None:
    block = README.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    (match,) = [node for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Match)]
    handled = {
        case.pattern.cls.attr
        for case in match.cases
        if isinstance(case.pattern, ast.MatchClass) and isinstance(case.pattern.cls, ast.Attribute)
    }
    assert handled == {each.__name__ for each in typing.get_args(events.Event)}
