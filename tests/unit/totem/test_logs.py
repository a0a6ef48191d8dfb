"""Logs: the format, the levels, and that nobody waits for them."""

from __future__ import annotations

import logging
import logging.handlers
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rondo.config import LogSettings
from rondo.node.append_file import AppendFile
from rondo.node.log_formats import iso_time
from rondo.node.logs import LINES_WAITING_MAX, SAID_ON_STDERR, LogError, Logs, notice, outputs
from rondo.testing.lab.waiting import wait_for


@pytest.fixture(autouse=True)
def _root_logger() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, raising = list(root.handlers), root.level, logging.raiseExceptions
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.raiseExceptions = raising


def to_file(path: Path, priority: str = "info", debug: str = "off") -> LogSettings:
    return LogSettings(
        to_stderr=False,
        to_logfile=True,
        logfile=str(path),
        logfile_priority=priority,
        debug=debug,  # type: ignore[arg-type]
    )


def test_lines_look_like_corosyncs(tmp_path: Path) -> None:
    logs = Logs(to_file(tmp_path / "log"))
    logs.start()
    notice(logging.getLogger("TOTEM"), "A new membership (%s) was formed.", "1.8")
    logging.getLogger("MAIN").error("two\nlines \x1b[31m")
    logging.getLogger("MAIN").debug("not this one")
    logs.close()
    first, second = (tmp_path / "log").read_text().splitlines()
    head = rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{3}}[+-]\d\d:\d\d \[{os.getpid()}\] \S+ rondo "
    assert re.fullmatch(head + r"notice  \[TOTEM \] A new membership \(1\.8\) was formed\.", first)
    assert re.fullmatch(head + r"error   \[MAIN  \] two\\nlines \\x1b\[31m", second)


def test_times_have_year_and_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        assert iso_time(1_767_225_599.25, milliseconds=True) == "2026-01-01T00:59:59.250+01:00"
        assert iso_time(1_782_864_000) == "2026-07-01T02:00:00+02:00"
    finally:
        monkeypatch.undo()
        time.tzset()


def only_syslog() -> LogSettings:
    return LogSettings(to_stderr=False, to_syslog=True)


def test_without_a_syslog_the_lines_go_to_standard_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("rondo.node.logs.SYSLOG_SOCKET", str(tmp_path / "dev-log"))
    logs = Logs(only_syslog())
    logs.start()
    logging.getLogger("CPG").warning("one")
    logging.getLogger("CPG").warning("two")
    logs.close()
    about, one, two = capfd.readouterr().err.splitlines()
    assert "Nothing listens on" in about
    assert (one.split("] ")[1], two.split("] ")[1]) == ("one", "two")


def test_a_syslog_that_comes_later_gets_the_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("rondo.node.logs.SYSLOG_SOCKET", str(tmp_path / "dev-log"))
    handler = outputs(only_syslog())[0]
    record = logging.LogRecord("CPG", logging.WARNING, "", 0, "early", None, None)
    handler.handle(record)
    for life in ("first", "second"):  # syslog is started again: its socket is a new one
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog:
            syslog.bind(str(tmp_path / "dev-log"))
            handler.handle(logging.LogRecord("CPG", logging.WARNING, "", 0, life, None, None))
            assert life.encode() in syslog.recv(1000)
        (tmp_path / "dev-log").unlink()
    handler.close()
    assert "early" in capfd.readouterr().err


def test_with_another_output_nothing_goes_to_standard_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("rondo.node.logs.SYSLOG_SOCKET", str(tmp_path / "dev-log"))
    logs = Logs(replace(to_file(tmp_path / "log"), to_syslog=True))
    logs.start()
    logging.getLogger("CPG").warning("one")
    logs.close()
    assert capfd.readouterr().err == ""
    assert "one" in (tmp_path / "log").read_text()


