"""Has another process read the configuration file (`rondo.config.candidate`), while this one goes on."""

from __future__ import annotations

import os
import select
import subprocess

from rondo.node import installation
from rondo.protocol.envelope import BusError, unpack
from services.control.cfg.reload import Candidate

CHECK_S_MAX = 15.0
READ_BYTES = 1 << 16
ANSWER_BYTES_MAX = 8 * 1024 * 1024


class FileCheck:
    """One reading of the file."""

    def __init__(self, number: int, running: bytes, poll: select.epoll, now_s: float) -> None:
        """`number`: identifies the reload; `running`: the configuration in force, packed. Raises OSError."""
        self.number = number
        self.due_s = now_s + CHECK_S_MAX
        """When to call `look` at the latest."""
        self._data = bytearray()
        source = os.memfd_create("running", os.MFD_CLOEXEC)
        try:
            with open(os.dup(source), "wb") as file:
                file.write(running)
            os.lseek(source, 0, os.SEEK_SET)
            self._process = subprocess.Popen(
                installation.command("rondo.config.candidate"),
                stdin=source,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        finally:
            os.close(source)
        assert self._process.stdout is not None
        self._descriptor = self._process.stdout.fileno()
        os.set_blocking(self._descriptor, False)
        poll.register(self._descriptor, select.EPOLLIN)

    def fileno(self) -> int:
        """The descriptor to poll; readable when `look` has something to do."""
        return self._descriptor

    def look(self, now_s: float) -> Candidate | None:
        """The result; None if there is none yet. Close this object after a result."""
        try:
            while chunk := os.read(self._descriptor, READ_BYTES):
                self._data += chunk
                if len(self._data) > ANSWER_BYTES_MAX:
                    return Candidate(None, ["the configuration is too large"])
        except BlockingIOError:
            if now_s < self.due_s:
                return None
            return Candidate(None, [f"the configuration could not be read within {CHECK_S_MAX:g} s"])
        try:
            answer = unpack(bytes(self._data))
            return Candidate(answer["config"], answer["faults"], answer["changed"])
        except (BusError, KeyError, TypeError):
            return Candidate(None, ["the program that reads the configuration failed; try `rondo config check`"])

    def close(self) -> None:
        """End the other process, if it has not ended."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
