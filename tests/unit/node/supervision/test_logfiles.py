"""The logs of several processes as one."""

import os
import time
from datetime import datetime
from pathlib import Path

import pytest

from rondo.node.supervision import SERVICES
from rondo.node.supervision.logfiles import IDLE_LOOKS_MAX, MergedLog, last_words, log_files


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
    """A time of today in the services' form, in the zone of this machine."""
    moment = datetime.fromisoformat(time.strftime("%Y-%m-%dT") + clock).astimezone()
    return moment.isoformat(timespec="milliseconds" if "." in clock else "seconds")


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


def test_years_and_zones_count(run_dir: Path) -> None:
    write(
        run_dir,
        "totem.log",
        "2025-12-31T23:59:59.000+01:00 info    [T] old",
        "2026-01-01T00:00:01.000+01:00 info    [T] new",
        "2026-02-30T00:00:01.000+01:00 info    [T] no such day",
    )
    write(run_dir, "cpg.log", "2025-12-31T23:00:00+00:00 info    [T] between")
    lines = MergedLog(log_files(run_dir)).read()
    assert [line.text.split("] ")[1] for line in lines] == ["old", "between", "new", "no such day"]
    assert lines[2].seconds - lines[0].seconds == 2


def test_what_is_there_can_be_left_out(run_dir: Path) -> None:
    write(run_dir, "totem.log", "old")
    log = MergedLog(log_files(run_dir))
    log.skip()
    write(run_dir, "totem.log", "new")
    assert texts(log) == ["new"]


def test_the_last_lines_of_the_last_bytes_of_each_file(run_dir: Path) -> None:
    lines = [f"{today('10:00:01')} info    [T] {number:03}" for number in range(100)]
    write(run_dir, "totem.log", *lines)
    write(run_dir, "cpg.log", f"{today('10:00:02')} info    [C] last")
    line_bytes = len(lines[0]) + 1

    def last(count: int, file_bytes_max: int) -> list[str]:
        return [line.text[-4:].strip() for line in MergedLog(log_files(run_dir)).last(count, file_bytes_max)]

    assert last(3, 1000 * line_bytes) == ["098", "099", "last"]
    assert last(300, 3 * line_bytes + line_bytes // 2) == ["097", "098", "099", "last"]
    assert last(300, 10) == []


def test_a_rotated_file_is_shown_once_and_nothing_is_left_out(run_dir: Path) -> None:
    write(run_dir, "totem.log.1", "older")
    path = write(run_dir, "totem.log", "old")
    log = MergedLog(log_files(run_dir, "totem"))
    assert texts(log) == ["older", "old"]
    for life in range(3):
        write(run_dir, "totem.log", f"last of {life}")
        path.rename(path.with_name("totem.log.1"))
        write(run_dir, "totem.log", f"first of {life + 1}")
        assert texts(log) == [f"last of {life}", f"first of {life + 1}"]


def test_what_is_written_to_a_file_that_was_moved_away_is_shown(run_dir: Path, tmp_path: Path) -> None:
    path = write(run_dir, "totem.log", "old")
    log = MergedLog(log_files(run_dir, "totem"))
    log.skip()
    with path.open("a") as writer:
        path.rename(tmp_path / "elsewhere")
        assert texts(log) == []
        print("late", file=writer, flush=True)
        write(run_dir, "totem.log", "new")
        assert texts(log) == ["late", "new"]
        print("too late\nhalf", end="", file=writer, flush=True)
        assert texts(log) == ["too late"]
    ends = [texts(log) for _ in range(IDLE_LOOKS_MAX)]
    assert ends[-1] == ["half"]
    assert not any(ends[:-1])
    assert not any("elsewhere" in os.readlink(each) for each in Path("/proc/self/fd").iterdir() if each.is_symlink())


def shared(pid: int, tag: str, text: str) -> str:
    return f"{today('10:00:00')} [{pid}] host rondo info    [{tag:<6}] {text}"


def test_a_configured_file_is_read_once_and_its_lines_are_whose_they_are(run_dir: Path, tmp_path: Path) -> None:
    extra = tmp_path / "corosync.log"
    lines = [
        shared(7, "CPG", "Groups are in step"),
        shared(9, "IPC_GATEWAY", "Waiting"),
        "a line of it without a head",
        shared(7, "MAIN", "ends the service"),
        shared(5, "MAIN", "Completed service synchronization"),
        shared(2, "SUPERV", "cpg was killed"),
    ]
    extra.write_text("".join(f"{line}\n" for line in lines))
    everybody = {name: str(extra) for name in SERVICES}
    found = MergedLog(log_files(run_dir), everybody).read()
    assert [line.text for line in found] == lines[:5]  # the last is in supervisord's own log
    assert [line.source for line in found] == ["cpg", "ipc_gateway", "ipc_gateway", "cpg", "totem"]
    assert texts(MergedLog(log_files(run_dir, "cpg"), {"cpg": str(extra)})) == [lines[0], lines[3]]


def test_bytes_that_are_no_text_do_no_harm(run_dir: Path) -> None:
    (run_dir / "log" / "totem.log").write_bytes(b"\xff\xfe\x00\n\n" + b"x" * 5_000_000 + b"\n")
    assert len(texts(MergedLog(log_files(run_dir, "totem")))) == 3


@pytest.mark.parametrize(
    ("content", "words"), [("", ""), ("one\ntwo\n\n", "two"), ("x" * 10_000 + "\nend", "end"), (" \n", "")]
)
def test_the_last_words_of_a_service(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "log").write_text(content)
    assert last_words(tmp_path / "log") == words


def test_the_reason_is_found_above_what_came_after_it(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("2026 notice here\ntotem: the port is taken; choose another\nLeft the ring.\n\n")
    assert last_words(tmp_path / "log", "totem") == "the port is taken; choose another"
    assert last_words(tmp_path / "log", "cpg") == "Left the ring."
    (tmp_path / "log").write_text("Error: too few descriptors\nFor help, use supervisord -h\n")
    assert last_words(tmp_path / "log") == "too few descriptors"
    (tmp_path / "log").write_text("totem: an earlier life\n" + "line\n" * 20)
    assert last_words(tmp_path / "log", "totem") == "line"


def test_a_missing_log_has_no_last_words(tmp_path: Path) -> None:
    assert last_words(tmp_path / "none") == ""