def test_what_is_on_standard_error_already_goes_to_the_other_outputs_alone(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    logs = Logs(replace(to_file(tmp_path / "log"), to_stderr=True))
    logs.start()
    logging.getLogger("MAIN").critical("the end", extra=SAID_ON_STDERR)
    logging.getLogger("MAIN").critical("more")
    logs.close()
    assert [line[-4:] for line in capfd.readouterr().err.splitlines()] == ["more"]
    assert [line.split("] ")[-1] for line in (tmp_path / "log").read_text().splitlines()] == ["the end", "more"]


@pytest.mark.parametrize(
    ("priority", "debug", "said"),
    [
        ("debug", "off", "dinwe"),
        ("info", "off", "inwe"),
        ("notice", "off", "nwe"),
        ("err", "off", "e"),
        ("err", "on", "dinwe"),
    ],
)
def test_levels(tmp_path: Path, priority: str, debug: str, said: str) -> None:
    logs = Logs(to_file(tmp_path / "log", priority, debug))
    logs.start()
    logger = logging.getLogger("TOTEM")
    for level, letter in ((10, "d"), (20, "i"), (25, "n"), (30, "w"), (40, "e")):
        logger.log(level, letter)
    logs.close()
    assert "".join(line[-1] for line in (tmp_path / "log").read_text().splitlines()) == said


def test_the_level_can_be_changed_while_it_runs(tmp_path: Path) -> None:
    logs = Logs(to_file(tmp_path / "log"))
    logs.start()
    logging.getLogger("TOTEM").debug("before")
    logs.set_level("debug")
    logging.getLogger("TOTEM").debug("after")
    with pytest.raises(ValueError, match="no log level 'loud'; there are emerg"):
        logs.set_level("loud")
    logs.close()
    assert (tmp_path / "log").read_text().rstrip().endswith("after")


def test_a_log_that_hangs_drops_lines_and_counts_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    logs = Logs(to_file(tmp_path / "log"))
    write = AppendFile.write

    def slow(file: AppendFile, data: bytes) -> None:
        release.wait(10)
        write(file, data)

    monkeypatch.setattr("rondo.node.append_file.AppendFile.write", slow)
    logs.start()
    for number in range(LINES_WAITING_MAX + 100):
        logging.getLogger("TOTEM").info("%d", number)
    dropped = logs.dropped
    release.set()
    logs.close()
    assert 90 <= dropped <= 100
    assert len((tmp_path / "log").read_text().splitlines()) == LINES_WAITING_MAX + 100 - dropped


def test_a_file_that_cannot_be_written_loses_lines_and_the_thread_goes_on(tmp_path: Path) -> None:
    place = tmp_path / "log"
    place.symlink_to("/dev/full")
    logs = Logs(to_file(place))
    logs.start()
    for number in range(3):
        logging.getLogger("TOTEM").info("lost %d", number)
    wait_for(lambda: logs.dropped, lambda count: count == 3, "they are counted", 60.0)
    place.unlink()
    logging.getLogger("TOTEM").info("back")
    logs.close()
    first, second = place.read_text().splitlines()
    assert f"3 lines of this log are lost: {place}: No space left on device. Make room there" in first
    assert second.endswith("back")


def test_a_log_file_that_cannot_be_opened_is_said(tmp_path: Path) -> None:
    with pytest.raises(LogError, match=r"missing/log: cannot be opened for the log: No such file or directory; make"):
        Logs(to_file(tmp_path / "missing" / "log"))


def test_settings_change_while_lines_come(tmp_path: Path) -> None:
    logs = Logs(to_file(tmp_path / "one"))
    logs.start()
    log = logging.getLogger("MAIN")
    log.info("before")
    logs.change(to_file(tmp_path / "two", debug="on"))
    log.debug("after")
    with pytest.raises(LogError):
        logs.change(to_file(tmp_path / "none" / "three"))
    log.debug("still")
    logs.close()
    assert [line.split("] ")[-1] for line in (tmp_path / "one").read_text().splitlines()] == ["before"]
    assert [line.split("] ")[-1] for line in (tmp_path / "two").read_text().splitlines()] == ["after", "still"]


def test_a_file_that_was_moved_is_made_anew_when_that_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "log"
    logs = Logs(to_file(path))
    logs.start()
    path.rename(tmp_path / "log.1")
    logs.reopen()
    wait_for(path.exists, bool, "the file is there", 60.0)
    logs.close()
