"""From the text of a log line to its event. This module has no dependencies, because the log writers use it, too."""

from __future__ import annotations

import re
from typing import Any

from rondo.timeline.kinds import KINDS

_PATTERNS = [(kind, re.compile(kind.pattern)) for kind in KINDS]
_BY_SOURCE = {source: [each for each in _PATTERNS if each[0].source == source] for source in {k.source for k in KINDS}}

_LEFT_OUT = re.compile(r" \(\d+ such (?:lines|packets) [a-z ]+\)$")
"""The part of a line that tells how many like it were not written."""

_NUMBERS = frozenset({"node", "link", "pid", "instance", "port", "bytes"})
_LISTS = frozenset({"nodes", "joined", "left"})
_REAL = frozenset({"ms", "seconds"})


def match(source: str, text: str) -> tuple[str, dict[str, Any]] | None:
    """The name of the event and its details; None for all other lines. `source`: the process that wrote the line."""
    text = _LEFT_OUT.sub("", text)
    for kind, pattern in _BY_SOURCE.get(source, ()):
        if (matched := pattern.fullmatch(text)) is not None:
            return kind.name, {name: _value(name, value) for name, value in matched.groupdict().items()}
    return None


def _value(name: str, text: str | None) -> Any:
    """The value of a detail: node numbers are always a list, even an empty one."""
    if name in _LISTS:
        return [int(each) for each in (text or "").split()]
    if name in _NUMBERS:
        return int(text or 0)
    return float(text or 0) if name in _REAL else text or ""
