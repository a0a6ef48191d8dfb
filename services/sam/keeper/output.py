"""Copies standard output and error of each application from a FIFO into a file of bounded size.

The application has the FIFO open for reading, too, so that it never gets SIGPIPE. While no keeper reads, it blocks when
the pipe is full; the next keeper continues. The keeper reads from an application at a limited rate. So one that writes
very much cannot use up the machine or the disk. A full file becomes FILE.1, and the older FILE.1 is dropped. All files
together have a budget (`budget`). On a full disk output is lost, and nobody is blocked.
"""

import contextlib
import os
import select
import stat
from dataclasses import dataclass

from services.sam.keeper.budget import Budget, Files

FILE_BYTES_MAX = 1024 * 1024
"""The most bytes in the file, and in FILE.1."""
READ_BYTES = 64 * 1024
PACE_S = 0.1
PACE_BYTES = 1024 * 1024
"""About how much is read from one application in each PACE_S."""


def make_fifo(path: str, uid: int) -> None:
    """Make a FIFO for this user, unless it exists. Raises OSError. Nobody else may write to the directory."""
    with contextlib.suppress(FileExistsError):
        os.mkfifo(path, 0o600)
    found = os.lstat(path)
    if not stat.S_ISFIFO(found.st_mode):
        raise FileExistsError(17, "not a FIFO", path)
    if found.st_uid != uid and os.geteuid() == 0:
        # The user's application must be able to reopen it: as /dev/stdout, or by the path of the health FIFO.
        os.chown(path, uid, -1, follow_symlinks=False)


@dataclass(slots=True)
class Output:
    """One application's output."""

    fifo: int
    log: int
    files: Files
    allowance_bytes: int = PACE_BYTES
    paused: bool = False


class Outputs:
    """All outputs. `poll` is the epoll that reports input."""

    def __init__(self, poll: select.epoll) -> None:
        self._poll = poll
        self.budget = Budget()
        self.bytes_lost = 0
        """Bytes of output that could not be written."""
        self._by_key: dict[str, Output] = {}
        self._by_descriptor: dict[int, Output] = {}
        self._paced_at_s = 0.0
        self._has_paused = False

    def open(self, key: str, fifo: str, log: str, uid: int) -> None:
        """Copy from this FIFO of this user into this file. Does nothing if the key has an output. Raises OSError."""
        if key in self._by_key:
            return
        reading = os.open(fifo, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            writing = self.open_log(log)
        except OSError:
            os.close(reading)
            raise
        output = Output(reading, writing, self.budget.files(log, uid))
        self._by_key[key] = self._by_descriptor[reading] = output
        self._poll.register(reading, select.EPOLLIN)

    @staticmethod
    def open_log(path: str) -> int:
        """Open an output file. Raises OSError."""
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def read(self, descriptor: int) -> bool:
        """Copy at most READ_BYTES from the FIFO with this descriptor. False if the descriptor belongs to no output."""
        output = self._by_descriptor.get(descriptor)
        if output is None:
            return False
        self._take(output)
        if output.allowance_bytes <= 0:
            output.paused = self._has_paused = True
            self._poll.unregister(output.fifo)
        return True

    def _take(self, output: Output) -> bool:
        try:
            data = os.read(output.fifo, READ_BYTES)
        except BlockingIOError:
            return False
        output.allowance_bytes -= len(data)
        written = 0
        with contextlib.suppress(OSError):  # a full disk must not end the keeper
            written = self._write(output, data)
        self.bytes_lost += len(data) - written
        return True

    def _write(self, output: Output, data: bytes) -> int:
        files = output.files
        if files.sizes[0] + len(data) > FILE_BYTES_MAX:
            self._turn_over(output)
        if not self.budget.has_room(files.uid, len(data)):
            return 0
        written = os.write(output.log, data)
        self.budget.resize(files, files.sizes[0] + written, files.sizes[1])
        return written

    def _turn_over(self, output: Output) -> None:
        """The full file becomes FILE.1. If a new one cannot be made, the old one is overwritten from its beginning."""
        path = output.files.path
        os.replace(path, f"{path}.1")
        try:
            log = self.open_log(path)
        except OSError:
            os.replace(f"{path}.1", path)
            os.ftruncate(output.log, 0)
            self.budget.resize(output.files, 0, 0)
            return
        os.close(output.log)
        output.log = log
        self.budget.resize(output.files, 0, output.files.sizes[0])

    def drain(self, key: str) -> None:
        """The application has ended: read what is left in the pipe."""
        output = self._by_key.get(key)
        if output is not None:
            for _ in range(PACE_BYTES // READ_BYTES):
                if not self._take(output):
                    break

    def pace(self, now_s: float) -> float | None:
        """Renew all allowances, at most once in PACE_S. Returns when to call again; None: no output is paused."""
        if now_s - self._paced_at_s >= PACE_S:
            self._paced_at_s = now_s
            self._has_paused = False
            for output in self._by_key.values():
                output.allowance_bytes = PACE_BYTES
                if output.paused:
                    output.paused = False
                    self._poll.register(output.fifo, select.EPOLLIN)
        return self._paced_at_s + PACE_S if self._has_paused else None

    def close(self, key: str) -> None:
        """Stop reading this output."""
        output = self._by_key.pop(key, None)
        if output is not None:
            del self._by_descriptor[output.fifo]
            os.close(output.fifo)  # epoll forgets it
            os.close(output.log)
            self.budget.forget(output.files.path)
