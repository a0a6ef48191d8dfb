"""Lines of logs as JSON and in systemd's journal, with the names of events in them; and lines that repeat, joined."""

import json
import logging
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from rondo.config.node import LogSettings
from rondo.node import journal, logs
from rondo.node.log_formats import NOTICE
from rondo.node.logs import Logs, outputs
from rondo.node.repeats import JOINED_S, Repeats
from rondo.node.supervision.logfiles import Line, MergedLog, last_words
from rondo.timeline.events import event_of
from rondo.timeline.kinds import KINDS, Kind

FORMED = "A new membership (1.8) was formed. Members joined: 2"


def to_file(path: Path) -> LogSettings:
    return LogSettings(to_stderr=False, to_logfile=True, logfile=str(path), format="json")


def record(text: str, level: int = NOTICE, name: str = "TOTEM") -> logging.LogRecord:
    return logging.LogRecord(name, level, "ring.py", 7, "%s", (text,), None)


def written(path: Path, *records: logging.LogRecord, source: str = "totem") -> list[dict[str, Any]]:
    (handler,) = outputs(to_file(path), source)
    for each in records:
        handler.handle(each)
    handler.close()
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_is_an_object_with_the_name_of_its_event(tmp_path: Path) -> None:
    formed, other = written(tmp_path / "totem.log", record(FORMED), record('with "quotes"\nand more', logging.WARNING))
    assert next(iter(formed)) == "time"
    assert (formed["level"], formed["service"], formed["subsystem"]) == ("notice", "totem", "TOTEM")
    assert (formed["event"], formed["detail"]) == ("ring.formed", {"ring": "1.8", "joined": [2], "left": []})
    assert (other["text"], other["level"]) == ('with "quotes"\\nand more', "warning")
    assert "event" not in other


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.source != "supervisord"], ids=lambda kind: kind.name)
def test_every_event_is_found_in_it(tmp_path: Path, kind: Kind) -> None:
    (tmp_path / "log").mkdir()
    (line,) = written(tmp_path / "log" / f"{kind.source}.log", record(kind.example), source=kind.source)
    assert line["event"] == kind.name
    (read,) = MergedLog({kind.source: [tmp_path / "log" / f"{kind.source}.log"]}).read()
    event = event_of(read)
    assert event is not None
    assert (event.name, event.detail, event.level) == (kind.name, line["detail"], "notice")
    assert event.as_json()["time"] == line["time"]


def test_a_file_that_services_share(tmp_path: Path) -> None:
    path = tmp_path / "node.log"
    written(path, record(FORMED))
    written(path, record("session 1 of app: cut off: slow"), source="ipc_gateway")
    read = MergedLog({}, {"totem": str(path), "ipc_gateway": str(path)}).read()
    assert [line.source for line in read] == ["totem", "ipc_gateway"]
    assert [getattr(event_of(line), "name", "") for line in read] == ["ring.formed", "client.cut"]


def test_the_last_words_are_what_the_line_says(tmp_path: Path) -> None:
    written(tmp_path / "totem.log", record("no room; make some"))
    assert last_words(tmp_path / "totem.log", "totem") == "no room; make some"


@pytest.mark.parametrize("text", ['{"time": "2026', '{"time": 1}', "{", '{"level": "info"}', "{" * 2000])
def test_an_object_that_is_none_of_ours_is_no_event(tmp_path: Path, text: str) -> None:
    (tmp_path / "totem.log").write_text(text + "\n")
    assert [event_of(line) for line in MergedLog({"totem": [tmp_path / "totem.log"]}).read()] == [None]
    assert last_words(tmp_path / "totem.log") == text


# -- the journal


