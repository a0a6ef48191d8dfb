"""Lines of logs to events."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from rondo.node.logs import iso_time
from rondo.node.supervision.logfiles import Line
from rondo.timeline.kinds import KINDS

_LINE = re.compile(
    r"(?:\d{4}-\d\d-\d\dT\S+ )?(?:\[\d+\] \S+ rondo )?"
    r"(?P<level>emerg|alert|crit|error|warning|notice|info|debug) +\[(?P<subsystem>\w+) *\] (?P<text>.*)"
)
"""As rondo.node.logs writes it, with or without time, and with the host where it is a file."""

_PATTERNS = [(kind, re.compile(kind.pattern)) for kind in KINDS]
_BY_SOURCE = {source: [each for each in _PATTERNS if each[0].source == source] for source in {k.source for k in KINDS}}

_LEFT_OUT = re.compile(r" \(\d+ such (?:lines|packets) [a-z ]+\)$")
"""What a line says of others like it that were not written."""

_NUMBERS = frozenset({"node", "link", "pid", "instance", "port", "bytes"})
_LISTS = frozenset({"nodes", "joined", "left"})
_REAL = frozenset({"ms", "seconds"})


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened."""

    seconds: float
    """Since 1970."""
    source: str
    """The process that says so."""
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
    """The event that a line tells of; None for all others."""
    if (found := _LINE.fullmatch(line.text)) is None:
        return None
    text = _LEFT_OUT.sub("", found["text"])
    for kind, pattern in _BY_SOURCE.get(line.source, ()):
        if (matched := pattern.fullmatch(text)) is not None:
            detail = {name: _value(name, value) for name, value in matched.groupdict().items()}
            return Event(line.seconds, line.source, kind.name, found["level"], found["text"], detail)
    return None


def _value(name: str, text: str | None) -> Any:
    """What a detail is: numbers of nodes are lists of numbers, also where there are none."""
    if name in _LISTS:
        return [int(each) for each in (text or "").split()]
    if name in _NUMBERS:
        return int(text or 0)
    return float(text or 0) if name in _REAL else text or ""
