"""What the pages of a cluster tell each other in their group, and what of it is taken.

LOOK     [0, is_new]                       somebody looks; with is_new send the last events again
FIGURES  [1, instance, figures, events]    a node as its page sees it, and what has happened there since the last time
WANTED   [2, node]                         somebody wants to read the log of that node
LOG      [3, lines]                        the last lines of the sender's node, without its secrets

Anybody who may connect to a node can be in that group and say anything, so every value is looked at before it is
kept: only these, of these types and sizes, get any further (`Figures`, `Happened`). Whose node it is about is what cpg
says about the sender, and never what the message says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from rondo.protocol.envelope import BusError, pack, unpack

T = TypeVar("T")

GROUP = "rondo.web"
MESSAGE_BYTES_MAX = 64 * 1024
ELEMENTS_MAX = 8192
EVENTS_MAX = 50
"""In one message."""
MEMBERS_MAX = 512
APPLICATIONS_MAX = 100
PROCESSES_MAX = 16
TEXT_MAX = 300
NUMBER_MAX = 2**63
INSTANCE_BYTES = 8
LOG_LINES_MAX = 200
LOG_LINE_MAX = 1000
LOG_BYTES_MAX = 32 * 1024
"""Of all lines together."""

LOOK, FIGURES, WANTED, LOG = 0, 1, 2, 3

COUNTERS = ("messages_rx", "messages_tx", "mcast_rx", "mcast_tx", "mcast_retx", "orf_token_rx", "rx_msg_dropped")
"""Of totem: what the page has a rate of."""


class BadMessageError(ValueError):
    """Not one of these; the text is the reason under which it is counted."""


@dataclass(frozen=True, slots=True)
class Figures:
    """A node at one moment."""

    name: str
    software: str
    state: str
    why: str
    healthy: bool
    ring: str
    """As the page writes it; empty: none."""
    members: tuple[int, ...]
    quorate: bool | None
    """None: nobody counts votes."""
    rotation_us: int
    links_up: int
    links: int
    processes: tuple[tuple[str, str, int], ...]
    """Name, state, restarts."""
    applications: tuple[tuple[str, str, int], ...]
    """The same of SAM's."""
    counters: tuple[int, ...]
    """In the order of `COUNTERS`."""

    def as_json(self) -> dict[str, Any]:
        """For /api/v1/cluster."""
        triple = ("name", "state", "restarts")
        return {
            "name": self.name, "software": self.software, "state": self.state, "why": self.why,
            "healthy": self.healthy, "ring": self.ring or None, "members": list(self.members), "quorate": self.quorate,
            "rotation_us": self.rotation_us, "links": {"up": self.links_up, "all": self.links},
            "processes": [dict(zip(triple, each, strict=True)) for each in self.processes],
            "applications": [dict(zip(("id", *triple[1:]), each, strict=True)) for each in self.applications],
            "counters": dict(zip(COUNTERS, self.counters, strict=True)),
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Happened:
    """An event of the time line of a node."""

    number: int
    """One more than that of the event before, in one instance of a page."""
    seconds: float
    """Since 1970, by that node's clock."""
    source: str
    name: str
    level: str
    text: str


@dataclass(frozen=True, slots=True)
class Look:
    """Somebody looks."""

    is_new: bool


@dataclass(frozen=True, slots=True)
class Told:
    """FIGURES."""

    instance: bytes
    figures: Figures
    events: tuple[Happened, ...]


@dataclass(frozen=True, slots=True)
class LogWanted:
    """WANTED."""

    node: int


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of a node's log."""

    source: str
    """The process that logged it."""
    text: str

    def as_json(self) -> dict[str, Any]:
        """For /api/v1/log."""
        return {"source": self.source, "text": self.text}


@dataclass(frozen=True, slots=True)
class Log:
    """LOG."""

    lines: tuple[LogLine, ...]
    """The newest last."""


def bounded_log(lines: Sequence[tuple[str, str]]) -> tuple[LogLine, ...]:
    """The last of these lines, as many as may be shown, each cut to what may be."""
    kept: list[LogLine] = []
    left_bytes = LOG_BYTES_MAX
    for source, text in reversed(lines[-LOG_LINES_MAX:]):
        line = LogLine(source[:TEXT_MAX], text[:LOG_LINE_MAX])
        left_bytes -= len(line.source.encode()) + len(line.text.encode())
        if left_bytes < 0:
            break
        kept.append(line)
    return tuple(reversed(kept))


def pack_wanted(node: int) -> bytes:
    """WANTED."""
    return pack([WANTED, node])


def pack_log(lines: Sequence[LogLine]) -> bytes:
    """LOG, of lines that `bounded_log` gave."""
    return pack([LOG, [[line.source, line.text] for line in lines]])


def pack_look(is_new: bool) -> bytes:
    """LOOK."""
    return pack([LOOK, is_new])


def pack_figures(instance: bytes, figures: Figures, events: Sequence[Happened]) -> bytes:
    """FIGURES. It leaves out what makes it too long: events first, for the next one has them, then applications."""
    values = [getattr(figures, name) for name in Figures.__dataclass_fields__]
    told = [[getattr(each, name) for name in Happened.__dataclass_fields__] for each in events[:EVENTS_MAX]]
    packed = pack([FIGURES, instance, values, told])
    while len(packed) > MESSAGE_BYTES_MAX and told:
        told = told[: len(told) // 2]
        packed = pack([FIGURES, instance, values, told])
    return packed


def unpack_message(data: bytes) -> Look | Told | LogWanted | Log:
    """Raises BadMessageError for everything else."""
    if len(data) > MESSAGE_BYTES_MAX:
        raise BadMessageError("too long")
    try:
        value = unpack(data, ELEMENTS_MAX, ELEMENTS_MAX)
    except BusError:
        raise BadMessageError("malformed") from None
    match value:
        case [0, bool() as is_new]:
            return Look(is_new)
        case [1, bytes() as instance, list() as figures, list() as events] if len(instance) == INSTANCE_BYTES:
            happened = _several(events, EVENTS_MAX, lambda each: Happened(*_fields(each, _HAPPENED)))
            return Told(instance, Figures(*_fields(figures, _FIGURES)), happened)
        case [2, node]:
            return LogWanted(_count(node))
        case [3, list() as lines]:
            return Log(_several(lines, LOG_LINES_MAX, _log_line))
    raise BadMessageError("malformed")


def _fields(values: object, kinds: Mapping[str, Callable[[Any], Any]]) -> list[Any]:
    if not isinstance(values, list) or len(values) != len(kinds):
        raise BadMessageError("malformed")
    return [kind(value) for kind, value in zip(kinds.values(), values, strict=True)]


def _several(values: object, count_max: int, kind: Callable[[Any], T]) -> tuple[T, ...]:
    if not isinstance(values, list):
        raise BadMessageError("malformed")
    if len(values) > count_max:
        raise BadMessageError("too many")
    return tuple(kind(each) for each in values)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise BadMessageError("malformed")
    return value[:TEXT_MAX]


def _count(value: object) -> int:
    if type(value) is not int or not 0 <= value < NUMBER_MAX:
        raise BadMessageError("malformed")
    return value


def _seconds(value: object) -> float:
    if type(value) not in (int, float) or not math.isfinite(value) or not 0 <= value < 2**33:  # type: ignore[arg-type, operator]
        raise BadMessageError("malformed")
    return float(value)  # type: ignore[arg-type]


def _bool(value: object) -> bool:
    if not isinstance(value, bool):
        raise BadMessageError("malformed")
    return value


def _log_line(value: object) -> LogLine:
    match value:
        case [str() as source, str() as text]:
            return LogLine(source[:TEXT_MAX], text[:LOG_LINE_MAX])
    raise BadMessageError("malformed")


def _triple(value: object) -> tuple[str, str, int]:
    match value:
        case [str() as name, str() as state, restarts]:
            return _text(name), _text(state), _count(restarts)
    raise BadMessageError("malformed")


_FIGURES: dict[str, Callable[[Any], Any]] = {
    "name": _text, "software": _text, "state": _text, "why": _text, "healthy": _bool, "ring": _text,
    "members": lambda value: _several(value, MEMBERS_MAX, _count),
    "quorate": lambda value: None if value is None else _bool(value),
    "rotation_us": _count, "links_up": _count, "links": _count,
    "processes": lambda value: _several(value, PROCESSES_MAX, _triple),
    "applications": lambda value: _several(value, APPLICATIONS_MAX, _triple),
    "counters": lambda value: _exactly(value, len(COUNTERS)),
}  # fmt: skip
_HAPPENED: dict[str, Callable[[Any], Any]] = {
    "number": _count, "seconds": _seconds, "source": _text, "name": _text, "level": _text, "text": _text,
}  # fmt: skip


def _exactly(value: object, count: int) -> tuple[int, ...]:
    found = _several(value, count, _count)
    if len(found) != count:
        raise BadMessageError("malformed")
    return found
