"""The table of rooms in docs/ARCHITECTURE.md: every package of the tree, with the first sentence of its docstring.

python -m tests.unit.rooms             print it
python -m tests.unit.rooms --write     put it into the document
"""

from __future__ import annotations

import ast
from pathlib import Path

from tests.printed import Printed

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "ARCHITECTURE.md"
BEGIN = "<!-- printed from the packages: python -m tests.unit.rooms --write -->\n"
TESTS = ("bench", "tests/checker", "tests/fuzz", "tests/mutants", "tests/simulation", "tests/style")
"""Rooms of tests that are more than a collection of them."""


def packages() -> list[Path]:
    """The directories of Python modules, in the order of the table."""
    shipped = [init.parent for top in ("services", "rondo") for init in sorted((ROOT / top).rglob("__init__.py"))]
    return shipped + [ROOT / each for each in TESTS]


def sentence(package: Path) -> str:
    """The first sentence of a package's docstring. Raises ValueError if there is none."""
    paragraph = (ast.get_docstring(ast.parse((package / "__init__.py").read_text())) or "").partition("\n\n")[0]
    first = " ".join(paragraph.split()).partition(". ")[0].rstrip(".:")
    if not first:
        raise ValueError(f"{package.relative_to(ROOT)}/__init__.py does not say what is in the room")
    return first


def table() -> str:
    """The table in Markdown."""
    rows = [f"| `{package.relative_to(ROOT)}` | {sentence(package)} |" for package in packages()]
    return "\n".join(["| room | what is in it |", "|---|---|", *rows]) + "\n"


PRINTED = Printed(DOCUMENT, BEGIN, table)

if __name__ == "__main__":
    PRINTED.main(__doc__)
