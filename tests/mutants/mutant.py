"""One place of the code, and how to break it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class Area(Enum):
    """A part of the core, with all the tests that judge it."""

    RING = (
        ("tests/unit/ring", "tests/simulation"),
        ("-m", "tests.simulation", "run", "--seeds", "40"),
    )
    SECURITY = (
        ("tests/unit/security", "tests/unit/totem/test_key_change.py", "tests/simulation/test_sealed.py"),
        ("-m", "tests.simulation", "run", "--seeds", "20"),
    )
    GROUPS = (("tests/unit/cpg",), ("-m", "tests.unit.cpg", "--seeds", "150"))
    LOG = (("tests/unit/totem", "tests/unit/cpg"), ("-m", "tests.unit.cpg", "--seeds", "100"))
    GATEWAY = (("tests/unit/gateway",), None)
    CONTROL = (("tests/unit/control", "tests/simulation/test_voting.py"), None)
    RECIPES = (("tests/unit/recipes",), None)
    CLIENT = (("tests/unit/client", "tests/unit/gateway/test_clients.py"), None)

    def __init__(self, tests: tuple[str, ...], seeds: tuple[str, ...] | None) -> None:
        self.tests = tests
        """Paths for pytest, run until the first failure."""
        self.seeds = seeds
        """Arguments of Python for random runs, if these tests pass; None: there are none."""


@dataclass(frozen=True)
class Mutant:
    """`new` instead of `old` in `file` breaks the `rule`."""

    area: Area
    file: str
    """Path in the tree."""
    old: str
    """Stands in the file exactly once. Whole lines, or a part of one."""
    new: str
    rule: str
    """What no longer holds."""
    tests: tuple[str, ...] = ()
    """Tests (pytest's names) that are run first, because they are meant for this rule."""
    harmless: str = ""
    """Why nothing goes wrong if it survives. Empty: it must not."""

    def fault(self, root: Path) -> str | None:
        """What is wrong with the entry, as the tree stands; None if nothing is."""
        path = root / self.file
        if not path.is_file():
            return f"{self.file} is not there"
        text = path.read_text()
        found = text.count(self.old)
        if found != 1:
            return f"{self.file} holds {self.old!r} {found} times, not once"
        if self.new == self.old:
            return f"{self.file}: {self.old!r} is not changed"
        try:
            compile(text.replace(self.old, self.new), self.file, "exec")
        except SyntaxError as error:
            return f"{self.file} with {self.new!r} is not Python: {error}"
        return next((f"{test} is not there" for test in self.tests if not (root / test.split("::")[0]).exists()), None)

    def apply(self, root: Path) -> str:
        """Break the file of the tree at `root`; gives its text from before."""
        path = root / self.file
        text = path.read_text()
        path.write_text(text.replace(self.old, self.new))
        return text
