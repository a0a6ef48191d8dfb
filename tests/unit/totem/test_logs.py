"""Logs: the format, the levels, and that nobody waits for them."""

from __future__ import annotations

import logging
import logging.handlers
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rondo.config import LogSettings
from rondo.node.append_file import AppendFile
from rondo.node.logs import LINES_WAITING_MAX, LogError, Logs, notice
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
    head = rf"[A-Z][a-z]{{2}} \d\d \d\d:\d\d:\d\d\.\d{{3}} \[{os.getpid()}\] \S+ rondo "
    assert re.fullmatch(head + r"notice  \[TOTEM \] A new membership \(1\.8\) was formed\.", first)
    assert re.fullmatch(head + r"error   \[MAIN  \] two\\nlines \\x1b\[31m", second)


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
