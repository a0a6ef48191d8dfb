"""Makes machine code of the hot modules, for a wheel (setup.py) or for tests and measuring (tests/compiled_tree.py).

mypyc (of the package mypy) translates the modules that `rondo.node.compiled` names to C, and the C compiler makes one
library of them: about a minute on two cores.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
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


def put(root: Path, directory: Path, made_before: Path) -> None:
    """Machine code of the source at `root` into `directory`, where that source lies or will lie too.

    It is copied from the tree `made_before` where that has it, else made. Raises `CannotCompile`.
    """
    if not _is_of(compiled.digest(compiled.sources(root)), made_before):
        make(root, directory)
        return
    for file in (*made_before.rglob(f"*{compiled.SUFFIX}"), made_before / compiled.DIGEST):
        place = directory / file.relative_to(made_before)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, place)


def _is_of(wanted: str, tree: Path) -> bool:
    """There is machine code for this Python, made of the source with this digest."""
    try:
        return compiled.is_there(tree) and (tree / compiled.DIGEST).read_text(encoding="ascii") == wanted
    except (OSError, UnicodeDecodeError):
        return False


def make(root: Path, directory: Path) -> None:
    """Compile the source at `root`, and put each module into `directory`, under its package. Raises `CannotCompile`."""
    if shutil.which(os.environ.get("CC", "cc")) is None:
        raise NoCompiler("there is no C compiler (cc, or what CC names); install gcc")
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        raise NoCompiler("the headers of this Python are missing; install python3-dev")
    with tempfile.TemporaryDirectory(prefix="rondo-compile-") as name:
        work = Path(name)
        for package in ("rondo", "services"):
            shutil.copytree(root / package, work / package, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        (work / "mypy.ini").write_text(MYPY_INI, encoding="utf-8")
        # Of the copy, so that it is what was compiled, whatever happens to the source meanwhile.
        paths = compiled.sources(work)
        _build(work, [str(path.relative_to(work)) for path in paths.values()], directory)
        (directory / compiled.DIGEST).write_text(compiled.digest(paths), encoding="ascii")


def _build(work: Path, files: list[str], directory: Path) -> None:
    """Translate and compile `files` of the tree at `work`."""
    try:
        from mypyc.build import mypycify
        from setuptools import Distribution
        from setuptools.command.build_ext import build_ext
    except ImportError as error:
        raise NoCompiler(f"{error.name} is missing; install it: pip install mypy setuptools") from None
    target = directory.absolute()
    said = io.StringIO()
    with _inside(work), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            extensions = mypycify(
                files, opt_level=OPTIMIZE, debug_level="0", multi_file=True, group_name=compiled.GROUP
            )
            for each in extensions:
                # mypyc puts the headers of a group whose name has a package there, and does not say so.
                each.include_dirs.append(str(Path("build", *compiled.GROUP.split(".")[:-1])))
            command = build_ext(Distribution({"name": "rondo", "ext_modules": extensions}))
            command.build_lib, command.build_temp = str(target), str(work / "objects")
            command.ensure_finalized()
            _compile_in_parallel(command)
            command.run()
        except (Exception, SystemExit) as error:
            # The compilers' output has the reason; if they said nothing, the error itself has it.
            raise CannotCompile(f"mypyc or the C compiler failed: {error}\n{said.getvalue()[-4000:]}") from error


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
