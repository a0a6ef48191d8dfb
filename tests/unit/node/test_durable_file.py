"""Small files that are replaced whole, or stay as they were."""

import errno
import os
from pathlib import Path

import pytest

from rondo.node.durable_file import replace_durably


def test_the_content_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "number"
    for data in (b"first", b"2"):
        replace_durably(path, data)
        assert path.read_bytes() == data
    assert [each.name for each in tmp_path.iterdir()] == ["number"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_on_a_full_disk_the_former_content_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "number"
    replace_durably(path, b"first")

    def full(_descriptor: int, _data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        replace_durably(path, b"second")
    assert path.read_bytes() == b"first"


def test_the_directory_is_durable_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    real = os.fsync

    def note(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    replace_durably(tmp_path / "number", b"1")
    assert synced == [str(tmp_path / ".number.new"), str(tmp_path)]
