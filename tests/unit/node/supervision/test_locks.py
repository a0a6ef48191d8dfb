"""One node per directory."""

import os
from pathlib import Path

import pytest

from rondo.cli.output import CommandError
from rondo.node.supervision import locks


def test_the_second_is_told_who_has_it(tmp_path: Path) -> None:
    held = locks.take(tmp_path, "--run-dir")
    locks.write_holder(held, 4711)
    with pytest.raises(CommandError, match=r"runs here already \(process 4711\).*--run-dir"):
        locks.take(tmp_path, "--run-dir")
    os.close(held)
    os.close(locks.take(tmp_path, "--run-dir"))


def test_a_directory_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="No such file or directory; choose another directory with --state-dir"):
        locks.take(tmp_path / "missing", "--state-dir")


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / locks.FILE_NAME).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CommandError):
        locks.take(tmp_path, "--run-dir")
    assert not (tmp_path / "elsewhere").exists()
