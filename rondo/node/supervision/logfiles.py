"""The logs of a node's processes as one, ordered by time.

Each service writes its own file; what counts is the order in which things happened. A line that has no time of its own
(the second line of something, or `timestamp: off`) stays behind the line before it.
"""

import contextlib
import heapq
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rondo.node.logs import iso_time
from rondo.node.supervision import SERVICES

SUPERVISORD = "supervisord"
READ_BYTES = 1 << 20
LAST_WORDS_BYTES = 4096
LAST_LINES = 5
"""How far up the reason of an end is looked for."""

_SERVICE_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?[+-]\d\d:\d\d(?= )")
_SUPERVISOR_TIME = re.compile(r"(?P<when>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),(?P<ms>\d{3}) (?P<level>[A-Z]+) ")
_LEVELS = {"CRIT": "crit", "ERRO": "error", "WARN": "warning", "INFO": "info", "DEBG": "debug"}

HARMLESS = "running without any HTTP authentication checking"
"""supervisord says so of every Unix socket, at its highest level. The socket is for its owner alone (mode 0700)."""


@dataclass(frozen=True, slots=True, order=True)
class Line:
    """A line of a log. Lines sort by time, and those of one file stay in their order."""

    seconds: float
    source: str
    number: int
    text: str


def log_files(
    run_dir: Path, source: str | None = None, configured: dict[str, str] | None = None
) -> dict[str, list[Path]]:
    """The files of each process's log, oldest first; of all processes, or of one.

    configured: by service, the file that logging{} names besides (`to_logfile`).
    """
    sources = [source] if source else [*SERVICES, SUPERVISORD]
    files = {}
    for name in sources:
        own = run_dir / "log" / f"{name}.log"
        extra = (configured or {}).get(name)
        files[name] = [own.with_name(f"{own.name}.1"), own, *([Path(extra)] if extra else [])]
    return files


class Follower:
    """Reads a log file on from where it was, also when it is rotated or does not exist yet."""

    def __init__(self, source: str, path: Path) -> None:
        self.source = source
        self._path = path
        self._place = (0, 0)
        """Inode and offset of what was read."""
        self._rest = b""
        self._number = 0
        self._seconds = 0.0

    def read(self) -> list[Line]:
        """The whole lines that have come since the last time."""
        return [self._line(text) for text in self._new_lines() if HARMLESS not in text]

    def _new_lines(self) -> Iterator[str]:
        with contextlib.suppress(OSError), self._path.open("rb") as file:
            found = file.fileno()
            inode, offset = self._place
            status = Path(f"/proc/self/fd/{found}").stat()
            if inode != status.st_ino or offset > status.st_size:
                offset, self._rest = 0, b""
            file.seek(offset)
            while chunk := file.read(READ_BYTES):
                *whole, self._rest = (self._rest + chunk).split(b"\n")
                offset += len(chunk)
                for line in whole:
                    yield line.decode(errors="replace")
            self._place = (status.st_ino, offset)

    def _line(self, text: str) -> Line:
        self._number += 1
        if found := _SUPERVISOR_TIME.match(text):
            seconds = time.mktime(time.strptime(found["when"], "%Y-%m-%d %H:%M:%S"))
            self._seconds = seconds + int(found["ms"]) / 1000
            level = _LEVELS.get(found["level"], "debug")
            text = f"{iso_time(self._seconds, milliseconds=True)} {level:<7} [SUPERV] {text[found.end() :]}"
        elif found := _SERVICE_TIME.match(text):
            with contextlib.suppress(ValueError):  # the 30th of February
                self._seconds = datetime.fromisoformat(found[0]).timestamp()
        return Line(self._seconds, self.source, self._number, text)


class MergedLog:
    """The logs of several processes as one."""

    def __init__(self, files: dict[str, list[Path]]) -> None:
        self._followers = [Follower(source, path) for source, paths in files.items() for path in paths]

    def read(self) -> list[Line]:
        """What has come since the last time, in the order of time."""
        # Not sorted as a whole: lines of one file stay in their order even if the clock was set back.
        return list(heapq.merge(*(follower.read() for follower in self._followers)))

    def skip(self) -> None:
        """Leave out what is there already."""
        self.read()


def last_words(path: Path, name: str = "") -> str:
    """The last line that a process has logged, or an empty string; rather that in which it says why it ends.

    Such a line begins with the service's `name`, or in supervisord's case with `Error:`. Others may come after it.
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
    last_lines = reversed(told[-LAST_LINES:])
    why = next((line for line in last_lines if line.startswith(("Error: ", f"{name}: " if name else "Error: "))), "")
    return (why or told[-1]).removeprefix(f"{name}: ").removeprefix("Error: ")
