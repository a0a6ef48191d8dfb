"""The formats of a log line: text as Corosync writes it, or a JSON object.

A JSON object has `time`, `level`, `service`, `subsystem`, `pid`, `host` and `text`. A line that is an event of the time
line (docs/EVENTS.md) also has `event`, a stable name, and `detail`.
"""

from __future__ import annotations

import json
import logging
import os
import socket
from datetime import datetime

from rondo.config.node import LogSettings

NOTICE = 25
"""Between INFO and WARNING."""

NAMES = {
    logging.CRITICAL: "crit",
    logging.ERROR: "error",
    logging.WARNING: "warning",
    NOTICE: "notice",
    logging.INFO: "info",
    logging.DEBUG: "debug",
}


def iso_time(seconds: float, *, milliseconds: bool = False) -> str:
    """Seconds since 1970 as local time with the zone: `2026-11-22T16:00:01+01:00`."""
    moment = datetime.fromtimestamp(seconds).astimezone()
    return moment.isoformat(timespec="milliseconds" if milliseconds else "seconds")


def text_of(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    """The message of a record without control characters: a log line is one line."""
    text = record.getMessage()
    if record.exc_info:
        text += " " + formatter.formatException(record.exc_info).replace("\n", " | ")
    if not text.isprintable():
        text = "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)
    return text


class TextFormat(logging.Formatter):
    """`time priority [SUBSYS] message`."""

    def __init__(self, settings: LogSettings, *, host: bool) -> None:
        super().__init__()
        self._settings = settings
        self._who = f"[{os.getpid()}] {socket.gethostname()} rondo " if host else ""

    def format(self, record: logging.LogRecord) -> str:
        where = ""
        if self._settings.fileline:
            where += f"{record.filename}:{record.lineno} "
        if self._settings.function_name:
            where += f"{record.funcName} "
        priority = NAMES.get(record.levelno, "info")
        return f"{self._time(record)}{self._who}{priority:<7} [{record.name:<6}] {where}{text_of(self, record)}"

    def _time(self, record: logging.LogRecord) -> str:
        if self._settings.timestamp == "off":
            return ""
        return iso_time(record.created, milliseconds=self._settings.timestamp == "hires") + " "


class SyslogFormat(logging.Formatter):
    """`[SUBSYS] message`: syslog adds the rest."""

    def format(self, record: logging.LogRecord) -> str:
        return f"[{record.name:<6}] {text_of(self, record)}"


class JsonFormat(logging.Formatter):
    """One JSON object a line. The time is always there, and comes first."""

    def __init__(self, settings: LogSettings, source: str) -> None:
        """`source`: the service that writes."""
        super().__init__()
        # Only the JSON format needs the events of the time line.
        from rondo.timeline.match import match

        self._match = match
        self._settings = settings
        self._source = source
        self._host = socket.gethostname()

    def format(self, record: logging.LogRecord) -> str:
        text = text_of(self, record)
        line: dict[str, object] = {
            "time": iso_time(record.created, milliseconds=True),
            "level": NAMES.get(record.levelno, "info"), "service": self._source, "subsystem": record.name,
            "pid": os.getpid(), "host": self._host, "text": text,
        }  # fmt: skip
        if self._settings.fileline:
            line["place"] = f"{record.filename}:{record.lineno}"
        if self._settings.function_name:
            line["function"] = record.funcName
        if (found := self._match(self._source, text)) is not None:
            line["event"], line["detail"] = found
        return json.dumps(line, ensure_ascii=False)
