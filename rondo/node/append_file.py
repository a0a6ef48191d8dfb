"""A log file that never holds up its process: a line that cannot be written is lost, counted, and reported later.

The disk may be full or read-only, the directory moved or closed to this user, the quota reached. A file that was moved
away (as logrotate does) is recreated under its name. If that fails, lines go on into the file that is open.
"""

from __future__ import annotations

import contextlib
import os
from datetime import datetime
from pathlib import Path


class AppendFile:
    """One file, used by one thread. After the start no method raises."""

    def __init__(self, path: Path, bytes_max: int = 0) -> None:
        """bytes_max: at this size the file is renamed to `PATH.1`; 0: it grows. The file is opened by `open`, or by the
        first write."""
        self.path = path
        self.lost = 0
        """How many lines could not be written, in all."""
        self._bytes_max = bytes_max
        self._descriptor = -1
        self._lost_told = 0
        self._why = ""
        self._torn = False
        """The last line was written only in part."""

    def open(self) -> None:
        """Raises OSError."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        descriptor = os.open(self.path, flags, 0o666)
        self.close()
        self._descriptor = descriptor

    def write(self, data: bytes) -> None:
        """Append whole lines."""
        try:
            self._follow()
            if self.lost > self._lost_told:
                self._append(self._confession())
                self._lost_told = self.lost
            self._append(data)
            if self._bytes_max and os.lseek(self._descriptor, 0, os.SEEK_CUR) >= self._bytes_max:
                os.replace(self.path, f"{self.path}.1")
        except OSError as error:
            self.lost += max(1, data.count(b"\n"))
            self._why = error.strerror or str(error)

    def _follow(self) -> None:
        """If the path now names another file than the open one, open that."""
        try:
            found = os.stat(self.path)
            if self._descriptor >= 0:
                own = os.fstat(self._descriptor)
                if (found.st_dev, found.st_ino) == (own.st_dev, own.st_ino):
                    return
        except OSError:
            pass  # to be recreated
        try:
            self.open()
        except OSError:
            if self._descriptor < 0:
                raise

    def _append(self, data: bytes) -> None:
        if self._torn:
            data = b"\n" + data
        written = os.write(self._descriptor, data)
        if written < len(data):
            self._torn = not data[:written].endswith(b"\n")
            raise OSError(28, "No space left on device")
        self._torn = False

    def _confession(self) -> bytes:
        when = datetime.now().astimezone().isoformat(timespec="milliseconds")
        count = self.lost - self._lost_told
        return (
            f"{when} warning [MAIN  ] {count} lines of this log are lost: {self.path}: {self._why}. "
            "Make room there, or let it be written to\n"
        ).encode(errors="replace")

    def close(self) -> None:
        """Close the file. The next write opens it again."""
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = -1
