"""How far the time line has been told of, over restarts of the service: a file in the run directory.

Of events at the very same time it is remembered how many were settled. A service that is killed between telling and
writing this down tells once more: a notice may come twice, and is not lost.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

FILE_NAME = "notify.json"
FILE_BYTES_MAX = 1024


class Position:
    """Of one node's time line."""

    def __init__(self, run_dir: Path, since_s: float) -> None:
        """`since_s`: from when on events count, where nothing was written down."""
        self._path = run_dir / FILE_NAME
        self._seconds, self._settled = _read(self._path, since_s)
        self._to_skip = self._settled

    def is_new(self, seconds: float) -> bool:
        """Whether an event of that time was not settled by a predecessor. Asked for each, in the order of the log."""
        if seconds == self._seconds and self._to_skip > 0:
            self._to_skip -= 1
            return False
        return seconds >= self._seconds

    def settle(self, seconds: float) -> None:
        """An event of that time has been told, or given up."""
        self._settled = self._settled + 1 if seconds == self._seconds else 1
        self._seconds = seconds
        temporary = self._path.with_name(f".{FILE_NAME}")
        with contextlib.suppress(OSError):  # a full disk: a notice may come twice
            temporary.write_text(json.dumps({"seconds": self._seconds, "settled": self._settled}), encoding="utf-8")
            temporary.replace(self._path)


def _read(path: Path, since_s: float) -> tuple[float, int]:
    try:
        with path.open(encoding="utf-8") as file:
            found = json.loads(file.read(FILE_BYTES_MAX))
        seconds, settled = float(found["seconds"]), int(found["settled"])
    except (OSError, ValueError, TypeError, KeyError):
        return since_s, 0
    return (seconds, settled) if seconds >= since_s else (since_s, 0)
