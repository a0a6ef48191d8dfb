"""Machine code gives each variable one type: a name for a caught exception must not stand for another kind as well.

mypy accepts it; at run time the second kind is a TypeError. It ended the ring process at a packet that could not be
decompressed.
"""

import ast
from pathlib import Path

from rondo.node.compiled import MODULES, PACKAGES

ROOT = Path(__file__).parents[2]


def names_with_several_types(source: str) -> list[str]:
    """Functions in which one name stands for exceptions of several types."""
    found = []
    for function in ast.walk(ast.parse(source)):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        types: dict[str, set[str]] = {}
        for each in ast.walk(function):
            if isinstance(each, ast.ExceptHandler) and each.name and each.type is not None:
                types.setdefault(each.name, set()).add(ast.unparse(each.type))
        found += [f"{function.name}: {name}" for name, kinds in types.items() if len(kinds) > 1]
    return found


def test_a_name_for_an_exception_has_one_type_in_machine_code() -> None:
    files = [ROOT / f"{name.replace('.', '/')}.py" for name in MODULES]
    files += [path for name in PACKAGES for path in (ROOT / name.replace(".", "/")).glob("*.py")]
    assert len(files) > len(MODULES)
    assert {str(path): found for path in files if (found := names_with_several_types(path.read_text()))} == {}


def test_two_types_under_one_name_are_found() -> None:
    body = (
        "def f():\n    try:\n        g()\n    except {} as error:\n        pass\n    except {} as {}:\n        pass\n"
    )
    assert names_with_several_types(body.format("A", "B", "error")) == ["f: error"]
    assert names_with_several_types(body.format("A", "B", "fault")) == []
