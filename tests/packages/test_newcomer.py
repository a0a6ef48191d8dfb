"""A newcomer's path: the tutorial, typed block by block, in a fresh virtual environment, with a wheel."""

import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rondo.node.supervision.halt import kill
from tests.documents.blocks import DOCS, ROOT
from tests.documents.shell import Shell, clean_environment, run_page

PAGES = sorted((DOCS / "tutorial").glob("[1-9]-*.md"))
OURS = f"cp3{sys.version_info.minor}"
TAG = OURS if any((ROOT / "build" / "dist").glob(f"rondo-*-{OURS}-*.whl")) else "py3"
"""With machine code, if there is such a wheel for this Python."""
HOUR_S = 3600


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
