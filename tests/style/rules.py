"""What is wrong in one source file, by the rules of the package's docstring."""

import ast
import re
from collections.abc import Iterator
from typing import NamedTuple

from rondo.node import compiled

FILE_LINES_MAX = 450
TEST_FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 60

PUBLIC_DESPITE_THE_UNDERSCORE = frozenset(
    {"_replace", "_make", "_asdict", "_fields", "_exit", "_SubParsersAction", "_choices_actions"}
)
"""Documented names of named tuples and of `os`. And of argparse what tells its sub-commands: nothing else does."""

OWN = frozenset({"self", "cls"})

COMPILED = frozenset(str(path.relative_to(compiled.ROOT)) for path in compiled.sources().values())
CONSTANT = re.compile(r"_?[A-Z][A-Z0-9_]*")


class Fault(NamedTuple):
    """One rule broken in one place."""

    line: int
    text: str


def faults_of(source: str, path: str) -> list[Fault]:
    """Every fault of a file. `path` is relative to the top of the repository, and says whether it is a test."""
    most = TEST_FILE_LINES_MAX if path.startswith("tests/") else FILE_LINES_MAX
    count = source.count("\n")
    found = []
    if count > most:
        found.append(Fault(count, f"{count} lines; at most {most}: split it by what it does"))
    tree = ast.parse(source)
    if path in COMPILED:
        found += _loose_constants(tree)
    return sorted([*found, *_long_functions(tree), *_private_reaches(tree)])


def _loose_constants(tree: ast.Module) -> Iterator[Fault]:
    """Assignments of constants without an annotation, in the module itself."""
    for node in tree.body:
        if isinstance(node, ast.Assign):
            for name in (each.id for target in node.targets for each in ast.walk(target) if isinstance(each, ast.Name)):
                if CONSTANT.fullmatch(name):
                    yield Fault(node.lineno, f"{name} is a constant of a compiled module: write {name}: Final = ...")


def _long_functions(tree: ast.AST) -> Iterator[Fault]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            count = (node.end_lineno or node.lineno) - node.lineno + 1
            if count > FUNCTION_LINES_MAX:
                text = f"{node.name} has {count} lines; at most {FUNCTION_LINES_MAX}: name its parts"
                yield Fault(node.lineno, text)


def _private_reaches(tree: ast.Module) -> Iterator[Fault]:
    """Attributes and imports of a private name that this module does not define itself.

    A module may use what it defines: its own classes' attributes, through any variable.
    """
    own = {name for node in ast.walk(tree) for name in _defined(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and _is_private(node.attr) and node.attr not in own:
            if not _is_own(node.value):
                yield Fault(
                    node.lineno, f"{ast.unparse(node)} reaches into another module: give it a public name there"
                )
        elif isinstance(node, ast.ImportFrom) and not (node.module or "").startswith("__"):
            for alias in node.names:
                if _is_private(alias.name) and node.module != "rondo":
                    yield Fault(node.lineno, f"{alias.name} is private to {node.module}: give it a public name there")


def _defined(node: ast.AST) -> Iterator[str]:
    """The names that a node defines, in the module, in a class or on `self`."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and _is_own(node.value):
        yield node.attr


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in PUBLIC_DESPITE_THE_UNDERSCORE


def _is_own(value: ast.expr) -> bool:
    """Whether it is `self`, `cls` or `super()`: a class shares its private names with those that derive from it."""
    if isinstance(value, ast.Call):
        return isinstance(value.func, ast.Name) and value.func.id == "super"
    return isinstance(value, ast.Name) and value.id in OWN
