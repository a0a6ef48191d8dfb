"""What is compiled, and how it is known of which source the machine code is."""

from __future__ import annotations

import importlib
import pkgutil
import shutil
import subprocess
import sys
from pathlib import Path

import rondo
import services
from rondo.node import compiled


def test_every_module_has_its_source() -> None:
    paths = compiled.sources()
    assert set(compiled.MODULES) <= paths.keys()
    assert {"services.totem.ring.token", "services.totem.wire.frames"} <= paths.keys()
    assert [name for name, path in paths.items() if not path.is_file()] == []


def test_no_class_that_stays_python_is_derived_from_a_compiled_one() -> None:
    """mypyc refuses that when the class is made, so only a run with the library would tell."""
    modules = compiled.sources()
    derived = [
        f"{made.__module__}.{made.__name__} of {base.__module__}.{base.__name__}"
        for package in (rondo, services)
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
        if found.name not in modules and not found.name.endswith("__main__")
        for made in vars(importlib.import_module(found.name)).values()
        if isinstance(made, type) and made.__module__ == found.name
        for base in made.__mro__[1:]
        if base.__module__ in modules
    ]
    assert derived == []


def test_any_change_of_the_source_counts(tmp_path: Path) -> None:
    one = tmp_path / "one.py"
    one.write_text("a = 1\n")
    before = compiled.digest({"one": one})
    assert compiled.digest({"two": one}) != before
    one.write_text("a = 2\n")
    assert compiled.digest({"one": one}) != before


def installed(root: Path) -> Path:
    """A copy of what is compiled, with something in the place of the library; returns one of the sources."""
    for path in compiled.sources().values():
        place = root / path.relative_to(compiled.ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    (root / compiled.path_of(compiled.LIBRARY, compiled.SUFFIX)).write_bytes(b"")
    (root / compiled.DIGEST).write_text(compiled.digest(compiled.sources()), encoding="ascii")
    return root / compiled.path_of("services.totem.ring.token", ".py")


def test_machine_code_of_the_source_beside_it(tmp_path: Path) -> None:
    installed(tmp_path)
    assert compiled.state(tmp_path) == "compiled"


def test_source_that_was_changed_after_it_was_compiled(tmp_path: Path) -> None:
    source = installed(tmp_path)
    source.write_text(source.read_text() + "# A change.\n")
    assert compiled.state(tmp_path) == compiled.COMPILED_OF_OTHER_SOURCE


def test_machine_code_that_does_not_say_of_which_source_it_is(tmp_path: Path) -> None:
    installed(tmp_path)
    (tmp_path / compiled.DIGEST).unlink()
    assert compiled.state(tmp_path) == compiled.COMPILED_OF_OTHER_SOURCE


def test_machine_code_for_another_python_is_none(tmp_path: Path) -> None:
    installed(tmp_path)
    library = tmp_path / compiled.path_of(compiled.LIBRARY, compiled.SUFFIX)
    library.rename(library.with_name("machine_code__mypyc.cpython-39-x86_64-linux-gnu.so"))
    assert compiled.state(tmp_path) == "from source"


def test_no_machine_code_lies_beside_source_that_is_edited() -> None:
    """Python takes machine code before source in the same directory, however old it is."""
    beside = [
        path for package in ("rondo", "services") for path in (compiled.ROOT / package).rglob(f"*{compiled.SUFFIX}")
    ]
    assert beside == []


def test_nothing_has_a_hand_in_imports() -> None:
    code = "import sys; before = list(sys.meta_path); import rondo, services; print(sys.meta_path == before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "True\n"
