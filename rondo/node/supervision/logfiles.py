"""The logs of a node's processes, merged by time.

Each service writes its own file, but readers want one order. A line without a time (the second line of a message, or
`timestamp: off`) stays behind the line before it.
"""

import contextlib
import heapq
import json
import os
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rondo.config import NodeConfig, NodeConfigError
from rondo.node.log_formats import iso_time
from rondo.node.supervision import RESOLVED_CONFIGURATION, SERVICES

SUPERVISORD = "supervisord"
RING_PROCESS = "totem"
OWNERS_MAX = 1000
"""How many processes of a shared log are remembered. The log may cover many lives of a node."""
READ_BYTES = 1 << 20
LAST_WORDS_BYTES = 4096
LAST_LINES = 5
"""How many of the last lines are searched for the reason of an end."""

IDLE_LOOKS_MAX = 40
"""A file that was moved away is still read this often in vain, because its writer does not notice the move at once."""

_SERVICE_TIME = re.compile(r'(?:\{"time": ")?(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?[+-]\d\d:\d\d)(?=[ "])')
_JSON_SERVICE = re.compile(r'\{"time": "[^"]+", "level": "[a-z]+", "service": "(?P<name>\w+)"')
_SUPERVISOR_TIME = re.compile(r"(?P<when>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),(?P<ms>\d{3}) (?P<level>[A-Z]+) ")
_TAGS = re.compile(
    r"(?:\[(?P<pid>\d+)\] \S+ rondo )?(?:crit|error|warning|notice|info|debug) *\[(?P<name>[A-Z_]+) *\] "
)
_LEVELS = {"CRIT": "crit", "ERRO": "error", "WARN": "warning", "INFO": "info", "DEBG": "debug"}

HARMLESS = "running without any HTTP authentication checking"
"""supervisord says so of every Unix socket, at its highest level. The socket is open to its owner alone (mode 0700)."""


@dataclass(frozen=True, slots=True, order=True)
class Line:
    """A line of a log. Lines sort by time, and those of one file keep their order."""

    seconds: float
    source: str
    number: int
    text: str


def log_files(run_dir: Path, source: str | None = None) -> dict[str, list[Path]]:
    """The files of each process's own log, oldest first; of all processes, or of one."""
    files = {}
    for name in [source] if source else [*SERVICES, SUPERVISORD]:
        own = run_dir / "log" / f"{name}.log"
        files[name] = [own.with_name(f"{own.name}.1"), own]
    return files


def configured_files(run_dir: Path, services: Iterable[str]) -> dict[str, str]:
    """The log files of logging{}, unless the services log to standard error as well."""
    try:
        config = NodeConfig.read(run_dir / RESOLVED_CONFIGURATION)
    except NodeConfigError:
        return {}
    settings = {name: config.log_settings(name) for name in services}
    # With both, every line would be shown twice.
    return {name: own.logfile for name, own in settings.items() if own.to_logfile and not own.to_stderr}


class _Part:
    """A file of a log, held open. No other file can then have its inode, and lines that are written after it was
    removed are read as well."""

    def __init__(self, descriptor: int, key: tuple[int, int]) -> None:
        self.key = key
        """Device and inode."""
        self.idle = 0
        """How often nothing new was found."""
        self.is_named = True
        self._descriptor = descriptor
        self._offset = 0
        self._rest = b""
        self._is_inside_line = False

    def __del__(self) -> None:
        os.close(self._descriptor)

    def begin_near_end(self, bytes_kept: int) -> None:
        """Leave out all but the last bytes, and what they hold of a line that began before them."""
        size = os.fstat(self._descriptor).st_size
        if size > bytes_kept:
            self._offset, self._is_inside_line = size - bytes_kept, True

    def read(self) -> Iterator[str]:
        """The whole lines that have come since the last call."""
        if self._offset > os.fstat(self._descriptor).st_size:  # truncated in place
            self._offset, self._rest = 0, b""
        while chunk := os.pread(self._descriptor, READ_BYTES, self._offset):
            self._offset += len(chunk)
            *whole, self._rest = (self._rest + chunk).split(b"\n")
            if self._is_inside_line and whole:
                self._is_inside_line = False
                del whole[0]
            for line in whole:
                yield line.decode(errors="replace")

    def rest(self) -> Iterator[str]:
        """The last line, if it has no end of line: nothing more will be written."""
        if self._rest:
            yield self._rest.decode(errors="replace")


