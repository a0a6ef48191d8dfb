"""Compiled modules are taken only where they are of just the source that is there."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from pathlib import Path

import pytest

import rondo
import services
from rondo.node import compiled


def made(directory: Path, digest: str) -> compiled.Finder:
    (directory / compiled.DIGEST).write_text(digest, encoding="ascii")
    return compiled.Finder(directory)


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


def test_the_library_of_this_source_is_found(tmp_path: Path) -> None:
    finder = made(tmp_path, compiled.digest(compiled.sources()))
    spec = finder.find_spec("services.totem.ring.token")
    assert spec is not None
    assert spec.origin == str(tmp_path / "services.totem.ring.token.so")
    assert finder.find_spec(compiled.LIBRARY) is not None
    # Neither what is not compiled, nor what is not Rondo's.
    assert finder.find_spec("services.totem.ring") is None
    assert finder.find_spec("services.sam.manager") is None
    assert finder.find_spec("json") is None


def test_the_library_of_another_source_is_left_alone(tmp_path: Path) -> None:
    finder = made(tmp_path, "0" * 32)
    assert finder.find_spec("services.totem.ring.token") is None
    assert finder.is_stale


def test_without_a_library_the_source_is_taken(tmp_path: Path) -> None:
    finder = compiled.Finder(tmp_path / "nothing")
    assert finder.find_spec("services.totem.ring.token") is None
    assert not finder.is_stale


def test_any_change_of_the_source_counts(tmp_path: Path) -> None:
    one = tmp_path / "one.py"
    one.write_text("a = 1\n")
    before = compiled.digest({"one": one})
    assert compiled.digest({"two": one}) != before
    one.write_text("a = 2\n")
    assert compiled.digest({"one": one}) != before


def test_the_environment_can_say_no(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "meta_path", [finder for finder in sys.meta_path if finder is not compiled.FINDER])
    monkeypatch.setenv(compiled.SWITCH, "no")
    compiled.install()
    assert compiled.FINDER not in sys.meta_path
    monkeypatch.delenv(compiled.SWITCH)
    compiled.install()
    compiled.install()
    assert sys.meta_path.count(compiled.FINDER) == 1
