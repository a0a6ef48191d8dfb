"""A newcomer's path: the tutorial, typed block by block, in a fresh virtual environment, and the README's."""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import rondo
from rondo.node.supervision.halt import kill
from tests.documents import typed
from tests.documents.blocks import DOCS, ROOT
from tests.documents.shell import Shell, clean_environment, run_page

PAGES = sorted((DOCS / "tutorial").glob("[1-9]-*.md"))
OURS = f"cp3{sys.version_info.minor}"
TAG = OURS if any((ROOT / "build" / "dist").glob(f"rondo-*-{OURS}-*.whl")) else "py3"
"""With machine code, if there is such a wheel for this Python."""
HOUR_S = 3600
FILES = ("setup.py", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(name="directory")
def _directory() -> Iterator[Path]:
    """Outside of the repository. Sockets need a short path."""
    with tempfile.TemporaryDirectory(prefix="rondo-newcomer-", dir="/tmp") as name:
        yield Path(name)
        for run_dir in Path(name).glob("*/node*/run"):
            kill(run_dir)


def test_the_tutorial_works_to_its_end(directory: Path) -> None:
    assert shutil.which("curl"), "the tutorial needs curl"
    # With the Python that runs this; the tutorial names CPython 3.11's wheel.
    path = f"{Path(sys.executable).resolve().parent}:/usr/local/bin:/usr/bin:/bin"
    environment = clean_environment(RONDO_SOURCE=str(ROOT), PATH=path, HOME=str(directory))
    began_s = time.monotonic()
    with Shell(directory, environment) as shell:
        ran = sum(run_page(shell, page, {"cp311": TAG}) for page in PAGES)
    assert ran >= 40
    assert time.monotonic() - began_s < HOUR_S
    assert not (directory / "rondo-tutorial").exists(), "it cleans up after itself"


def test_the_readme_installs_from_the_tree(directory: Path) -> None:
    """In a copy of it, of what git has: building leaves files behind."""
    listed = ["git", "-c", "safe.directory=*", "ls-files", "-z", "rondo", "services", *FILES]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True, text=True).stdout.split("\0")
    tree = directory / "tree"
    for name in filter(None, names):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tree / name)
    path = f"{Path(sys.executable).resolve().parent}:/usr/local/bin:/usr/bin:/bin"
    block = typed.block(typed.IN_A_COPY_OF_THE_TREE)
    with Shell(tree, clean_environment(PATH=path, HOME=str(directory))) as shell:
        shell.run(block, block.text.replace("/opt/rondo", str(directory / "venv")))
        assert shell.run(block, f"cd / && {directory}/venv/bin/rondo --version") == f"rondo {rondo.__version__}\n"
