"""Directories that a node makes can be entered by those whom it lets in, whatever the umask is."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from rondo import paths


@pytest.fixture(params=[0o022, 0o027, 0o077, 0o777])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_run_directories(tmp_path: Path) -> None:
    made = tmp_path / "above" / "run"
    assert paths.make_run_dir(made) == made
    expected = 0o755 if os.geteuid() == 0 else 0o700
    for directory in (made, made.parent):
        assert stat.S_IMODE(directory.stat().st_mode) == expected