class Follower:
    """Follows a log and gives each line once, even if its file is rotated, moved or does not exist yet."""

    def __init__(self, source: str, paths: list[Path]) -> None:
        """The file names of the log, oldest first."""
        self.source = source
        self._paths = paths
        self._parts: list[_Part] = []
        """Oldest first."""
        self._number = 0
        self._seconds = 0.0

    def read(self) -> list[Line]:
        """The whole lines that have come since the last call."""
        return [self._line(text) for text in self._new_lines() if HARMLESS not in text]

    def begin_near_end(self, bytes_kept: int) -> None:
        """Leave out all but the last bytes of each file that exists now."""
        self._look()
        for part in self._parts:
            part.begin_near_end(bytes_kept)

    def _new_lines(self) -> Iterator[str]:
        self._look()
        kept = []
        for part in self._parts:
            lines = []
            with contextlib.suppress(OSError):
                lines = list(part.read())
            yield from lines
            part.idle = 0 if lines or part.is_named else part.idle + 1
            if part.idle < IDLE_LOOKS_MAX or part is self._parts[-1]:
                kept.append(part)
            else:
                yield from part.rest()
        self._parts = kept

    def _look(self) -> None:
        """Find the files that exist now."""
        former = {part.key: part for part in self._parts}
        named: dict[tuple[int, int], _Part] = {}
        for path in reversed(self._paths):  # so a file that is just being renamed is found under its new name
            with contextlib.suppress(OSError):
                descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
                status = os.fstat(descriptor)
                key = status.st_dev, status.st_ino
                opened = _Part(descriptor, key)
                named[key] = named.get(key) or former.pop(key, opened)
        for part in (*former.values(), *named.values()):
            part.is_named = part.key in named
        self._parts = [*former.values(), *reversed(named.values())]

    def _line(self, text: str) -> Line:
        self._number += 1
        if found := _SUPERVISOR_TIME.match(text):
            seconds = time.mktime(time.strptime(found["when"], "%Y-%m-%d %H:%M:%S"))
            self._seconds = seconds + int(found["ms"]) / 1000
            level = _LEVELS.get(found["level"], "debug")
            text = f"{iso_time(self._seconds, milliseconds=True)} {level:<7} [SUPERV] {text[found.end() :]}"
        elif found := _SERVICE_TIME.match(text):
            with contextlib.suppress(ValueError):  # the 30th of February
                self._seconds = datetime.fromisoformat(found["time"]).timestamp()
        return Line(self._seconds, self.source, self._number, text)


class SharedFollower(Follower):
    """A file that logging{} names (`to_logfile`). Services share it, and each line names its service."""

    def __init__(self, path: Path, services: set[str]) -> None:
        """The lines of other services are left out."""
        super().__init__(RING_PROCESS, [path])
        self._services = services
        self._owners: dict[str, str] = {}
        """By process: the service that its lines belong to. The subsystem MAIN does not tell."""

    def read(self) -> list[Line]:
        """The whole lines of these services that have come since the last call."""
        return [line for line in super().read() if line.source in self._services]

    def _line(self, text: str) -> Line:
        if found := _JSON_SERVICE.match(text):
            self.source = found["name"]
        elif found := _TAGS.search(text):
            name, pid = found["name"].lower(), found["pid"] or ""
            if name in SERVICES:
                if len(self._owners) >= OWNERS_MAX:
                    self._owners.clear()
                self._owners[pid] = name
            # supervisord's lines are in a log of its own, too.
            self.source = SUPERVISORD if name == "superv" else self._owners.get(pid, RING_PROCESS)
        return super()._line(text)


class MergedLog:
    """The logs of several processes as one."""

    def __init__(self, files: dict[str, list[Path]], configured: dict[str, str] | None = None) -> None:
        """configured: by service, the file that logging{} names besides. Several services may have the same."""
        self._followers = [Follower(source, paths) for source, paths in files.items()]
        shared: dict[str, set[str]] = {}
        for service, name in (configured or {}).items():
            shared.setdefault(name, set()).add(service)
        self._followers += [SharedFollower(Path(name), services) for name, services in shared.items()]

    def read(self) -> list[Line]:
        """All lines that have come since the last call, in the order of time."""
        # Merged, not sorted: lines of one file keep their order even if the clock was set back.
        return list(heapq.merge(*(follower.read() for follower in self._followers)))

    def skip(self) -> None:
        """Skip all lines that exist now."""
        self.read()

    def last(self, count: int, file_bytes_max: int) -> list[Line]:
        """The last lines that exist now, of the last bytes of each file. To be called first."""
        for follower in self._followers:
            follower.begin_near_end(file_bytes_max)
        return self.read()[-count:]


def last_words(path: Path, name: str = "") -> str:
    """The last line that a process has logged, preferably the one with the reason of its end; empty if there is none.

    Such a line begins with the service's `name`, or with `Error:` for supervisord. Other lines may follow it.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - LAST_WORDS_BYTES))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    told = [line.strip() for line in lines if line.strip()]
    if not told:
        return ""
    told = [_text_of(line) for line in told]
    last_lines = reversed(told[-LAST_LINES:])
    why = next((line for line in last_lines if line.startswith(("Error: ", f"{name}: " if name else "Error: "))), "")
    return (why or told[-1]).removeprefix(f"{name}: ").removeprefix("Error: ")


def _text_of(line: str) -> str:
    """The text of a line that is a JSON object (`logging.format: json`)."""
    if not line.startswith('{"time": '):
        return line
    try:
        return str(json.loads(line)["text"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return line
