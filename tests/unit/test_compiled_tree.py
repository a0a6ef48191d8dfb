"""The copy of the tree in which tests with real processes work is of what is there, and is renewed when it is not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rondo.node import compile as compiler
from rondo.node import compiled
from tests import compiled_tree

MAKEFILE = Path(__file__).parents[2] / "Makefile"
NEVER = "no compiler here"


class Compiler:
    """A stand-in for mypyc. It leaves a library, and counts its calls."""

    def __init__(self) -> None:
        self.made = 0
        self.error: compiler.CannotCompile | None = None

    def make(self, root: Path, directory: Path) -> None:
        self.made += 1
        if self.error is not None:
            raise self.error
        (directory / compiled.path_of(compiled.LIBRARY, compiled.SUFFIX)).write_text("code")
        (directory / compiled.DIGEST).write_text(compiled.digest(compiled.sources(root)), encoding="ascii")


@pytest.fixture(name="root")
def _root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree with the modules that are compiled, and a little more."""
    root = tmp_path / "tree"
    for name in compiled.sources():
        path = root / compiled.path_of(name, ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"NAME = {name!r}\n")
    (root / "tests").mkdir()
    (root / "tests" / "test_one.py").write_text("")
    (root / ".venv").mkdir()
    (root / "bench" / "results").mkdir(parents=True)
    (root / "bench" / "results" / "latency.json").write_text("{}")
    monkeypatch.setattr(compiled_tree, "ROOT", root)
    monkeypatch.setattr(compiled_tree, "TREE", root / "build" / "compiled")
    return root


@pytest.fixture(name="mypyc")
def _mypyc(monkeypatch: pytest.MonkeyPatch) -> Compiler:
    mypyc = Compiler()
    monkeypatch.setattr(compiler, "make", mypyc.make)
    return mypyc


def test_the_copy_has_all_and_its_machine_code(root: Path, mypyc: Compiler) -> None:
    assert compiled_tree.main() == 0
    tree = root / "build" / "compiled"
    assert compiled.is_there(tree)
    assert compiled.is_of_its_source(tree)
    assert (tree / "tests" / "test_one.py").is_file()
    assert (tree / ".venv").samefile(root / ".venv")
    assert (tree / "build").samefile(root / "build")
    assert not (tree / "bench" / "results").exists()
    assert not compiled.is_there(root)
    assert mypyc.made == 1


def test_what_is_current_is_left_as_it_is(root: Path, mypyc: Compiler) -> None:
    compiled_tree.main()
    before = (root / "build" / "compiled").stat().st_ino
    (root / "bench" / "results" / "more.json").write_text("{}")
    assert compiled_tree.main() == 0
    assert (root / "build" / "compiled").stat().st_ino == before
    assert mypyc.made == 1


@pytest.mark.parametrize("name", ["tests/test_one.py", "tests/test_two.py", "pyproject.toml"])
def test_what_is_not_compiled_comes_anew_with_the_same_machine_code(root: Path, mypyc: Compiler, name: str) -> None:
    compiled_tree.main()
    (root / name).write_text("# new\n")
    assert compiled_tree.main() == 0
    tree = root / "build" / "compiled"
    assert (tree / name).read_text() == "# new\n"
    assert compiled.is_of_its_source(tree)
    assert compiled.is_there(tree)
    assert mypyc.made == 1


def test_what_is_gone_is_gone_from_the_copy(root: Path, mypyc: Compiler) -> None:
    compiled_tree.main()
    (root / "tests" / "test_one.py").unlink()
    assert compiled_tree.main() == 0
    assert not (root / "build" / "compiled" / "tests" / "test_one.py").exists()
    assert mypyc.made == 1


def test_a_change_of_a_hot_module_is_compiled(root: Path, mypyc: Compiler) -> None:
    compiled_tree.main()
    (root / compiled.path_of("services.totem.ring.token", ".py")).write_text("NAME = 'another'\n")
    assert compiled_tree.main() == 0
    assert compiled.is_of_its_source(root / "build" / "compiled")
    assert mypyc.made == 2


def test_what_cannot_be_compiled_leaves_the_copy_as_it_was(root: Path, mypyc: Compiler) -> None:
    compiled_tree.main()
    changed = compiled.path_of("services.totem.ring.token", ".py")
    before = (root / changed).read_text()
    (root / changed).write_text("NAME: int = 'text'\n")
    mypyc.error = compiler.CannotCompile("line 1")
    assert compiled_tree.main() == 1
    assert (root / "build" / "compiled" / changed).read_text() == before


def test_without_a_compiler_the_copy_runs_from_source(root: Path, mypyc: Compiler) -> None:
    mypyc.error = compiler.NoCompiler(NEVER)
    assert compiled_tree.main() == compiled_tree.NO_COMPILER
    assert not compiled.is_there(root / "build" / "compiled")
    assert (root / "build" / "compiled" / "tests" / "test_one.py").is_file()
    # The next run tries again.
    assert compiled_tree.main() == compiled_tree.NO_COMPILER
    assert mypyc.made == 2


def test_targets_that_need_machine_code_work_in_the_copy() -> None:
    rules = re.findall(r"^([a-z-]+):([^#=\n]*)##.*\n((?:\t.*\n)+)", MAKEFILE.read_text(encoding="utf-8"), re.MULTILINE)
    found = {name: recipe for name, needs, recipe in rules if "compiled" in needs.split()}
    assert {"cluster", "cluster-slow", "sam", "bench", "chaos"} <= found.keys()
    for name, recipe in found.items():
        for line in recipe.replace("\\\n", " ").splitlines():
            assert line.startswith("\t@$(IN_COPY) "), f"{name}: {line}"
