"""One instance per directory, also over the death of the holder."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from rondo.node.instance import InstanceError, InstanceLock


def test_a_second_one_is_told_who_holds_it(tmp_path: Path) -> None:
    first = InstanceLock(tmp_path, "totem")
    with pytest.raises(InstanceError, match=rf"totem runs already as process {os.getpid()}; stop it, or choose"):
        InstanceLock(tmp_path, "totem")
    first.close()
    InstanceLock(tmp_path, "totem").close()


def test_the_lock_goes_with_its_holder(tmp_path: Path) -> None:
    ready_read, ready_write = os.pipe()
    child = os.fork()
    if child == 0:
        InstanceLock(tmp_path, "totem")
        os.write(ready_write, b"x")
        signal.pause()
    os.read(ready_read, 1)
    with pytest.raises(InstanceError, match=str(child)):
        InstanceLock(tmp_path, "totem")
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    InstanceLock(tmp_path, "totem").close()
    os.close(ready_read)
    os.close(ready_write)


def test_a_directory_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    with pytest.raises(InstanceError, match="No such file or directory; choose another directory"):
        InstanceLock(tmp_path / "missing", "totem")


def test_on_a_full_disk_the_lock_holds_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It only cannot say whose it is."""

    def no_space(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", no_space)
    first = InstanceLock(tmp_path, "totem")
    with pytest.raises(InstanceError, match="totem runs already;"):
        InstanceLock(tmp_path, "totem")
    first.close()
