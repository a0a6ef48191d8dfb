"""What supervisord's plugin records for the commands: the restarts of each service, and why the node stopped.

A small JSON file in the run directory, replaced as a whole. It can be read while supervisord is busy, hung or dead.
"""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

FILE_NAME = "supervision.json"
FILE_BYTES_MAX = 64 * 1024


@dataclass(slots=True)
class Record:
    """The state of supervision."""

    restarts: dict[str, int] = field(default_factory=dict)
    """How often each service was restarted since `rondo start`."""
    ends: dict[str, str] = field(default_factory=dict)
    """How each service has ended last without being asked to, in one line: when, and its last words or the signal."""
    failure: str = ""
    """Why the node was stopped, in one line; empty if it runs or was stopped by request."""
    off: dict[str, str] = field(default_factory=dict)
    """Services that were not started, and the reasons; an empty reason: not configured."""
    given_up: list[str] = field(default_factory=list)
    """Services that are not restarted, because their configuration is invalid. The node works without them."""

    def save(self, run_dir: Path) -> None:
        """Write it to the run directory. Raises OSError."""
        temporary = run_dir / f".{FILE_NAME}"
        temporary.write_text(json.dumps(asdict(self)), encoding="utf-8")
        temporary.replace(run_dir / FILE_NAME)


def read(run_dir: Path) -> Record:
    """The record of the node that runs, or ran last, in the run directory; empty if there is none."""
    try:
        with (run_dir / FILE_NAME).open(encoding="utf-8") as file:
            found = json.loads(file.read(FILE_BYTES_MAX))
    except (OSError, ValueError):
        return Record()
    if not isinstance(found, dict):
        return Record()
    restarts = found.get("restarts")
    counts = restarts.items() if isinstance(restarts, dict) else ()
    off = found.get("off")
    ends = found.get("ends")
    given_up = found.get("given_up")
    return Record(
        off={name: str(why) for name, why in off.items()} if isinstance(off, dict) else {},
        restarts={name: count for name, count in counts if isinstance(count, int)},
        ends={name: str(text) for name, text in ends.items()} if isinstance(ends, dict) else {},
        given_up=[str(name) for name in given_up] if isinstance(given_up, list) else [],
        failure=str(found.get("failure") or ""),
    )


class Kept:
    """The record of one node, for who reads it again and again: it is read only when its file is another one."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._path = str(run_dir / FILE_NAME)
        self._stamp: tuple[int, int, int] | None = None
        self._record = Record()

    def read(self) -> Record:
        """As the function does. Nobody may change what it returns."""
        try:
            found = os.stat(self._path)
        except OSError:
            self._stamp = None
            return Record()
        # `save` writes a new file while there is the one before, so two that follow each other are two inodes.
        stamp = found.st_ino, found.st_mtime_ns, found.st_size
        if stamp != self._stamp:
            self._record, self._stamp = read(self._run_dir), stamp
        return self._record


def forget(run_dir: Path) -> None:
    """Remove the record: a new life of the node begins."""
    (run_dir / FILE_NAME).unlink(missing_ok=True)
