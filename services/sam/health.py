"""What applications say of their health: lines in a FIFO of each (docs/PROTOCOL-CLIENT.md, "Health").

The application has its FIFO open as the descriptor that RONDO_SAM_HEALTH names, or opens it by its path. Both sides
have it open for reading and writing, so that neither notices when the other is killed and comes back.

Nobody wakes SAM by writing: it looks at all FIFOs together every LOOK_S with one system call. So what was said is dated
late by at most that, and hundreds of healthy applications cost next to nothing.
"""

import contextlib
import os
import select
import stat
from collections.abc import Iterator

LOOK_S = 0.025
READ_BYTES = 65536
LINE_BYTES_MAX = 256
WORDS = ("ok", "start", "stop", "failed")


class HealthError(OSError):
    """A FIFO that cannot be used."""


class _Pipe:
    __slots__ = ("descriptor", "name", "rest")

    def __init__(self, name: str, descriptor: int) -> None:
        self.name = name
        self.descriptor = descriptor
        self.rest = b""

    def words(self) -> list[str]:
        """Everything said since the last look, in order; `ok` several times in a row once."""
        try:
            data = os.read(self.descriptor, READ_BYTES)
        except OSError:
            return []
        if data == b"ok\n" and not self.rest:
            return ["ok"]
        *lines, rest = (self.rest + data).split(b"\n")
        self.rest = rest[:LINE_BYTES_MAX]
        words: list[str] = []
        for line in lines:
            word = line.strip().decode("ascii", "replace").lower()
            if not words or words[-1] != word:
                words.append(word)
        return words


class HealthPipes:
    """The FIFOs of all applications that run."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._by_descriptor: dict[int, _Pipe] = {}
        self._by_name: dict[str, _Pipe] = {}

    def open(self, name: str, path: str) -> None:
        """Listen to this application from now on. Raises HealthError."""
        if name in self._by_name:
            return
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            raise HealthError(error.errno, error.strerror, path) from None
        if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise HealthError(0, "not a FIFO", path)
        pipe = _Pipe(name, descriptor)
        self._by_name[name] = self._by_descriptor[descriptor] = pipe
        self._poll.register(descriptor, select.EPOLLIN)

    def look(self) -> Iterator[tuple[str, list[str]]]:
        """What was said: name, words."""
        if self._by_name:
            for descriptor, _ in self._poll.poll(0, len(self._by_name)):
                pipe = self._by_descriptor[descriptor]
                yield pipe.name, pipe.words()

    def drop(self, name: str) -> None:
        """What a dead instance had said is not its successor's word."""
        pipe = self._by_name.get(name)
        if pipe is not None:
            pipe.rest = b""
            with contextlib.suppress(OSError):
                while os.read(pipe.descriptor, READ_BYTES):
                    pass

    def close(self, name: str) -> None:
        """Listen to it no longer."""
        pipe = self._by_name.pop(name, None)
        if pipe is not None:
            del self._by_descriptor[pipe.descriptor]
            os.close(pipe.descriptor)  # epoll forgets it

    def close_all(self) -> None:
        """Close everything."""
        for name in list(self._by_name):
            self.close(name)
        self._poll.close()
