"""Log files on a disk that is full, that are moved, that are closed to us: nothing raises, and what is lost is told."""

from pathlib import Path

import pytest

from rondo.node.append_file import AppendFile


@pytest.fixture
def file(tmp_path: Path) -> AppendFile:
    made = AppendFile(tmp_path / "log" / "x.log")
    made.path.parent.mkdir()
    made.open()
    return made


def test_lines_are_appended(file: AppendFile) -> None:
    file.write(b"one\n")
    file.write(b"two\n")
    assert file.path.read_bytes() == b"one\ntwo\n"
    assert file.lost == 0


def test_a_full_disk_loses_lines_and_says_so_once_when_there_is_room(tmp_path: Path) -> None:
    place = tmp_path / "x.log"
    place.symlink_to("/dev/full")
    file = AppendFile(place)
    file.write(b"one\n")
    file.write(b"two\nthree\n")
    assert file.lost == 3
    place.unlink()
    file.write(b"four\n")
    file.write(b"five\n")
    told, *rest = place.read_text().splitlines()
    assert f"3 lines of this log are lost: {place}: No space left on device. Make room there" in told
    assert rest == ["four", "five"]


def test_a_file_that_was_moved_is_made_anew(file: AppendFile) -> None:
    file.write(b"one\n")
    file.path.rename(file.path.with_name("moved"))
    file.write(b"two\n")
    assert file.path.with_name("moved").read_bytes() == b"one\n"
    assert file.path.read_bytes() == b"two\n"


def test_without_its_directory_lines_go_on_into_the_open_file(file: AppendFile) -> None:
    moved = file.path.parent.with_name("elsewhere")
    file.path.parent.rename(moved)
    file.write(b"one\n")
    assert (moved / "x.log").read_bytes() == b"one\n"
    assert file.lost == 0
    file.path.parent.mkdir()
    file.write(b"two\n")
    assert file.path.read_bytes() == b"two\n"


def test_what_could_never_be_opened_is_tried_again(tmp_path: Path) -> None:
    file = AppendFile(tmp_path / "missing" / "x.log")
    file.write(b"one\n")
    assert file.lost == 1
    file.path.parent.mkdir()
    file.write(b"two\n")
    assert file.path.read_text().splitlines()[1:] == ["two"]


def test_it_is_rotated_at_its_bound(tmp_path: Path) -> None:
    file = AppendFile(tmp_path / "x.log", bytes_max=8)
    for line in (b"one\n", b"two\n", b"three\n"):
        file.write(line)
    assert (tmp_path / "x.log.1").read_bytes() == b"one\ntwo\n"
    assert (tmp_path / "x.log").read_bytes() == b"three\n"
