"""Compile the hot modules: python -m rondo.node.compile

mypyc (of the package mypy) translates the modules that `rondo.node.compiled` names to C, and the C compiler makes one
library of them. That takes about a minute on two cores. The result is installed as a whole, or not at all.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rondo.node import compiled

OPTIMIZE = "2"
MYPY_INI = """[mypy]
strict = true
explicit_package_bases = true
[mypy-msgpack.*,zmq.*]
ignore_missing_imports = true
follow_untyped_imports = false
"""


class CannotCompile(Exception):  # noqa: N818 - names what happened
    """The library could not be made. The text gives the reason and the remedy."""


class NoCompiler(CannotCompile):
    """A program that compiling needs is not installed."""


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0: the library exists and matches this source; 1: it could not be made; 3: this machine lacks a
    compiler, and everything runs from source as before."""
    parser = argparse.ArgumentParser(
        prog="python -m rondo.node.compile", description=(__doc__ or "").partition("\n\n")[2]
    )
    parser.add_argument("--force", action="store_true", help="also if what is there is of this very source")
    options = parser.parse_args(arguments)
    if compiled.Finder().names and not options.force:
        return 0
    print(f"compiling the hot modules into {compiled.DIRECTORY}: about a minute, once", file=sys.stderr)
    try:
        make(compiled.DIRECTORY)
    except NoCompiler as error:
        print(f"not compiled, everything runs from source: {error}", file=sys.stderr)
        return 3
    except CannotCompile as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def make(directory: Path) -> None:
    """Compile into `directory`, replacing what is there. Raises `CannotCompile`."""
    if shutil.which(os.environ.get("CC", "cc")) is None:
        raise NoCompiler("there is no C compiler (cc, or what CC names); install gcc")
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        raise NoCompiler("the headers of this Python are missing; install python3-dev")
    paths = compiled.sources()
    wanted = compiled.digest(paths)
    with tempfile.TemporaryDirectory(prefix="rondo-compile-") as name:
        work = Path(name)
        for package in ("rondo", "services"):
            shutil.copytree(compiled.ROOT / package, work / package, ignore=shutil.ignore_patterns("_compiled", "*.so"))
        (work / "mypy.ini").write_text(MYPY_INI, encoding="utf-8")
        made = work / "made"
        _build(work, [str(path.relative_to(compiled.ROOT)) for path in paths.values()], made)
        (made / compiled.DIGEST).write_text(wanted, encoding="ascii")
        _put(made, directory)


def _build(work: Path, files: list[str], made: Path) -> None:
    """Translate and compile `files` of the tree at `work`. Put the modules into `made`, under their full names."""
    try:
        from mypyc.build import mypycify
        from setuptools import Distribution
        from setuptools.command.build_ext import build_ext
    except ImportError as error:
        raise NoCompiler(f"{error.name} is missing; install it: pip install mypy setuptools") from None
    said = io.StringIO()
    with _inside(work), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            extensions = mypycify(
                files, opt_level=OPTIMIZE, debug_level="0", multi_file=True, group_name="rondo_compiled"
            )
            command = build_ext(Distribution({"name": "rondo", "ext_modules": extensions}))
            command.build_lib, command.build_temp = str(work / "lib"), str(work / "objects")
            command.ensure_finalized()
            _compile_in_parallel(command)
            command.run()
        except (Exception, SystemExit) as error:
            # The compilers' output has the reason; if they said nothing, the error itself has it.
            raise CannotCompile(f"mypyc or the C compiler failed: {error}\n{said.getvalue()[-4000:]}") from error
    made.mkdir()
    for path in (work / "lib").rglob("*.so"):
        parts = path.relative_to(work / "lib").parts
        shutil.copy(path, made / (".".join((*parts[:-1], path.name.partition(".")[0])) + compiled.SUFFIX))


@contextlib.contextmanager
def _inside(directory: Path) -> Iterator[None]:
    """mypyc works in the current directory."""
    before = Path.cwd()
    os.chdir(directory)
    try:
        yield
    finally:
        os.chdir(before)


def _compile_in_parallel(command: Any) -> None:
    """setuptools compiles the files of one library one by one; there are seventy."""
    link_all = command.build_extensions

    def build_extensions() -> None:
        compile_some = command.compiler.compile

        def compile_all(files: list[str], *rest: Any, **options: Any) -> list[str]:
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                done = pool.map(lambda file: compile_some([file], *rest, **options), files)
                return [each for objects in done for each in objects]

        command.compiler.compile = compile_all
        # The library must not contain directories of this machine's Python, since it may be installed elsewhere.
        command.compiler.linker_so = [part for part in command.compiler.linker_so if not part.startswith("-Wl,-rpath")]
        link_all()

    command.build_extensions = build_extensions


def _put(made: Path, directory: Path) -> None:
    """Replace `directory`. A process that has loaded the old library keeps it."""
    new, old = directory.with_name(directory.name + ".new"), directory.with_name(directory.name + ".old")
    try:
        for left in (new, old):
            shutil.rmtree(left, ignore_errors=True)
        shutil.copytree(made, new)
        if directory.exists():
            directory.rename(old)
        new.rename(directory)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise CannotCompile(f"{directory}: {error.strerror}") from None


if __name__ == "__main__":
    raise SystemExit(main())
