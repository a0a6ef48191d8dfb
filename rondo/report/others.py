"""The reports of the other nodes. A command such as ssh runs `rondo report` on each of them.

So each node cuts out its own secrets before anything leaves it, and only a user who may log in there gets its logs.
What comes is put into the archive as it is, up to a bound. For a node without a report the archive has what the
cluster tells about it (`told`).
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shlex
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO, cast

VIA = "ssh -o BatchMode=yes -o ConnectTimeout=5 {address} rondo report -o -"
"""What is run for each node."""
NODE_BYTES_MAX = 64 << 20
ALL_BYTES_MAX = 512 << 20
AT_ONCE = 4
"""So many nodes are asked at a time, and so many archives are in memory."""
TIMEOUT_S = 120.0
WORDS_BYTES_MAX = 4096
"""Of what a command says on standard error."""
_PIECE_BYTES = 1 << 20
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class Other:
    """Another node of the nodelist or of the ring."""

    node: int
    name: str
    address: str
    """Empty: not known."""

    @property
    def shown(self) -> str:
        """The command as text for people."""
        return f"node {self.node} ({self.name})" if self.name else f"node {self.node}"


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came from one node."""

    other: Other
    archive: bytes
    failure: str
    """Why there is no archive; empty if there is one."""


def command_for(via: str, other: Other) -> list[str]:
    """The words of the command; no shell sees them. Raises ValueError if it cannot be read or has unknown braces."""
    values = {"address": other.address, "node": str(other.node), "name": other.name}
    try:
        words = [word.format_map(values) for word in shlex.split(via)]
    except (KeyError, IndexError, AttributeError) as error:
        raise ValueError(f"{error} stands in braces; there are {{address}}, {{node}} and {{name}}") from None
    if not words:
        raise ValueError("it is empty")
    return words


class Fetching:
    """Runs the commands, a few at a time. If it is interrupted they are ended."""

    def __init__(self, via: str, *, all_bytes_max: int = ALL_BYTES_MAX, timeout_s: float = TIMEOUT_S) -> None:
        self._via = via
        self._left_bytes = all_bytes_max
        self._timeout_s = timeout_s
        self._running: set[subprocess.Popen[bytes]] = set()
        self._is_over = threading.Event()

    def all_of(self, others: Iterable[Other]) -> Iterator[Fetched]:
        """The reports of all these nodes, in their order. All of them together have a bound, too."""
        waiting = iter(others)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            try:
                while batch := list(itertools.islice(waiting, AT_ONCE)):
                    share = min(NODE_BYTES_MAX, self._left_bytes // len(batch))
                    for fetched in pool.map(self._fetch, batch, itertools.repeat(share)):
                        self._left_bytes -= len(fetched.archive)
                        yield fetched
            finally:
                self._is_over.set()  # what is just being started sees it
                for process in list(self._running):
                    _kill(process)

    def _fetch(self, other: Other, bytes_max: int) -> Fetched:
        if not other.address:
            return Fetched(other, b"", "its address is not known")
        try:
            command = command_for(self._via, other)
            with tempfile.TemporaryFile() as words:
                archive, failure = self._run(command, words, bytes_max)
                words.seek(0)
                said = words.read(WORDS_BYTES_MAX).decode(errors="replace").strip().splitlines()
        except (OSError, ValueError) as error:
            return Fetched(other, b"", str(error))
        if failure and said:
            failure += f": {said[-1]}"
        return Fetched(other, b"" if failure else archive, failure)

    def _run(self, command: list[str], words: IO[bytes], bytes_max: int) -> tuple[bytes, str]:
        """What the command writes, and the reason if that is no archive. Raises OSError if it cannot be started."""
        archive = bytearray()
        is_late = threading.Event()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=words, start_new_session=True
        )

        def end_late() -> None:
            is_late.set()
            _kill(process)

        clock = threading.Timer(self._timeout_s, end_late)
        self._running.add(process)
        if self._is_over.is_set():
            _kill(process)
        clock.start()
        try:
            with cast(IO[bytes], process.stdout) as stream:
                while len(archive) <= bytes_max and (piece := stream.read(_PIECE_BYTES)):
                    archive += piece
            if len(archive) > bytes_max:
                _kill(process)
            process.wait()
        finally:
            clock.cancel()
            self._running.discard(process)
        if is_late.is_set():
            return b"", f"{command[0]} had not ended after {self._timeout_s:g} s"
        if len(archive) > bytes_max:
            return b"", f"its report has more than {bytes_max} bytes"
        if process.returncode:
            return b"", f"{command[0]} ended with {process.returncode}"
        return bytes(archive), "" if archive.startswith(_GZIP) else f"{command[0]} gave no archive"


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the command and all processes that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
