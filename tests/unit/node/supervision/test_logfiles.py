"""The logs of several processes as one."""

import os
import time
from pathlib import Path

import pytest

from rondo.node.supervision.logfiles import MergedLog, last_words, log_files


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    (tmp_path / "log").mkdir()
    return tmp_path


def write(run_dir: Path, name: str, *lines: str, mode: str = "a") -> Path:
    path = run_dir / "log" / name
    with path.open(mode) as file:
        file.write("".join(f"{line}\n" for line in lines))
    return path


def texts(log: MergedLog) -> list[str]:
    return [line.text for line in log.read()]


def today(clock: str) -> str:
    return time.strftime("%b %d ") + clock


def test_lines_are_ordered_by_time_over_all_files(run_dir: Path) -> None:
    write(
        run_dir, "totem.log", f"{today('10:00:01.000')} info    [TOTEM ] one", f"{today('10:00:03.000')} info    [T] 3"
    )
    write(run_dir, "cpg.log", f"{today('10:00:02.000')} info    [CPG   ] two", f"{today('10:00:03.001')} info    [C] 4")
    assert [text[-3:].split()[-1] for text in texts(MergedLog(log_files(run_dir)))] == ["one", "two", "3", "4"]


def test_a_line_without_time_stays_behind_the_one_before(run_dir: Path) -> None:
    write(run_dir, "totem.log", f"{today('10:00:01')} info    [T] first", "second line of it")
    write(run_dir, "cpg.log", f"{today('10:00:02')} info    [C] third")
    assert [text.split()[-1] for text in texts(MergedLog(log_files(run_dir)))] == ["first", "it", "third"]


def test_supervisords_lines_look_like_all_others(run_dir: Path) -> None:
    write(run_dir, "supervisord.log", time.strftime("%Y-%m-%d 10:00:01,500 WARN killing 'cpg' (5) with SIGKILL"))
    write(run_dir, "cpg.log", f"{today('10:00:01.400')} info    [CPG   ] before")
    assert texts(MergedLog(log_files(run_dir))) == [
        f"{today('10:00:01.400')} info    [CPG   ] before",
        f"{today('10:00:01.500')} warning [SUPERV] killing 'cpg' (5) with SIGKILL",
    ]


def test_what_comes_later_is_read_on_also_after_rotation(run_dir: Path) -> None:
    path = write(run_dir, "totem.log", "a")
    log = MergedLog(log_files(run_dir, "totem"))
    assert texts(log) == ["a"]
    with path.open("a") as file:
        file.write("b\nhalf")
    assert texts(log) == ["b"], "half a line waits for its end"
    write(run_dir, "totem.log", " whole")
    assert texts(log) == ["half whole"]
    path.unlink()
    write(run_dir, "totem.log", "new file")
    assert texts(log) == ["new file"]
    write(run_dir, "totem.log", "x", mode="w")
    assert texts(log) == ["x"], "cut off in place"


def test_december_lies_before_january(run_dir: Path) -> None:
    path = write(run_dir, "totem.log", "Dec 31 23:59:59.000 info    [T] old", "Jan 01 00:00:01.000 info    [T] new")
    new_year = time.mktime((2026, 1, 1, 0, 0, 2, 0, 0, -1))
    os.utime(path, (new_year, new_year))
    old, new = MergedLog(log_files(run_dir, "totem")).read()
    assert new.seconds - old.seconds == 2


def test_what_is_there_can_be_left_out(run_dir: Path) -> None:
    write(run_dir, "totem.log", "old")
    log = MergedLog(log_files(run_dir))
    log.skip()
    write(run_dir, "totem.log", "new")
    assert texts(log) == ["new"]


def test_a_configured_file_is_read_too(run_dir: Path, tmp_path: Path) -> None:
    extra = tmp_path / "corosync.log"
    extra.write_text("elsewhere\n")
    assert texts(MergedLog(log_files(run_dir, configured={"totem": str(extra)}))) == ["elsewhere"]


def test_bytes_that_are_no_text_do_no_harm(run_dir: Path) -> None:
    (run_dir / "log" / "totem.log").write_bytes(b"\xff\xfe\x00\n\n" + b"x" * 5_000_000 + b"\n")
    assert len(texts(MergedLog(log_files(run_dir, "totem")))) == 3


@pytest.mark.parametrize(
    ("content", "words"), [("", ""), ("one\ntwo\n\n", "two"), ("x" * 10_000 + "\nend", "end"), (" \n", "")]
)
def test_the_last_words_of_a_service(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "log").write_text(content)
    assert last_words(tmp_path / "log") == words


def test_a_missing_log_has_no_last_words(tmp_path: Path) -> None:
    assert last_words(tmp_path / "none") == ""
