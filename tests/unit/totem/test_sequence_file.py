"""The ring sequence file: what is read at a start is above everything that was ever in use."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rondo.testing.lab.waiting import wait_for
from services.totem.sequence_file import RESERVE, SEQUENCES_PER_SECOND, SequenceFile


def stored(path: Path) -> int:
    return int.from_bytes(path.read_bytes(), "little")


def eventually(true: Callable[[], bool], timeout_s: float = 60.0) -> bool:
    end = time.monotonic() + timeout_s
    while not true() and time.monotonic() < end:
        time.sleep(0.005)
    return true()


def test_a_next_life_begins_above_what_was_in_use(tmp_path: Path) -> None:
    (tmp_path / "ringid_7").write_bytes((1000).to_bytes(8, "little"))
    first_life = SequenceFile(tmp_path, 7)
    assert first_life.first == 1000
    for sequence in range(1004, 1000 + 5 * RESERVE, 4):
        first_life.store(sequence)
    first_life.close()
    second_life = SequenceFile(tmp_path, 7)
    second_life.close()
    assert second_life.first > 1000 + 5 * RESERVE - 4


def test_the_range_is_reserved_before_it_is_in_use(tmp_path: Path) -> None:
    (tmp_path / "ringid_1").write_bytes((8).to_bytes(8, "little"))
    file = SequenceFile(tmp_path, 1)
    assert stored(file.path) == 8 + RESERVE
    file.store(12)
    assert stored(file.path) == 8 + RESERVE, "nothing to write yet"
    file.store(8 + RESERVE // 2 + 4)
    assert eventually(lambda: stored(file.path) == 8 + RESERVE // 2 + 4 + RESERVE)
    file.close()


@pytest.mark.parametrize("content", [None, b"", b"\1", bytes(8), b"\xff" * 8, bytes(9), b"x" * 5000])
def test_a_missing_or_damaged_file_is_made_up_for_by_the_clock(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "ringid_1").write_bytes(content)
    before = int(time.time() * SEQUENCES_PER_SECOND)
    file = SequenceFile(tmp_path, 1)
    file.close()
    assert before <= file.first <= int(time.time() * SEQUENCES_PER_SECOND)
    assert stored(file.path) == file.first + RESERVE


def test_a_node_that_is_killed_again_and_again_does_not_run_ahead_of_the_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every start skips what was reserved; a node that has lost its file must begin above all that."""
    now_s = time.time()
    monkeypatch.setattr(time, "time", lambda: now_s)
    for _ in range(100):
        file = SequenceFile(tmp_path, 1)
        file.store(file.first + 4)
        file.close()
        now_s += 0.1
    loser = SequenceFile(tmp_path, 2)
    loser.close()
    assert loser.first > file.first + RESERVE


def test_a_named_pipe_in_its_place_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "ringid_1")
    file = SequenceFile(tmp_path, 1)
    file.close()
    assert stored(file.path) == file.first + RESERVE


def test_only_the_owner_may_read_or_write_it(tmp_path: Path) -> None:
    file = SequenceFile(tmp_path, 1)
    file.close()
    assert file.path.stat().st_mode & 0o777 == 0o600


def test_where_nothing_can_be_stored_at_the_start_the_clock_makes_up_for_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.totem.sequence_file.RETRY_SECONDS", 0.01)
    (tmp_path / "ringid_1").write_bytes((77).to_bytes(8, "little"))
    (tmp_path / ".ringid_1.new").mkdir()  # in the way of what is written first
    file = SequenceFile(tmp_path, 1)
    assert file.first >= (time.time() - 60) * SEQUENCES_PER_SECOND
    assert "cannot be stored in" in caplog.text
    (tmp_path / ".ringid_1.new").rmdir()
    wait_for(lambda: stored(tmp_path / "ringid_1"), lambda now: now != 77, "it is stored", 60.0)
    file.close()
    assert int.from_bytes((tmp_path / "ringid_1").read_bytes(), "little") == file.first + RESERVE


def test_a_disk_that_hangs_holds_up_nobody_and_one_that_fails_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("services.totem.sequence_file.RETRY_SECONDS", 0.01)
    file = SequenceFile(tmp_path, 1)
    release = threading.Event()
    failures = [OSError(28, "No space left on device")] * 3
    fsync = os.fsync

    def slow_fsync(descriptor: int) -> None:
        release.wait(20)
        if failures:
            raise failures.pop()
        fsync(descriptor)

    monkeypatch.setattr("os.fsync", slow_fsync)
    began = time.monotonic()
    for step in range(100):
        file.store(file.first + step * RESERVE)
    assert time.monotonic() - began < 8, "it has waited for the disk"
    release.set()
    assert eventually(lambda: stored(file.path) == file.first + 100 * RESERVE)
    file.close()
    said = [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]
    assert len(said) == 1
    assert "cannot be stored" in said[0]
    assert "No space left on device" in said[0]