def test_the_journal_has_fields(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "JOURNAL_SOCKET", str(tmp_path / "journal"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as taker:
        taker.bind(journal.JOURNAL_SOCKET)
        (handler,) = outputs(LogSettings(to_stderr=False, to_syslog=True), "totem")
        handler.handle(record(FORMED))
        fields = dict(line.split("=", 1) for line in taker.recv(65_536).decode().splitlines())
        handler.handle(record("one\nMESSAGE=two", logging.ERROR))
        second = taker.recv(65_536).decode().splitlines()
        handler.close()
    assert (fields["MESSAGE"], fields["PRIORITY"], fields["SYSLOG_IDENTIFIER"]) == (FORMED, "5", "rondo")
    assert (fields["RONDO_EVENT"], fields["RONDO_JOINED"], fields["RONDO_SERVICE"]) == ("ring.formed", "2", "totem")
    assert second[:2] == ["MESSAGE=one\\nMESSAGE=two", "PRIORITY=3"]


def test_what_the_journal_does_not_take_goes_where_syslog_s_lines_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(journal, "JOURNAL_SOCKET", str(tmp_path / "journal"))
    monkeypatch.setattr(logs, "SYSLOG_SOCKET", str(tmp_path / "dev-log"))
    (tmp_path / "journal").touch()
    (handler,) = outputs(LogSettings(to_stderr=False, to_syslog=True), "totem")
    handler.handle(record(FORMED))
    handler.close()
    assert FORMED in capfd.readouterr().err


@pytest.mark.parametrize("wanted", ["text", "json"])
def test_syslog_gets_one_line_and_with_json_the_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: Literal["text", "json"]
) -> None:
    monkeypatch.setattr(journal, "JOURNAL_SOCKET", str(tmp_path / "none"))
    monkeypatch.setattr(logs, "SYSLOG_SOCKET", str(tmp_path / "dev-log"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as taker:
        taker.bind(logs.SYSLOG_SOCKET)
        (handler,) = outputs(LogSettings(to_stderr=False, to_syslog=True, format=wanted), "totem")
        got = []
        for text in (FORMED, "one\n<0>two"):
            handler.handle(record(text))
            got.append(taker.recv(65_536).decode().rstrip("\0").partition("]: ")[2])
        handler.close()
    if wanted == "text":
        assert got == [f"[TOTEM ] {FORMED}", "[TOTEM ] one\\n<0>two"]
    else:
        first, second = map(json.loads, got)
        assert (first["event"], first["detail"]["joined"], first["text"]) == ("ring.formed", [2], FORMED)
        assert second["text"] == "one\\n<0>two"


# -- repeated lines


def texts(records: list[logging.LogRecord]) -> list[str]:
    return [each.getMessage() for each in records]


def test_lines_that_repeat_are_counted_and_told_of() -> None:
    repeats = Repeats()
    due_s = []
    for now_s, said in ((0.0, ["a"]), (1.0, []), (2.0, [])):
        assert texts(repeats.put(record("a"), now_s)) == said
        due_s.append(repeats.due_s)
    assert due_s == [None, JOINED_S, JOINED_S]
    assert texts(repeats.put(record("b"), 3.0)) == ["a (2 such lines more)", "b"]
    assert texts(repeats.flush()) == []


def test_another_level_or_subsystem_is_another_line() -> None:
    repeats = Repeats()
    for each in (record("a"), record("a", logging.ERROR), record("a", logging.ERROR, "CPG")):
        assert repeats.put(each, 0.0) == [each]


def test_after_some_time_it_is_written_again() -> None:
    repeats = Repeats()
    repeats.put(record("a"), 0.0)
    repeats.put(record("a"), 1.0)
    assert texts(repeats.put(record("a"), JOINED_S)) == ["a (1 such lines more)", "a"]


def test_what_was_joined_is_still_that_event() -> None:
    repeats = Repeats()
    repeats.put(record(FORMED), 0.0)
    repeats.put(record(FORMED), 0.0)
    (joined,) = repeats.flush()
    (handler,) = outputs(LogSettings(), "totem")
    line = handler.format(joined)
    handler.close()
    event = event_of(Line(0.0, "totem", 1, line))
    assert event is not None
    assert (event.name, event.detail["joined"]) == ("ring.formed", [2])


def test_the_log_joins_them_and_loses_none(tmp_path: Path) -> None:
    log = Logs(replace(to_file(tmp_path / "log"), format="text"), "totem")
    log.start()
    for text in ("again", "again", "again", "other", "other"):
        logging.getLogger("TOTEM").warning(text)
    log.close()
    said = [line.split("] ")[-1] for line in (tmp_path / "log").read_text().splitlines()]
    assert said == ["again", "again (2 such lines more)", "other", "other (1 such lines more)"]
