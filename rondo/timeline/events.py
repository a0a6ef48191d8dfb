"""From log lines to events."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from rondo.node.log_formats import iso_time
from rondo.node.supervision.logfiles import Line
from rondo.timeline.match import match

_LINE = re.compile(
    r"(?:\d{4}-\d\d-\d\dT\S+ )?(?:\[\d+\] \S+ rondo )?"
    r"(?P<level>emerg|alert|crit|error|warning|notice|info|debug) +\[(?P<subsystem>\w+) *\] (?P<text>.*)"
)
"""The format of rondo.node.logs, with or without time, and with the host in a file."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event of the node."""

    seconds: float
    """Since 1970."""
    source: str
    """The process that logged it."""
    name: str
    level: str
    text: str
    detail: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """For `rondo events --json`."""
        return {
            "time": iso_time(self.seconds, milliseconds=True),
            "source": self.source,
            "event": self.name,
            "level": self.level,
            "detail": self.detail,
            "text": self.text,
        }


def event_of(line: Line) -> Event | None:
    """The event that a line reports; None for all other lines."""
    parts = _parts_of_json(line.text) if line.text.startswith("{") else _parts(line.text)
    if parts is None or (found := match(line.source, parts[1])) is None:
        return None
    name, detail = found
    return Event(line.seconds, line.source, name, parts[0], parts[1], detail)


def _parts(text: str) -> tuple[str, str] | None:
    """Level and text."""
    found = _LINE.fullmatch(text)
    return (found["level"], found["text"]) if found is not None else None


def _parts_of_json(text: str) -> tuple[str, str] | None:
    """The same for a line with `logging.format: json`."""
    try:
        found = json.loads(text)
        return str(found["level"]), str(found["text"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
