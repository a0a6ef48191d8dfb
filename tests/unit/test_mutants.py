"""The table of mutants fits the code as it stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutants.mutant import Area, Mutant
from tests.mutants.table import MUTANTS, faults

ROOT = Path(__file__).parents[2]


def test_every_text_that_is_to_be_broken_stands_in_its_file_once() -> None:
    assert faults(ROOT) == []


def test_every_part_of_the_core_is_broken() -> None:
    assert len(MUTANTS) >= 55
    assert {mutant.area for mutant in MUTANTS} == set(Area)
    assert all(mutant.rule and not mutant.rule.endswith(".") for mutant in MUTANTS)


def test_every_area_is_judged_by_tests_that_are_there() -> None:
    missing = [test for area in Area for test in area.tests if not (ROOT / test).exists()]
    assert missing == []


@pytest.mark.parametrize(
    ("old", "new", "tests", "fault"),
    [
        ("x = 1", "x = 2", (), None),
        ("y = 1", "y = 2", (), "holds 'y = 1' 0 times"),
        ("1", "2", (), "holds '1' 2 times"),
        ("x = 1", "x = 1", (), "is not changed"),
        ("x = 1", "x = (", (), "is not Python"),
        ("x = 1", "x = 2", ("tests/none.py::test_it",), "tests/none.py::test_it is not there"),
    ],
)
def test_an_entry_that_does_not_fit_is_told(
    tmp_path: Path, old: str, new: str, tests: tuple[str, ...], fault: str | None
) -> None:
    (tmp_path / "code.py").write_text("x = 1\nz = 1\n")
    found = Mutant(Area.RING, "code.py", old, new, "a rule", tests).fault(tmp_path)
    assert (found is None) if fault is None else (found is not None and fault in found)


def test_breaking_and_mending_a_file(tmp_path: Path) -> None:
    file = tmp_path / "code.py"
    file.write_text("x = 1\nz = 1\n")
    before = Mutant(Area.RING, "code.py", "x = 1", "x = 2", "a rule").apply(tmp_path)
    assert (before, file.read_text()) == ("x = 1\nz = 1\n", "x = 2\nz = 1\n")
